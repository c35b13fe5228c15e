"""Progress of a Trainer as lines of text, for a log, a cluster or a notebook, where no progress bar can be drawn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from fer_id.progress import say
from fer_id.reporting.page import duration


class ProgressLines(pl.Callback):
    """Callback that prints a line when training begins, every ``every_s`` seconds, and after every epoch.

    A line begins with ``name`` and has the epoch, the batch, the pictures per second and the time left at this pace,
    inner validation included; early stopping may end the training earlier. Validation, test and prediction that last
    longer than ``every_s`` print their batch. Of several processes the first one prints. ``clock`` gives the seconds
    since any fixed moment, ``write`` takes a line.
    """

    def __init__(
        self,
        name: str = "training",
        *,
        every_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] = say,
    ) -> None:
        self.name, self.every_s, self.clock, self.write = name, every_s, clock, write
        self._began = self._last = self._epoch_began = self._seconds = 0.0
        self._first_epoch = self._pictures = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the numbers of epochs and batches; a resumed training begins at a later epoch."""
        self._began, self._first_epoch = self.clock(), trainer.current_epoch
        epochs, batches = trainer.max_epochs or 0, trainer.num_training_batches
        first = f"from epoch {self._first_epoch + 1} " if self._first_epoch else ""
        self._print(trainer, f"training {first}to epoch {epochs}, {batches} batch{'' if batches == 1 else 'es'} each")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting the pictures of the epoch."""
        self._epoch_began, self._pictures, self._seconds = self.clock(), 0, 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the pictures of a ``ClipBatch``; print a line where one is due."""
        self._pictures += batch["valid"].numel()
        self._seconds = self.clock() - self._epoch_began
        if self._due():
            at = f"batch {batch_idx + 1}/{trainer.num_training_batches}, {self._rate()}"
            self._print(trainer, f"{self._epoch(trainer)}, {at}, {self._left(trainer, batch_idx + 1)}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of the epoch, after its inner validation."""
        took = duration(self.clock() - self._epoch_began)
        left = self._left(trainer, int(trainer.num_training_batches))
        self._print(trainer, f"{self._epoch(trainer)} done in {took}, {self._rate()}, {left}")

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the number of batches to predict."""
        self._print(trainer, f"predicting {sum(trainer.num_predict_batches)} batches")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Print a line of a validation, test or prediction where one is due."""
        if self._due():
            doing, batches = "inner validation", trainer.num_val_batches
            if trainer.testing:
                doing, batches = "test", trainer.num_test_batches
            elif trainer.predicting:
                doing, batches = "predicting", trainer.num_predict_batches
            self._print(trainer, f"{doing}, batch {sum(batches[:dataloader_idx]) + batch_idx + 1}/{sum(batches)}")

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def _due(self) -> bool:
        return self.clock() - self._last >= self.every_s

    def _print(self, trainer: pl.Trainer, line: str) -> None:
        self._last = self.clock()
        if trainer.is_global_zero:
            self.write(f"{self.name}: {line}")

    def _epoch(self, trainer: pl.Trainer) -> str:
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"

    def _rate(self) -> str:
        return f"{self._pictures / self._seconds:,.1f} pictures/s" if self._seconds else "pictures/s unknown"

    def _left(self, trainer: pl.Trainer, batches: int) -> str:
        """Return the time left, by the mean time of a batch since training began or was resumed."""
        each = trainer.num_training_batches
        done = (trainer.current_epoch - self._first_epoch) * each + batches
        total = ((trainer.max_epochs or 0) - self._first_epoch) * each
        if not math.isfinite(total) or not 0 < done <= total:
            return "time left unknown"
        return f"{duration((self.clock() - self._began) * (total - done) / done)} left"
