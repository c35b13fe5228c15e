"""Facts about where a run is trained: versions of libraries, the commit of the program, processor or accelerator."""

from __future__ import annotations

import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

LIBRARIES = ("torch", "pytorch-lightning", "timm", "albumentations", "torchmetrics", "numpy", "pandas")


class Environment(TypedDict):
    """First keys of ``job.json``."""

    command: str
    started: str
    versions: dict[str, str]
    git_commit: str | None


def environment(command: str) -> Environment:
    """Return what a run is begun with: the command, now, the versions of the libraries, and the commit."""
    return {
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime()),
        "versions": {library: version(library) for library in LIBRARIES} | {"python": platform.python_version()},
        "git_commit": _commit(),
    }


def machine(device_type: str | None = None) -> str:
    """Return the name of the processor, or of the GPU where there is one and ``device_type`` is not ``cpu``, with the
    number of threads; no host name."""
    import torch

    if device_type != "cpu" and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} CPU threads"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} CPU threads"


def _commit() -> str | None:
    """Return the commit of the checkout that the program runs from; None where it runs from no checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
