"""EpochSeed: seeds torch by (seed, epoch, rank), so that a resumed run draws as an uninterrupted one does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch


class EpochSeed(pl.Callback):
    """Callback that seeds torch before each epoch: dropout draws from its generator, which no checkpoint holds.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed at the first batch: before it, a new iterator of the loader draws too, but not in every epoch."""
        if batch_idx == 0:
            state = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
            torch.manual_seed(int(state.generate_state(1)[0]))
