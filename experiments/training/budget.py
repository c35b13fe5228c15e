"""Length of a training from its budget in multiply-adds, the same on every machine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.training.setup import takes_any_size
from fer_id.models.build import model_cost
from fer_id.progress import say
from fer_id.reporting.words import counted

if TYPE_CHECKING:
    from data_modules.base import FerDataModule
    from experiments.config import TrainConfig

PASSES = 3
"""Forward passes that a training step costs: the backward pass computes two gradients for each product."""


def within_budget(config: TrainConfig, data: FerDataModule) -> TrainConfig:
    """Return the configuration with as many epochs as ``trainer.budget`` pays for, at least one and at most
    ``trainer.max_epochs``; unchanged without a budget. Counted are the training steps on whole batches, on the smaller
    crops of ``trainer.resolution`` where the encoder takes them."""
    if (budget := config.trainer.budget) is None:
        return config
    resolution = config.trainer.resolution
    resolution = resolution if resolution and takes_any_size(config) else []
    frames = 1 if config.data.frames == "frame" else int(data.clips["length"].max())
    sides = {min(side, data.crop) for _, side in resolution} | {data.crop}
    clip = {side: model_cost(config.model, len(data.labels), frames, side).clip for side in sides}
    number, batch = len(data.fold.train), config.batch_size
    number = max(number // batch * batch, min(number, batch))

    def cost(epochs: int) -> int:
        return PASSES * number * sum(clip[min(side, data.crop)] for side in sides_of(epochs, resolution, data.crop))

    epochs = max(1, bisect_right(range(1, config.trainer.max_epochs + 1), budget, key=cost))
    say(
        f"trainer.budget={budget:.3g} multiply-adds: {counted(epochs, 'epoch')} of {number:,} clips, "
        f"{cost(epochs):.3g} in all ({clip[data.crop]:.3g} a clip forward, {PASSES} times that a step)"
    )
    return replace(config, trainer=replace(config.trainer, max_epochs=epochs))


def sides_of(epochs: int, resolution: Sequence[tuple[float, int]], whole: int) -> list[int]:
    """Return the side of the training frames of each epoch under ``trainer.resolution``."""
    begun = [[side for share, side in resolution if epoch / epochs >= share] for epoch in range(epochs)]
    return [sides[-1] if sides else whole for sides in begun]
