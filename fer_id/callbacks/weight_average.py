"""Exponential moving average (EMA) of a model's weights, which validation, checkpoints and the test then use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


def decay_after(updates: int, decay: float) -> float:
    """Return the decay of the next update, ``min(decay, (1 + n) / (10 + n))`` after n updates, as in TensorFlow and
    timm: the average of a short training is not one of its first steps."""
    return min(decay, (1 + updates) / (10 + updates))


class WeightAverage(WeightAveraging):
    """Lightning's ``WeightAveraging`` with an exponential moving average, updated after each step with
    :func:`decay_after`; the running statistics of batch norms are averaged with the weights.

    Validation, ``state_dict`` of every checkpoint, and the model after ``trainer.fit`` are the average; a checkpoint
    holds the current weights beside it, from which a training resumes.

    Args:
        decay: in [0, 1); 0.999 averages about the last thousand steps.
        device: device of the average; None: the model's at the start of the training.
    """

    def __init__(self, decay: float = 0.999, device: torch.device | str | None = None) -> None:
        def update(averages: Any, weights: Any, updates: Tensor | int) -> None:
            average = get_ema_multi_avg_fn(decay_after(int(updates), decay))  # type: ignore[no-untyped-call]
            average(averages, weights, updates)

        super().__init__(device=device, multi_avg_fn=update)


@contextmanager
def averaged_weights(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[None]:
    """Use the average within this context, as validation does, where the training keeps one."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning leaves it out of the stubs
    averages = [callback for callback in callbacks if isinstance(callback, WeightAverage)]
    for average in averages:
        average._swap_models(pl_module)
    try:
        yield
    finally:
        for average in averages:
            average._swap_models(pl_module)
