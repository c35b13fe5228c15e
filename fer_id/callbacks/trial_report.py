"""Watch: reports inner validations of a training to a function, such as one of a sweep, that may end it."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as pl

from fer_id.runs.run_dir import RunDir


class EndedOutside(Exception):
    """The reporting function ended the training; its checkpoints stay."""


class Watch(pl.Callback):
    """Callback that reports every inner validation, including validations from before an interruption.

    ``tell`` is called with the number of the validation (from 1), the value of ``monitor``, and whether it is the last
    one. It may raise :class:`EndedOutside`. Earlier validations are those in the run's ``metrics.jsonl``.
    """

    def __init__(self, run: RunDir, monitor: str, tell: Callable[[int, float, bool], None]) -> None:
        self.run, self.monitor, self.tell = run, monitor, tell
        self._reported = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the validations of earlier epochs; ``Record`` has dropped epochs that are trained again."""
        self._report(last=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the value of a validated epoch, after ``Record`` wrote its row."""
        self._report(last=trainer.should_stop or trainer.current_epoch + 1 >= (trainer.max_epochs or 0))

    def _report(self, *, last: bool) -> None:
        curve = self.run.learning_curve()
        values = curve[self.monitor].dropna().tolist() if self.monitor in curve else []
        for value in values[self._reported :]:
            self._reported += 1
            self.tell(self._reported, float(value), last)
