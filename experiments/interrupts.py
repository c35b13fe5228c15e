"""How a command ends before its end: by a signal, or by a fault that its user can mend."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from fer_id.errors import FerIdError
from fer_id.shared_memory import ADVICE, PLACE, amount, shared_memory

WORKER = re.compile(
    r"DataLoader worker \(pid|DataLoader timed out|unable to (?:mmap|write|allocate).*(?:shared memory|torch_)"
)
MEMORY = re.compile(r"out of memory|can't allocate memory|Cannot allocate memory", re.IGNORECASE)
OTHERS = re.compile(r"closed by peer|connection reset by peer|ProcessGroup|NCCL|gloo", re.IGNORECASE)


class Terminated(SystemExit):
    """SIGTERM came: what a cluster, a service manager, or ``kill`` says when it wants its machine back.

    A ``SystemExit``, so that no ``except Exception`` holds it up and processes that were forked end without a word.
    """


class MachineError(FerIdError):
    """The machine gave up: out of memory, or a process of ours was killed from outside."""


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises :class:`Terminated` in the block, so that drafts are removed and locks freed."""
    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise Terminated(128 + signum)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C as Python has it: Lightning ends the process without a word, and lets no further one through.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        Terminated: SIGTERM.
        MachineError: no memory is left, or a process that loads batches was killed.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except Terminated:
        raise
    except SystemExit:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
    except (MemoryError, RuntimeError) as error:  # torch has no classes of its own for most of these
        if (plain := machine_fault(error)) is not None:
            raise plain from error
        raise


def machine_fault(error: Exception) -> MachineError | None:
    """Return what the user can mend about the machine, such as too little memory; None for any other error."""
    said = str(error)
    first = said.splitlines()[0] if said else type(error).__name__
    if WORKER.search(said):
        return MachineError(
            f"a process that loads batches was lost or hangs ({first}): mostly the machine ran out of memory, or of "
            f"shared memory{_shared()}. Free memory, {ADVICE}; then give the same command again: a training goes "
            "on from its last checkpoint"
        )
    if isinstance(error, MemoryError) or MEMORY.search(said):
        return MachineError(
            f"out of memory ({first}). Free some, and the same command goes on from the last checkpoint; or train "
            "under another name= with a smaller batch_size or model"
        )
    if OTHERS.search(said):
        return MachineError(
            f"the processes that train together lost one another ({first}): what ended another one is told by it; the "
            "same command goes on from the last checkpoint"
        )
    return None


def _shared() -> str:
    """Return how much shared memory there is, in brackets; empty where nobody knows."""
    memory = shared_memory()
    return "" if memory is None else f" ({PLACE} has {amount(memory.free)} free of {amount(memory.total)})"
