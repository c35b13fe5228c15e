"""Peak memory of a training: of the GPU where there is one, else of the process (Linux)."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc/self")


def reset_peak() -> None:
    """Reset the peak, so that each training in one process has its own."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # not Linux, or forbidden in a container: the peak is then that of the whole process
        (_PROC / "clear_refs").write_text("5")


def peak_bytes() -> int | None:
    """Return the peak in bytes since :func:`reset_peak`, on a CPU with all libraries; None where it is not known."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", (_PROC / "status").read_text()):
            return int(found[1]) * 1024
    return None


def own_megabytes() -> float:
    """Return the MiB of this process alone: anonymous pages, without mapped files; 0 where they are not known."""
    status = _PROC / "status"
    lines = status.read_text().splitlines() if status.is_file() else []
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))
