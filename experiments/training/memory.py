"""How much memory a training took at most: of the GPU where there is one, else of the process (Linux)."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc/self")


def reset_peak() -> None:
    """Forgets what was taken before, so that trainings of one process are told apart."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # not Linux, or a container that forbids it: then the peak is that of the whole process
        (_PROC / "clear_refs").write_text("5")


def peak_bytes() -> int | None:
    """The peak since :func:`reset_peak`, libraries and all on a CPU; None where the system does not tell."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", (_PROC / "status").read_text()):
            return int(found[1]) * 1024
    return None


def own_megabytes() -> float:
    """MiB this process alone holds: anonymous pages, without files mapped into it; 0 where the system cannot tell."""
    status = _PROC / "status"
    lines = status.read_text().splitlines() if status.is_file() else []
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))
