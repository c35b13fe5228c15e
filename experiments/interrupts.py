"""Signals (Ctrl-C, SIGTERM) and faults of the machine, such as too little memory, as exceptions."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from fer_id.errors import FerIdError, first_line
from fer_id.inputs import byte_words
from fer_id.shared_memory import ADVICE, PLACE, shared_memory

WORKER = re.compile(
    r"DataLoader worker \(pid|DataLoader timed out|unable to (?:mmap|write|allocate).*(?:shared memory|torch_)"
)
MEMORY = re.compile(r"out of memory|can't allocate memory|Cannot allocate memory", re.IGNORECASE)
OTHERS = re.compile(r"closed by peer|connection reset by peer|ProcessGroup|NCCL|gloo", re.IGNORECASE)


class Terminated(SystemExit):
    """SIGTERM was received, from a cluster, a service manager, or ``kill``.

    A ``SystemExit``, so that no ``except Exception`` catches it and forked processes end without a message.
    """


class MachineError(FerIdError):
    """The machine ran out of memory, or a process was killed from outside."""


@contextmanager
def terminable(*others: signal.Signals) -> Iterator[Callable[[], None]]:
    """Raise :class:`Terminated` on SIGTERM in the block, so that drafts are removed and locks freed.

    Ray loses the exception of a signal while it submits a task: it goes on, or exits in a way of its own. So whatever
    ends the block after a signal, its end included, becomes the exception of that signal. Of the further signals SIGINT
    raises KeyboardInterrupt. Yields a function for the library's loop, which raises the exception of a signal again.
    """
    received = list[BaseException]()

    def receive(signum: int, frame: FrameType | None) -> NoReturn:
        received.append(KeyboardInterrupt() if signum == signal.SIGINT else Terminated(128 + signum))
        raise received[-1]

    def again() -> None:
        if received:
            raise received[-1]

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield again
        return
    before = {number: signal.signal(number, receive) for number in (signal.SIGTERM, *others)}
    try:
        yield again
        again()
    except BaseException as error:
        if received and error is not received[-1]:
            raise received[-1] from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Restore Python's Ctrl-C in the block: Lightning would end the process silently, and ignore a second Ctrl-C. Raise
    MachineError where memory runs out, or a loader process was killed."""
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
    """Return an error with advice for a fault of the machine, such as too little memory; None for any other error."""
    text = str(error)
    first = first_line(error)
    if WORKER.search(text):
        memory = shared_memory()
        size = "" if memory is None else f" ({PLACE} has {byte_words(memory.free)} free of {byte_words(memory.total)})"
        return MachineError(
            f"a process that loads batches was lost or hangs ({first}): mostly the machine ran out of memory, or of "
            f"shared memory{size}. Free memory, {ADVICE}; then give the same command again: a training goes "
            "on from its last checkpoint"
        )
    if isinstance(error, MemoryError) or MEMORY.search(text):
        return MachineError(
            f"out of memory ({first}). Free some, and the same command goes on from the last checkpoint; or train "
            "under another name= with a smaller batch_size or model"
        )
    if OTHERS.search(text):
        return MachineError(
            f"the processes that train together lost one another ({first}): what ended another one is told by it; the "
            "same command goes on from the last checkpoint"
        )
    return None
