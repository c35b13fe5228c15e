"""Errors in somebody's own callback, model or data module, told apart from faults of fer-id by who owns a frame."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from fer_id.errors import FerIdError

LIBRARIES = frozenset(
    {"experiments", "data_modules", "fer_id", "pytorch_lightning", "lightning_fabric", "timm", "torch", "torchvision"}
) | {"torchmetrics"}
"""Packages whose classes are nobody's own."""

KINDS = {"Callback": "callback", "Module": "model", "LightningDataModule": "dataset", "Logger": "logger"}
"""Class of torch or Lightning -> what somebody's own subclass of it is called."""


class OwnCodeError(FerIdError):
    """Code of somebody's own raised an error; the message has that person's traceback."""

    whole = True


def own_fault(error: BaseException) -> OwnCodeError | None:
    """Return an error that names the class and method of somebody's own, with the traceback from there, where
    ``error`` passed through one; None where fer-id itself is at fault."""
    for step, _ in traceback.walk_tb(error.__traceback__):
        if (owner := _owner(step)) is None:
            continue
        kind, cls, method = owner
        lines = traceback.format_list(traceback.extract_tb(_from(step, error.__traceback__)))
        file = getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__
        return OwnCodeError(
            f"{kind} {cls.__module__}.{cls.__qualname__} ({file}): {method} raises an error, and that is no fault of "
            f"fer-id:\n{''.join(lines)}{''.join(traceback.format_exception_only(error))}"
            "Mend that code; the same command then goes on where it stopped"
        )
    return None


def _owner(frame: FrameType) -> tuple[str, type, str] | None:
    """Return kind, class and method of somebody's own that a frame runs, or, where its arguments do not fit, calls."""
    for owner, method in _candidates(frame):
        cls = owner if isinstance(owner, type) else type(owner)
        if cls.__module__.partition(".")[0] in LIBRARIES:
            continue
        for base in cls.__mro__:
            if base.__name__ in KINDS and base.__module__.partition(".")[0] in LIBRARIES:
                called = "forward" if method in ("_wrapped_call_impl", "_call_impl") else method
                return KINDS[base.__name__], cls, called
    return None


def _candidates(frame: FrameType) -> Iterator[tuple[Any, str]]:
    """Yield the callback whose hook Lightning calls in a frame, and the ``self`` or ``cls`` of a method."""
    code, values = frame.f_code, frame.f_locals
    if isinstance(hook := values.get("hook_name"), str) and "callback" in values:
        yield values["callback"], hook
    first = values.get(code.co_varnames[0]) if code.co_argcount else None
    if hasattr(first, code.co_name):  # a method, not a function that is given the object
        yield first, code.co_name


def _from(frame: FrameType, trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins at a frame."""
    while trace is not None and trace.tb_frame is not frame:
        trace = trace.tb_next
    return trace
