"""Errors that a test expects, by the words of their messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def refused(error: type[BaseException], *words: str) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """Expect an error whose message holds all ``words``."""
    with pytest.raises(error) as caught:
        yield caught
    message = str(caught.value)
    assert not [each for each in words if each not in message], message
