"""Messages of commands that their user must mend."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from experiments.cli import USERS_FAULT, main


def refusal(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """Return what a command that its user must mend writes on standard error: no traceback."""
    capsys.readouterr()
    assert main(arguments) == USERS_FAULT
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message
