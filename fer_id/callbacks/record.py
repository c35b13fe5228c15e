"""Callbacks that make a training a run: its record, seeds, checkpoints and predictions, and reports to a sweep."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor

from fer_id.callbacks.checkpoint import Checkpoint
from fer_id.callbacks.step_outputs import every_logger
from fer_id.errors import ConfigError
from fer_id.evaluation.affect import affect_scores, has_affect
from fer_id.evaluation.metrics import headline_scores
from fer_id.evaluation.predictions import NO_BASELINE, judge
from fer_id.files import plain
from fer_id.loggers.run_logger import Row, RunLogger
from fer_id.loggers.wandb import PrivateWandbLogger
from fer_id.models.heads import FEWEST
from fer_id.progress import say
from fer_id.runs.run_dir import RunDir, by_epoch
from fer_id.tasks.parallel import of_all_processes
from fer_id.tasks.tabulate import prediction_table
from fer_id.types import Predicted


def run_callbacks(run: RunDir, monitor: str, seed: int, others: Sequence[pl.Callback] = ()) -> list[pl.Callback]:
    """Return the callbacks of every training that is a run, to be placed after callbacks that log numbers.

    ``monitor`` chooses the best epoch: the lowest of a number whose name ends in ``loss``, the highest of another.
    ``seed`` is that of dropout. ``others`` are callbacks that need the complete row of an epoch, before its checkpoint
    is saved.
    """
    folder = run.path / "checkpoints"
    best, last = Checkpoint(folder, "best", monitor=monitor), Checkpoint(folder, "last")
    # Two checkpoints, since save_last of ModelCheckpoint writes only when the best is written too. Both come after
    # Record, so that an epoch is either recorded and saved, or trained again.
    return [EpochSeed(seed), Record(), *others, best, last]


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
        self._began = self._spent = 0.0
        self._earlier: dict[str, Tensor] = {}
        self._rows: list[Row] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the training seconds so far, to which a resumed run adds, and the rows."""
        return {"seconds": self._spent + time.monotonic() - self._began, "rows": list(self._rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seconds and the rows of the interrupted run."""
        self._spent, self._rows = float(state_dict["seconds"]), list(state_dict["rows"])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the loggers the Trainer, whose epoch other numbers belong to."""
        for logger in _loggers(trainer):
            logger.follow(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand the rows of earlier epochs to the loggers; epochs that are trained again are not among them."""
        self._began = time.monotonic()
        for logger in _loggers(trainer):
            logger.begin(self._rows)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the numbers of earlier epochs: Lightning keeps each until it is logged again, however old."""
        self._earlier = dict(trainer.callback_metrics)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Complete the row: epoch, step, seconds, learning rate, and every number logged in this epoch. W&B gets it
        with the lines that callbacks gave ``RunLogger`` meanwhile."""
        known = sorted(trainer.callback_metrics.items())
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(self._spent + time.monotonic() - self._began, 2),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            **{key: float(value) for key, value in known if value is not self._earlier.get(key)},
        }
        row, loggers = plain(row), _loggers(trainer)
        self._rows += [line for logger in loggers if isinstance(logger, RunLogger) for line in logger.take_new()]
        self._rows.append(row)
        for logger in loggers:
            logger.log_epoch(row if isinstance(logger, RunLogger) else by_epoch(self._rows)[-1])


def _loggers(trainer: pl.Trainer) -> list[RunLogger | PrivateWandbLogger]:
    """Return the loggers that take rows, in the first process; ``RunLogger`` before ``PrivateWandbLogger``."""
    ours = [logger for logger in trainer.loggers if isinstance(logger, RunLogger | PrivateWandbLogger)]
    return sorted(ours, key=lambda logger: isinstance(logger, PrivateWandbLogger)) if trainer.is_global_zero else []


class WritePredictions(pl.Callback):
    """Callback that writes ``predictions.parquet`` after ``trainer.test`` and logs the scores of ``metrics.json``.

    Test clips are predicted by the test itself; inner-validation clips, which calibrate a run, are predicted after them
    by ``predict_step``. Logged are ``test/accuracy``, ``test/accuracy_with_missing``, ``test/macro_precision``,
    ``test/macro_recall``, ``test/macro_f1``, ``test/auc`` and ``test/specificity``, and of a model of valence and
    arousal ``test/valence_ccc``, ``test/arousal_ccc`` and ``test/ccc``, as far as they are defined. A
    run without test clips is written after ``trainer.predict`` on the inner-validation clips.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self._tested: list[Predicted] = []

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget earlier predictions; raise ConfigError where the trainer has no data module of fer_id."""
        data: Any = getattr(trainer, "datamodule", None)
        if not all(hasattr(data, part) for part in ("clips", "fold", "labels", "groups", "provenance")):
            raise ConfigError("WritePredictions: give trainer.test the data module of the run, a data module of fer_id")
        self._tested = []

    on_predict_epoch_start = on_test_epoch_start

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Keep the logits of a batch."""
        self._tested.append(_predicted(outputs, batch))

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the logits of an inner-validation batch."""
        self._tested.append(_predicted(outputs, batch))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Predict the inner-validation clips, write the table, log the scores."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning leaves it out of the stubs
        shares = of_all_processes({str(trainer.global_rank): self._tested}).values()
        tested = [batch for share in shares for batch in share]
        predictions = self._write(trainer, pl_module, _predict(trainer, pl_module, data.val_dataloader()), tested)
        scores = headline_scores(judge(predictions, data.labels), data.labels)
        if has_affect(predictions):
            scores |= {name: value for name, value in affect_scores(predictions)[0].items() if np.isfinite(value)}
        numbers = {f"test/{name}": value for name, value in scores.items() if value is not None}
        pl_module.log_dict(numbers, logger=every_logger(trainer, "test"), batch_size=1)

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the table of a run without test clips."""
        self._write(trainer, pl_module, self._tested, [])

    def _write(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        validation: Iterable[Predicted],
        test: Iterable[Predicted],
    ) -> pd.DataFrame:
        """Write ``predictions.parquet``, and return it."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        own_baseline = bool(getattr(getattr(pl_module.model, "head", None), "own_baseline", False))
        tables = [
            prediction_table(
                list(batches),
                data.clips.iloc[getattr(data.fold, split)],
                data.labels,
                fold=data.fold.name,
                split=split,
                groups=data.groups,
                own_baseline=own_baseline,
            )
            for split, batches in (("validation", validation), ("test", test))
            if len(getattr(data.fold, split))
        ]
        # A distributed sampler repeats clips, so that every process has as many.
        predictions = pd.concat(tables, ignore_index=True).drop_duplicates(["clip_id", "split"], ignore_index=True)
        if own_baseline and (few := int(predictions[NO_BASELINE].sum())):
            say(
                f"{few} of {len(predictions)} test and validation clips have fewer than {FEWEST} frames with a face: "
                "no own baseline is subtracted from them"
            )
        if trainer.is_global_zero:
            self.run.write_predictions(predictions)
        return predictions


def _predict(trainer: pl.Trainer, pl_module: pl.LightningModule, batches: Iterable[Any]) -> Iterator[Predicted]:
    """Yield the predictions of batches, on the device and in the precision of the test."""
    for number, batch in enumerate(batches):
        moved = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        with trainer.precision_plugin.predict_step_context():
            outputs = pl_module.predict_step(moved, number)
        yield _predicted(outputs, moved)


def _predicted(outputs: Any, batch: Any) -> Predicted:
    """Return ``clip_id``, ``logits``, ``covered`` and, if any, ``affect`` of a batch; raise ConfigError where there are
    no logits."""
    logits = outputs.get("logits") if isinstance(outputs, dict) else outputs
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ConfigError(
            f"WritePredictions: test_step or predict_step returned {type(outputs).__name__}, expected a dict with "
            '"logits" (B, K)'
        )
    covered = batch["valid"].any(dim=1)
    predicted = Predicted(clip_id=batch["clip_id"], logits=logits.float().cpu(), covered=covered.cpu())
    affect = outputs.get("affect") if isinstance(outputs, dict) else None
    return {**predicted, "affect": affect.float().cpu()} if isinstance(affect, Tensor) else predicted


class EndedOutside(Exception):
    """The reporting function ended the training; its checkpoints stay."""


class Watch(pl.Callback):
    """Callback that reports every inner validation, including validations from before an interruption. ``tell`` is
    called with the number of the validation (from 1), the value of ``monitor``, and whether it is the last one. It may
    raise :class:`EndedOutside`. Earlier validations are those in the run's ``metrics.jsonl``."""

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
