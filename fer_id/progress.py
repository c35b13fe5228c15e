"""Progress on long work: a Rich bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
LOG_EVERY_S = 15.0


def say(message: str) -> None:
    """One line for the person who waits; standard error, so that standard output stays for results."""
    try:
        print(message, file=sys.stderr, flush=True)
    except BrokenPipeError:  # whoever read the log has gone: the work goes on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yields ``items`` while showing how far the work is.

    Args:
        items: what to go through.
        description: what is being done, in a few words.
        total: how many, where ``items`` cannot tell.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, description, total=total, console=Console(stderr=True), transient=True)
        return
    started = told = time.monotonic()
    for done, item in enumerate(items):
        yield item
        if time.monotonic() - told > LOG_EVERY_S:
            told = time.monotonic()
            of = f"/{total}" if total else ""
            say(f"{description}: {done + 1}{of} ({told - started:.0f} s)")
