"""Size of the shared memory through which DataLoader workers pass batches to the training."""

from __future__ import annotations

import os
from typing import NamedTuple

PLACE = "/dev/shm"
ADVICE = (
    "start the container with more (docker run --shm-size=2g), or say data.num_workers=0 (of a finished run: in its "
    "config.yaml)"
)


class SharedMemory(NamedTuple):
    """Bytes of the machine's or container's shared memory."""

    free: int
    total: int


def shared_memory() -> SharedMemory | None:
    """Return free and total shared memory; None on a system without :data:`PLACE`."""
    try:
        facts = os.statvfs(PLACE)
    except OSError:
        return None
    return SharedMemory(facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize)
