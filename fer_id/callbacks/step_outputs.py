"""Scores of a validation or test: base of the callbacks, ClassMetrics, and the loggers that may get numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer_id.errors import ConfigError
from fer_id.evaluation import scores
from fer_id.evaluation.groups.suppression import FEWEST_SUBJECTS
from fer_id.labels import LabelSpace
from fer_id.loggers.disclosure import SPLITS
from fer_id.loggers.run_logger import RunLogger
from fer_id.loggers.wandb import PrivateWandbLogger
from fer_id.tasks.parallel import of_all_processes

SCORES = {"recall": scores.recall, "precision": scores.precision, "f1": scores.f1, "specificity": scores.specificity}


class ClipScores(pl.Callback):
    """Base of callbacks that score each validation and test by the true and predicted class of its clips.

    A step returns a dict with ``predicted`` (B,) or ``logits`` (B, K), and batches are ``ClipBatch``. Clips without a
    face or label do not count. ``outcomes`` holds true and predicted class of each clip id of the last validation or
    test; in a distributed training those of all processes together.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, tuple[int, int]] = {}

    def log_scores(self, trainer: pl.Trainer, pl_module: pl.LightningModule, split: str) -> None:
        """Log the scores of :attr:`outcomes`, of split ``val`` or ``test``."""
        raise NotImplementedError

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the clips of the validation or test before."""
        self.outcomes = {}

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
        """Add true and predicted class of each clip of a batch."""
        pairs = torch.stack([batch["label"], predicted_classes(self, outputs).to(batch["label"].device)], dim=1)
        for clip, pair, counts in zip(batch["clip_id"], pairs.tolist(), evaluated(batch).tolist(), strict=True):
            if counts:
                self.outcomes[clip] = (pair[0], pair[1])

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the scores of a validation or test."""
        if not trainer.sanity_checking:
            self.outcomes = of_all_processes(self.outcomes)
            self.log_scores(trainer, pl_module, "test" if trainer.testing else "val")

    on_test_epoch_end = on_validation_epoch_end


class ClassMetrics(ClipScores):
    """Callback for ``val/<class>/recall``, ``precision``, ``f1``, ``specificity`` (``test/...`` in a test).

    A score that is undefined (a class without a clip, or one that was never predicted) is not logged. Macro scores are
    the task's own. ``PrivateWandbLogger`` gets ``val/confusion_matrix`` as an image, other loggers get numbers alone,
    and none of fewer than five real children. ``confusion`` holds the (K, K) counts, true classes in rows.
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


def predicted_classes(callback: pl.Callback, outputs: Any) -> Tensor:
    """Return the predicted classes (B,) of a step; raise ConfigError, naming the callback, where the step returned
    neither ``predicted`` (B,) nor ``logits`` (B, K)."""
    known = outputs if isinstance(outputs, dict) else {}
    predicted, logits = known.get("predicted"), known.get("logits")
    if isinstance(predicted, Tensor):
        return predicted
    if isinstance(logits, Tensor):
        return logits.argmax(dim=1)
    raise ConfigError(
        f"{type(callback).__name__}: the step of the LightningModule returned {type(outputs).__name__}, expected a "
        'dict with "predicted" (B,) or "logits" (B, K): return {"logits": logits} from validation_step and test_step'
    )


def evaluated(batch: Any) -> Tensor:
    """Return a mask (B,) of the clips of a ``ClipBatch`` that are evaluated: they have a face and a label."""
    labelled: Tensor = batch["valid"].any(dim=1) & (batch["label"] >= 0)
    return labelled


def label_space(callback: pl.Callback, trainer: pl.Trainer, pl_module: pl.LightningModule) -> LabelSpace:
    """Return ``labels`` of the LightningModule, else of the data module; raise ConfigError where neither has them."""
    for owner in (pl_module, getattr(trainer, "datamodule", None)):
        if isinstance(labels := getattr(owner, "labels", None), LabelSpace):
            return labels
    raise ConfigError(f"{type(callback).__name__}: neither the LightningModule nor the data module has `labels`")


def private_loggers(trainer: pl.Trainer) -> list[PrivateWandbLogger]:
    """Return the open ``PrivateWandbLogger`` instances, the only loggers that may get pictures."""
    return [logger for logger in trainer.loggers if isinstance(logger, PrivateWandbLogger) and logger.is_open]


def every_logger(trainer: pl.Trainer, split: str) -> bool:
    """Return whether numbers of a split (``train``, ``validation`` or ``test``) may go to every logger of a trainer.
    ``RunLogger`` writes to this machine alone and ``PrivateWandbLogger`` has rules of its own; any other logger gets
    numbers of no real children or of five and more, and none where the data module does not count them."""
    if all(isinstance(logger, RunLogger | PrivateWandbLogger) for logger in trainer.loggers):
        return True
    data: Any = getattr(trainer, "datamodule", None)
    if not hasattr(data, "n_children") or not hasattr(data, "fold"):
        return False
    children = int(data.n_children(getattr(data.fold, split)))
    return children == 0 or children >= FEWEST_SUBJECTS
