"""The installer of `make setup`: the settings it hands from pip to uv, and when pip itself installs."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module `.ci/install.py`, with a pip that has no settings."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("install", Path(__file__).parents[1] / ".ci" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return module


def test_pip_settings_have_the_precedence_of_pip(
    installer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables before the section [install], that before [global]; an empty value counts as none."""
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex_url = https://global.example/simple\ncert = /global.pem\nretries = 7\n"
        "[install]\nindex-url = https://install.example/simple\nextra-index-url =\n  https://a.example https://b.example\n"
        "[download]\nproxy = http://download.example\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("PIP_CERT", "/variable.pem")
    monkeypatch.setenv("PIP_RETRIES", "")
    settings = installer.pip_settings()
    assert settings["index-url"] == "https://install.example/simple"
    assert settings["extra-index-url"].split() == ["https://a.example", "https://b.example"]
    assert settings["cert"] == "/variable.pem"
    assert settings["retries"] == "7"
    assert "proxy" not in settings


def test_pip_without_settings_changes_nothing_but_the_index_strategy(installer: ModuleType) -> None:
    settings = installer.pip_settings()
    assert settings.keys() <= installer.IRRELEVANT
    assert installer.uv_environment(settings) == {**os.environ, "UV_INDEX_STRATEGY": "unsafe-best-match"}


def test_uv_takes_lists_in_its_own_notation(installer: ModuleType) -> None:
    settings = {"extra-index-url": "\nhttps://a.example\nhttps://b.example", "find-links": "/wheels https://c.example"}
    environment = installer.uv_environment(settings | {"proxy": "http://proxy.example:3128", "cache-dir": "/large"})
    assert environment["UV_INDEX"] == "https://a.example https://b.example"
    assert environment["UV_FIND_LINKS"] == "/wheels,https://c.example"
    assert environment["HTTP_PROXY"] == environment["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert environment["UV_CACHE_DIR"] == "/large/uv"


@pytest.mark.parametrize("variable", ["PIP_ONLY_BINARY", "PIP_CONSTRAINT", "PIP_NO_BINARY"])
def test_a_setting_unknown_to_uv_is_left_to_pip(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "value")
    assert variable.removeprefix("PIP_").lower().replace("_", "-") in installer.install_with_uv()


@pytest.mark.parametrize(("backend", "status", "pip_runs"), [(None, 0, True), ("cpu", 1, False)])
def test_pip_installs_where_uv_fails_unless_the_build_of_torch_is_chosen(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, backend: str | None, status: int, pip_runs: bool
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(installer, "install_with_uv", lambda: "uv failed")
    monkeypatch.setattr(installer, "remove_partial_metadata", lambda folder: None)
    monkeypatch.setattr(installer.subprocess, "run", run)
    monkeypatch.chdir(Path.cwd())
    if backend:
        monkeypatch.setenv("UV_TORCH_BACKEND", backend)
    assert installer.main() == status
    assert bool(commands) == pip_runs
    assert all(command[:3] == [sys.executable, "-m", "pip"] for command in commands)


def test_an_interrupted_package_is_installed_again(installer: ModuleType, tmp_path: Path) -> None:
    for name, files in {"complete": ["METADATA", "INSTALLER"], "partial": ["METADATA"]}.items():
        (tmp_path / f"{name}-1.dist-info").mkdir()
        for file in files:
            (tmp_path / f"{name}-1.dist-info" / file).touch()
    installer.remove_partial_metadata(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["complete-1.dist-info"]
