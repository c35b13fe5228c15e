"""ClassMetrics: recall, precision, F1 and specificity by class, and the confusion matrix, at validation and test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from fer_id.callbacks.step_outputs import evaluated, every_logger, label_space, predicted_classes, private_loggers
from fer_id.evaluation import scores
from fer_id.labels import LabelSpace

SCORES = {"recall": scores.recall, "precision": scores.precision, "f1": scores.f1, "specificity": scores.specificity}


class ClassMetrics(pl.Callback):
    """Callback for ``val/<class>/recall``, ``precision``, ``f1``, ``specificity`` (``test/...`` in a test).

    A score that is undefined (a class without a clip, or one that was never predicted) is not logged. Macro scores are
    the task's own. ``PrivateWandbLogger`` gets ``val/confusion_matrix`` as an image, other loggers get numbers alone,
    and none of fewer than five real children. It uses the predictions of the step: a step returns a dict with
    ``predicted`` (B,) or ``logits`` (B, K), and batches are ``ClipBatch``. Clips without a face or label do not count.

    Attributes:
        confusion: (K, K) counts of the last validation or test, true classes in rows.
    """

    def __init__(self) -> None:
        self.confusion: NDArray[np.int64] = np.zeros((0, 0), np.int64)
        self._labels: LabelSpace | None = None

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set all counts to zero."""
        self._labels = label_space(self, trainer, pl_module)
        self.confusion = np.zeros((len(self._labels), len(self._labels)), np.int64)

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the clips of a batch by true and predicted class."""
        mask, classes = evaluated(batch), len(self.confusion)
        cells = batch["label"][mask] * classes + predicted_classes(self, outputs).to(batch["label"].device)[mask]
        counts = torch.bincount(cells.cpu(), minlength=classes * classes)
        self.confusion += counts.reshape(classes, classes).numpy()

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the scores and the matrix."""
        self._log(trainer, pl_module, "val", "validation")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the scores and the matrix."""
        self._log(trainer, pl_module, "test", "test")

    def _log(self, trainer: pl.Trainer, pl_module: pl.LightningModule, prefix: str, split: str) -> None:
        if self._labels is None or trainer.sanity_checking:
            return
        counts = np.pad(self.confusion, ((0, 0), (0, 1))).astype(np.float64)  # no clip without a prediction
        values = {name: score(counts) for name, score in SCORES.items()}
        numbers = {
            f"{prefix}/{label}/{name}": float(value[k])
            for k, label in enumerate(self._labels.names)
            for name, value in values.items()
            if np.isfinite(value[k])
        }
        pl_module.log_dict(numbers, logger=every_logger(trainer, split), batch_size=1)
        provenance = getattr(getattr(trainer, "datamodule", None), "provenance", "real")
        for logger in private_loggers(trainer):
            logger.log_confusion_matrix(f"{prefix}/confusion_matrix", self.confusion, self._labels.names, provenance)
