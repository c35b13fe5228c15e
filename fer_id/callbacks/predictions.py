"""WritePredictions: ``predictions.parquet`` of a run, written by ``trainer.test``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from torch import Tensor

from fer_id.callbacks.step_outputs import every_logger
from fer_id.errors import ConfigError
from fer_id.evaluation.metrics import headline_scores
from fer_id.evaluation.predictions import judge
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.parallel import of_all_processes
from fer_id.tasks.tabulate import prediction_table
from fer_id.types import Predicted


class WritePredictions(pl.Callback):
    """Callback that writes ``predictions.parquet`` after ``trainer.test`` and logs the scores of ``metrics.json``.

    Test clips are predicted by the test itself; inner-validation clips, which calibrate a run, are predicted after them
    by ``predict_step``. Logged are ``test/accuracy``, ``test/accuracy_with_missing``, ``test/macro_precision``,
    ``test/macro_recall``, ``test/macro_f1``, ``test/auc`` and ``test/specificity``, as far as they are defined.
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

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Keep the logits of a batch."""
        self._tested.append(_predicted(outputs, batch))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Predict the inner-validation clips, write the table, log the scores."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning leaves it out of the stubs
        shares = of_all_processes({str(trainer.global_rank): self._tested}).values()
        parts = {
            "validation": _predict(trainer, pl_module, data.val_dataloader()),
            "test": [batch for share in shares for batch in share],
        }
        tables = [
            prediction_table(
                list(batches),
                data.clips.iloc[getattr(data.fold, split)],
                data.labels,
                fold=data.fold.name,
                split=split,
                groups=data.groups,
            )
            for split, batches in parts.items()
        ]
        # A distributed sampler repeats clips, so that every process has as many.
        predictions = pd.concat(tables, ignore_index=True).drop_duplicates(["clip_id", "split"], ignore_index=True)
        if trainer.is_global_zero:
            self.run.write_predictions(predictions)
        scores = headline_scores(judge(predictions, data.labels), data.labels)
        numbers = {f"test/{name}": value for name, value in scores.items() if value is not None}
        pl_module.log_dict(numbers, logger=every_logger(trainer, "test"), batch_size=1)


def _predict(trainer: pl.Trainer, pl_module: pl.LightningModule, batches: Iterable[Any]) -> Iterator[Predicted]:
    """Yield the predictions of batches, on the device and in the precision of the test."""
    for number, batch in enumerate(batches):
        moved = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        with trainer.precision_plugin.predict_step_context():
            outputs = pl_module.predict_step(moved, number)
        yield _predicted(outputs, moved)


def _predicted(outputs: Any, batch: Any) -> Predicted:
    """Return ``clip_id``, ``logits`` and ``covered`` of a batch; raise ConfigError where there are no logits."""
    logits = outputs.get("logits") if isinstance(outputs, dict) else outputs
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ConfigError(
            f"WritePredictions: test_step or predict_step returned {type(outputs).__name__}, expected a dict with "
            '"logits" (B, K)'
        )
    covered = batch["valid"].any(dim=1)
    return {"clip_id": batch["clip_id"], "logits": logits.float().cpu(), "covered": covered.cpu()}
