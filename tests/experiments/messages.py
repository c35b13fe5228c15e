"""Commands in tests: messages that their user must mend, finished trainings, interruptions, and edited records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import DONE, INTERRUPTED, USERS_FAULT, main
from fer_id.errors import RunError
from fer_id.files import read_json, write_json
from fer_id.runs.run_dir import RunDir

Tiny = Callable[..., list[str]]
Capture = pytest.CaptureFixture[str]
Trained = tuple[list[str], RunDir]
"""Arguments of a training, and its run."""
DRAWING = ("trainer.max_epochs=3", "model.dropout=0.3", "optim.schedule=one_cycle", "trainer.patience=0", "name=a")
"""Three epochs of two steps, with everything that draws: dropout, augmentation, a schedule."""


def refusal(capsys: Capture, arguments: Sequence[str]) -> str:
    """Return what a command that its user must mend writes on standard error: no traceback."""
    capsys.readouterr()
    assert main(arguments) == USERS_FAULT
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def train(arguments: Sequence[str]) -> RunDir:
    """Return the finished run of a training by the command line."""
    assert main(arguments) == DONE
    settings = dict(argument.split("=", 1) for argument in arguments[1:])
    return RunDir.open(Path(settings["runs.root"]) / settings["name"])


def stop(
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    method: str,
    after: int,
    arguments: Sequence[str],
    *,
    fault: BaseException | None = None,
    code: int = INTERRUPTED,
) -> None:
    """Run a command whose ``where.method`` raises ``fault`` (Ctrl-C) at the call after the next ``after`` calls."""
    original, calls = getattr(where, method), list[int]()

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) > after:
            raise fault or KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(where, method, failing)
        assert main(arguments) == code


def contents(run: RunDir) -> dict[Path, bytes]:
    """Return the content of every file of a run."""
    return {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


@contextmanager
def edited(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the content of a JSON file, which is written back with its changes."""
    content = read_json(path, RunError)
    yield content
    write_json(path, content)


def reconfigure(run: RunDir, section: str, **settings: object) -> None:
    """Change settings in a section of a run's ``config.yaml``."""
    config: Any = run.config()
    config[section] |= settings
    run.write_config(config)


class Malicious:
    """Object that makes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.trace,)
