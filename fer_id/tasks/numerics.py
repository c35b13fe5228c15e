"""Precision and memory format of a device: which it supports, and which is fastest by timing a few training steps."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from functools import cache
from time import perf_counter
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from fer_id.errors import first_line
from fer_id.progress import say
from fer_id.types import CROP

PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
"""Formats by name; the fastest on most machines comes first, so that the others are compared with it."""

BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""Processor features (x86, x86, ARM) that compute in bfloat16; without one torch emulates it, slower than float32."""

STEPS = 3
"""Timed steps of each candidate, in turn, so that other load meets all alike; the fastest counts, since load only makes
steps slower."""

HOPELESS = 3.0
"""A candidate whose first step takes this many times as long as the shortest first step so far is not timed further."""

FRAMES = 32
"""Frames of a timed step on a CPU: beyond that number a step's time is proportional to its frames, so that the ranking
is that of the whole batch. A GPU needs more frames and is timed on the whole batch."""


class Numerics(NamedTuple):
    """A precision, a memory format, and how long a training step took with them."""

    precision: str  # 32 or bf16 (autocast; weights stay in 32 bits)
    memory_format: str  # contiguous or channels_last
    seconds: float  # of the fastest timed step; of a hopeless candidate its only step


def supports(precision: str, device: torch.device) -> bool:
    """Return whether a device computes in a precision natively; bfloat16 that torch emulates does not count.

    On a CPU both the processor and oneDNN must support it; oneDNN obeys ``ONEDNN_MAX_CPU_ISA``.
    """
    return precision != "bf16" or _has_bf16(device.type)


def usable(precision: str, device: torch.device) -> str:
    """Return the precision in which ``device`` runs a model trained in ``precision``: the same, or ``32`` where the
    device lacks it, with one message per process."""
    if supports(precision, device):
        return precision
    _note_fallback(precision, device.type)
    return "32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return a context in which a model computes in ``precision`` as far as :func:`usable` on ``device``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=usable(precision, device) == "bf16")


def measure(
    model: nn.Module,
    shape: Sequence[int],
    *,
    device: torch.device,
    precisions: Sequence[str] = tuple(PRECISIONS),
    formats: Sequence[str] = tuple(FORMATS),
    side: int = CROP,
) -> list[Numerics]:
    """Time training steps of a copy of the model in every combination that the device supports; fastest first.

    The random state is restored. A candidate without an operator in its precision is left out with a message. The
    ``shape`` is that of a training batch, (B, T), of which a CPU times a part: see :data:`FRAMES`; ``side`` is that of
    its frames in pixels.
    """
    clips, frames = shape
    if device.type != "cuda":
        clips = min(clips, max(2, FRAMES // frames))  # a batch norm needs two
    hopeful = dict[tuple[str, str], Callable[[], None]]()
    seconds = dict[tuple[str, str], float]()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for candidate in itertools.product(precisions, formats):
            if not supports(candidate[0], device):
                continue
            step = _training_step(model, (clips, frames, side), device, *candidate)
            try:
                first = _seconds(step)  # includes set-up
            except RuntimeError as problem:
                if candidate[0] == "32":
                    raise
                say(f"{' '.join(candidate)} is not tried: {first_line(problem)}")
                continue
            if first <= HOPELESS * min(seconds.values(), default=first):
                hopeful[candidate] = step
            seconds[candidate] = first
        rounds = [{candidate: _seconds(step) for candidate, step in hopeful.items()} for _ in range(STEPS)]
    seconds |= {candidate: min(each[candidate] for each in rounds) for candidate in hopeful}
    return sorted((Numerics(*candidate, took) for candidate, took in seconds.items()), key=lambda each: each.seconds)


def _training_step(
    model: nn.Module, shape: tuple[int, int, int], device: torch.device, precision: str, memory_format: str
) -> Callable[[], None]:
    """Return a function for the forward and backward pass of a copy of the model on noise, of shape (B, T, S)."""
    model = copy.deepcopy(model).to(device).to(memory_format=FORMATS[memory_format]).train()
    frames = torch.rand(*shape, shape[-1], 3, device=device).permute(0, 1, 4, 2, 3)
    valid = torch.ones(shape[:2], dtype=torch.bool, device=device)
    target = torch.zeros(shape[0], dtype=torch.long, device=device)

    def step() -> None:
        with autocast(precision, device):
            logits = model(frames, valid)
        torch.autograd.backward(F.cross_entropy(logits.float(), target))
        model.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def _seconds(step: Callable[[], None]) -> float:
    began = perf_counter()
    step()
    return perf_counter() - began


@cache
def _has_bf16(device_type: str) -> bool:
    """Return whether the kind of device has bfloat16 arithmetic, and torch an LSTM in it."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch has no types here
        return False
    features = torch.cpu.get_capabilities()
    arithmetic = any(features.get(name) for name in BF16_INSTRUCTIONS)
    return arithmetic and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _lstm_in_bf16()


def _lstm_in_bf16() -> bool:
    """Return whether a CPU's LSTM, the operator that oneDNN has for the fewest processors, runs in bfloat16."""
    with torch.random.fork_rng([]), torch.autocast("cpu", torch.bfloat16):
        try:
            nn.LSTM(2, 2)(torch.zeros(1, 1, 2))
        except RuntimeError:
            return False
    return True


@cache
def _note_fallback(precision: str, device_type: str) -> None:
    name = "GPU" if device_type == "cuda" else "CPU"
    say(f"this {name} has no {precision} arithmetic: a model that was trained in {precision} computes in float32 here")
