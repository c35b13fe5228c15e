"""Progress of long work: a Rich bar on a terminal, a line every :data:`LOG_EVERY_S` seconds in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
LOG_EVERY_S = 15.0


def say(message: str) -> None:
    """Print one line for the user to standard error; standard output is reserved for results."""
    try:
        print(message, file=sys.stderr, flush=True)
    except BrokenPipeError:  # the reader of the log has ended: the work continues
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and report progress, described in a few words; ``total`` where ``items`` has no length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, description, total=total, console=Console(stderr=True), transient=True)
        return
    started = reported = time.monotonic()
    for done, item in enumerate(items):
        yield item
        if time.monotonic() - reported > LOG_EVERY_S:
            reported = time.monotonic()
            of = f"/{total}" if total else ""
            say(f"{description}: {done + 1}{of} ({reported - started:.0f} s)")
