"""Results of benchmarks, and the timing of functions and of ``fer-id`` commands."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_id.errors import FerIdError

SHARED = Path(os.environ.get("FER_ID_SHARED") or Path(__file__).resolve().parents[3] / "shared" / "data")
"""Folder of the real datasets, if present."""


@dataclass(frozen=True)
class Result:
    """A measured value with its unit, and the promised limit."""

    name: str
    value: float | None  # None where it could not be measured; `note` then gives the reason
    unit: str
    limit: float | None = None  # None: no promise
    at_least: bool = False  # True for a lower limit
    note: str = ""  # spread, or the parts of the value

    @property
    def verdict(self) -> str:
        """``ok``, ``MISSED``, ``skipped``, or empty where there is no limit."""
        if self.value is None:
            return "skipped"
        if self.limit is None:
            return ""
        met = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "ok" if met else "MISSED"


def seconds(work: Callable[[], object]) -> float:
    """Return the duration of ``work`` in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def span(values: Sequence[float]) -> str:
    """Return the least and the greatest value as text."""
    return f"{min(values):.3g} to {max(values):.3g}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of as many cells each as text with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(line.rstrip() for line in padded)


def command_seconds(words: Sequence[str], **environment: str) -> float:
    """Return the seconds of a ``fer-id`` command with the start of Python; raise FerIdError where it fails."""
    program, variables = [sys.executable, "-m", "experiments.cli", *words], os.environ | environment
    began = time.perf_counter()
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        raise FerIdError(f"fer-id {' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return time.perf_counter() - began


def timed_thrice(words: Sequence[str]) -> tuple[float, str]:
    """Return the median duration of a ``fer-id`` command in seconds, and a note on its spread and processor time."""
    before = os.times()
    took = [command_seconds(words) for _ in range(3)]
    after = os.times()
    busy = (after.children_user + after.children_system - before.children_user - before.children_system) / 3
    return statistics.median(took), f"{min(took):.2f} to {max(took):.2f}, {busy:.2f} of the processor"
