"""ClassMetrics: recall, precision, F1 and specificity by class, and the confusion matrix, at validation and test."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from fer_id.callbacks.step_outputs import ClipScores, every_logger, label_space, private_loggers
from fer_id.evaluation import scores
from fer_id.loggers.disclosure import SPLITS

SCORES = {"recall": scores.recall, "precision": scores.precision, "f1": scores.f1, "specificity": scores.specificity}


class ClassMetrics(ClipScores):
    """Callback for ``val/<class>/recall``, ``precision``, ``f1``, ``specificity`` (``test/...`` in a test).

    A score that is undefined (a class without a clip, or one that was never predicted) is not logged. Macro scores are
    the task's own. ``PrivateWandbLogger`` gets ``val/confusion_matrix`` as an image, other loggers get numbers alone,
    and none of fewer than five real children.

    Attributes:
        confusion: (K, K) counts of the last validation or test, true classes in rows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.confusion: NDArray[np.int64] = np.zeros((0, 0), np.int64)

    def log_scores(self, trainer: pl.Trainer, pl_module: pl.LightningModule, split: str) -> None:
        """Log the scores of each class, and the matrix."""
        labels = label_space(self, trainer, pl_module)
        self.confusion = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(self.confusion, tuple(np.array([*self.outcomes.values()], np.int64).reshape(-1, 2).T), 1)
        counts = np.pad(self.confusion, ((0, 0), (0, 1))).astype(np.float64)  # no clip without a prediction
        values = {name: score(counts) for name, score in SCORES.items()}
        numbers = {
            f"{split}/{label}/{name}": float(value[k])
            for k, label in enumerate(labels.names)
            for name, value in values.items()
            if np.isfinite(value[k])
        }
        pl_module.log_dict(numbers, logger=every_logger(trainer, SPLITS[split]), batch_size=1)
        provenance = getattr(getattr(trainer, "datamodule", None), "provenance", "real")
        for logger in private_loggers(trainer):
            logger.log_confusion_matrix(f"{split}/confusion_matrix", self.confusion, labels.names, provenance)
