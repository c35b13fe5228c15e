"""Timing of functions and of ``fer-id`` commands, for all benchmarks."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from fer_id.errors import FerIdError


def seconds(work: Callable[[], object]) -> float:
    """Return the duration of ``work`` in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def span(values: Sequence[float]) -> str:
    """Return the least and the greatest value as text."""
    return f"{min(values):.3g} to {max(values):.3g}"


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
