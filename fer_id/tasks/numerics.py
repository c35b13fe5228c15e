"""Precision and memory format, chosen by timing a few training steps: no rule holds for every model and machine."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from fer_id.types import CROP

PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
STEPS = 3
"""Timed steps of each candidate; the fastest counts, since everything else on the machine only makes steps slower."""


class Numerics(NamedTuple):
    """A precision, a memory format, and how long a training step took with them.

    Attributes:
        precision: ``32`` or ``bf16`` (autocast; weights stay in 32 bits).
        memory_format: ``contiguous`` or ``channels_last``.
        seconds: of the fastest timed step.
    """

    precision: str
    memory_format: str
    seconds: float


def measure(
    model: nn.Module,
    shape: Sequence[int],
    *,
    device: torch.device,
    precisions: Sequence[str] = tuple(PRECISIONS),
    formats: Sequence[str] = tuple(FORMATS),
) -> list[Numerics]:
    """Times training steps of a copy of the model in every combination; fastest first, the random state left as it was.

    Args:
        model: a ``ClipClassifier``; unchanged.
        shape: (B, T) of a training batch.
        device: where it will train.
        precisions, formats: the candidates.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        found = [
            Numerics(precision, memory_format, _fastest_step(model, shape, device, precision, memory_format))
            for precision, memory_format in itertools.product(precisions, formats)
        ]
    return sorted(found, key=lambda one: one.seconds)


def _fastest_step(
    model: nn.Module, shape: Sequence[int], device: torch.device, precision: str, memory_format: str
) -> float:
    model = copy.deepcopy(model).to(device).to(memory_format=FORMATS[memory_format]).train()
    frames = torch.rand(*shape, CROP, CROP, 3, device=device).permute(0, 1, 4, 2, 3)
    valid = torch.ones(*shape, dtype=torch.bool, device=device)
    target = torch.zeros(shape[0], dtype=torch.long, device=device)
    seconds = []
    for _ in range(STEPS + 1):  # the first step sets things up
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(frames, valid)
        torch.autograd.backward(F.cross_entropy(logits.float(), target))
        model.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
