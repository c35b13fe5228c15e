"""Installation of this checkout into the virtual environment whose Python runs this file.

Its extra `dev` is installed, and those that the arguments name.

uv installs, from the package indexes that pip is configured for. Where uv cannot do that, pip installs.
"""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

REQUIREMENTS = ["--constraint", "constraints.txt", "--editable", ".[dev]"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

# Options of pip, and the variables of the environment from which uv takes the same value.
UV_VARIABLES = {
    "cert": ["SSL_CERT_FILE"],
    "client-cert": ["SSL_CLIENT_CERT"],
    "default-timeout": ["UV_HTTP_TIMEOUT"],
    "extra-index-url": ["UV_INDEX"],
    "find-links": ["UV_FIND_LINKS"],
    "index-url": ["UV_DEFAULT_INDEX"],
    "no-cache-dir": ["UV_NO_CACHE"],
    "no-index": ["UV_NO_INDEX"],
    "proxy": ["HTTP_PROXY", "HTTPS_PROXY"],
    "retries": ["UV_HTTP_RETRIES"],
    "timeout": ["UV_HTTP_TIMEOUT"],
    "trusted-host": ["UV_INSECURE_HOST"],
}
# Options of pip that change neither what is installed nor where it comes from.
IRRELEVANT = {
    "break-system-packages",
    "cache-dir",
    "config-file",
    "debug",
    "disable-pip-version-check",
    "log",
    "no-color",
    "no-input",
    "no-python-version-warning",
    "no-warn-script-location",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "root-user-action",
    "verbose",
}


def main() -> int:
    """Install everything and return the exit status."""
    os.chdir(Path(__file__).resolve().parents[1])
    remove_partial_metadata(Path(sysconfig.get_path("purelib")))
    if importlib.util.find_spec("torch") is None:
        print(f"Downloading {download()} into {sys.prefix}", flush=True)
    obstacle = install_with_uv()
    if not obstacle:
        return 0
    if "UV_TORCH_BACKEND" in os.environ:
        print(f"{obstacle}. pip is not tried, since it does not know UV_TORCH_BACKEND.", file=sys.stderr)
        return 1
    print(f"{obstacle}. Installing with pip instead, which takes some minutes.", file=sys.stderr)
    return subprocess.run([*PIP, "install", "-qq", *REQUIREMENTS], check=False).returncode


def download() -> str:
    """Describe what is downloaded."""
    if backend := os.environ.get("UV_TORCH_BACKEND"):
        return f"the packages, with the '{backend}' build of torch,"
    return "about 3.6 GB (unpacked 7 GB), most of it CUDA libraries for torch,"


def remove_partial_metadata(site_packages: Path) -> None:
    """Remove the metadata of packages whose installation was interrupted, so that these are installed again.

    pip and uv both write the file INSTALLER after the files of the package.
    """
    for metadata in site_packages.glob("*.dist-info"):
        if not (metadata / "INSTALLER").exists():
            shutil.rmtree(metadata)


def install_with_uv() -> str:
    """Install everything with uv, which pip installs first; return what stood in the way, if anything did."""
    try:
        settings = pip_settings()
    except subprocess.CalledProcessError:
        return "pip does not accept its own settings"
    if unknown := sorted(settings.keys() - UV_VARIABLES.keys() - IRRELEVANT):
        return f"uv has no equivalent of these settings of pip: {', '.join(unknown)}"
    bootstrap = [*PIP, "install", "--constraint", "constraints.txt", "uv"]
    if subprocess.run(bootstrap, capture_output=True, check=False).returncode:
        return "pip found no uv of the version in constraints.txt"
    # Bytecode, as pip writes it: a container often forbids Python to, and every process would compile torch anew.
    options = ["--quiet", "--compile-bytecode", "--python", sys.executable]
    uv = [sys.executable, "-m", "uv", "pip", "install", *options, *REQUIREMENTS]
    return "uv failed" if subprocess.run(uv, env=uv_environment(settings), check=False).returncode else ""


def pip_settings() -> dict[str, str]:
    """Return the options that configuration files and PIP_ variables set for `pip install`, as pip merges them."""
    listing = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        name, value = line.split("=", 1)
        section, option = name.rsplit(".", 1)
        if section in sections and (text := ast.literal_eval(value)):
            sections[section][option] = text
    return sections["global"] | sections["install"] | sections[":env:"]


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """Return the environment in which uv behaves as pip does with `settings`."""
    # Like pip, uv then takes the best version of all indexes, not that of the first index which knows the package.
    environment = {**os.environ, "UV_INDEX_STRATEGY": "unsafe-best-match"}
    environment.pop("UV_SYSTEM_PYTHON", None)
    if "cache-dir" in settings:
        environment.setdefault("UV_CACHE_DIR", str(Path(settings["cache-dir"], "uv")))
    for option, variables in UV_VARIABLES.items():
        if option in settings:
            separator = "," if option == "find-links" else " "
            environment |= dict.fromkeys(variables, separator.join(settings[option].split()))
    return environment


if __name__ == "__main__":
    REQUIREMENTS[-1] = f".[{','.join(['dev', *sys.argv[1:]])}]"
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
