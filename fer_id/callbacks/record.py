"""Callbacks that make a training a run: its record, seeds and checkpoints, in the order that they need."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from fer_id.callbacks.checkpoint import Checkpoint
from fer_id.files import plain
from fer_id.loggers.run_logger import Row, RunLogger
from fer_id.loggers.wandb import PrivateWandbLogger
from fer_id.runs.run_dir import RunDir


def run_callbacks(run: RunDir, monitor: str, seed: int, others: Sequence[pl.Callback] = ()) -> list[pl.Callback]:
    """Return the callbacks of every training that is a run, to be placed after callbacks that log numbers.

    ``monitor`` chooses the best epoch: the lowest of a number whose name ends in ``loss``, the highest of another.
    ``seed`` is that of dropout. ``others`` are callbacks that need the complete row of an epoch, before its checkpoint
    is saved.
    """
    folder = run.path / "checkpoints"
    best = Checkpoint(folder, "best", monitor=monitor)
    # Two checkpoints, since save_last of ModelCheckpoint writes only when the best is written too. Both come after
    # Record, so that an epoch is either recorded and saved, or trained again.
    return [EpochSeed(seed), Record(), *others, best, Checkpoint(folder, "last")]


class EpochSeed(pl.Callback):
    """Callback that seeds torch before each epoch: dropout draws from its generator, which no checkpoint holds, so that
    a resumed run draws as an uninterrupted one does."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed at the first batch: before it, a new iterator of the loader draws too, but not in every epoch."""
        if batch_idx == 0:
            state = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
            torch.manual_seed(int(state.generate_state(1)[0]))


class Record(pl.Callback):
    """Callback that gives ``RunLogger`` and ``PrivateWandbLogger`` one row per epoch, with all its numbers.

    Lightning logs an epoch's training numbers after the checkpoint of the epoch is saved. This row is complete before,
    so that an epoch is either recorded and saved, or trained again. The checkpoint holds the rows too: a resumed
    training takes its rows from there, whatever a crash did to the file.
    """

    def __init__(self) -> None:
        self._began = 0.0
        self._spent = 0.0
        self._earlier: dict[str, Tensor] = {}
        self._rows: list[Row] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the training seconds so far, to which a resumed run adds, and the rows."""
        return {"seconds": self._spent + time.monotonic() - self._began, "rows": list(self._rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seconds and the rows of the interrupted run."""
        self._spent, self._rows = float(state_dict["seconds"]), list(state_dict["rows"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand the rows of earlier epochs to the loggers; epochs that are trained again are not among them."""
        self._began = time.monotonic()
        for logger in _loggers(trainer):
            logger.begin(self._rows)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the numbers of earlier epochs: Lightning keeps each until it is logged again, however old."""
        self._earlier = dict(trainer.callback_metrics)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Complete the row: epoch, step, seconds, learning rate, and every number logged in this epoch."""
        known = trainer.callback_metrics.items()
        numbers = {key: float(value) for key, value in known if value is not self._earlier.get(key)}
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(self._spent + time.monotonic() - self._began, 2),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            **dict(sorted(numbers.items())),
        }
        self._rows.append(plain(row))
        for logger in _loggers(trainer):
            logger.log_epoch(self._rows[-1])


def _loggers(trainer: pl.Trainer) -> list[RunLogger | PrivateWandbLogger]:
    """Return the loggers that take rows, in the first process; ``RunLogger`` before ``PrivateWandbLogger``."""
    ours = [logger for logger in trainer.loggers if isinstance(logger, RunLogger | PrivateWandbLogger)]
    return sorted(ours, key=lambda logger: isinstance(logger, PrivateWandbLogger)) if trainer.is_global_zero else []
