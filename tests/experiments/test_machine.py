"""The command line on machines with ASCII terminals, without a home folder, an open output, or disk space."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli import DONE, USERS_FAULT
from tests.experiments.messages import Capture, refusal


def fer_id(*arguments: str, shell: str = "", **environment: str | None) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a new process; a variable None is unset, and ``shell`` follows the command."""
    env = {name: text for name, text in {**os.environ, **environment}.items() if text is not None}
    command = 'exec "$@"' if not shell else f'"$@" {shell}'
    words = ["bash", "-c", command, "bash", sys.executable, "-m", "experiments.cli", *arguments]
    return subprocess.run(words, capture_output=True, env=env, check=False, timeout=100)


def test_a_terminal_with_ascii_only() -> None:
    done = fer_id("train", "--help", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr) == (DONE, b"")
    assert done.stdout.isascii()
    refused = fer_id("trän", PYTHONIOENCODING="ascii:strict")
    assert refused.returncode == USERS_FAULT
    assert refused.stderr.isascii()
    assert b"there is no verb" in refused.stderr


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")  # what pathlib says in such a container

    for name in ("HOME", "FER_ID_KEYS", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    assert "FER_ID_KEYS=FOLDER" in refusal(capsys, ["consent", "audit"])
    monkeypatch.setenv("FER_ID_KEYS", "~/keys")
    monkeypatch.setattr(Path, "expanduser", lambda path: unknown())
    assert "~/keys: no home folder is known" in refusal(capsys, ["consent", "audit"])


@pytest.mark.parametrize(
    ("arguments", "streams"),
    [
        *((["--help"], pipe) for pipe in ("| head -n 1", "2>&1 | head -n 1", "| true", "2>&1 | true")),
        (["train", "--help"], "| head -n 1"),
        *((["--help"], closed) for closed in (">&-", "2>&-", ">&- 2>&-")),
    ],
)
def test_a_closed_output_is_no_error(arguments: list[str], streams: str) -> None:
    done = fer_id(*arguments, shell=f"{streams}; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (DONE, b"")


def test_a_refusal_has_its_exit_code_with_a_closed_output() -> None:
    done = fer_id("models", "fames=2", shell="2>&1 | true; exit ${PIPESTATUS[0]}")
    assert done.returncode == USERS_FAULT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "--help"]])  # more, and less, than a buffer holds
def test_output_to_a_full_disk(arguments: list[str]) -> None:
    done = fer_id(*arguments, shell="> /dev/full")
    assert done.returncode == USERS_FAULT
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("fer-id:")
    assert "the disk is full" in line


def test_figures_leave_nothing_in_the_home_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    draw = "import matplotlib.pyplot as plt; plt.figure().savefig('/dev/null', format='png')"
    code = f"import sys; from experiments.cli import main; main(['--help']); {draw}"
    names = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")
    env = {name: text for name, text in os.environ.items() if name not in names} | {"HOME": str(home)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True)
    assert not list(home.rglob("*"))
