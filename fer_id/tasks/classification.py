"""The one supervised task: clips to labels, one step for train, validation and test."""

from __future__ import annotations

from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from fer_id.errors import FerIdError
from fer_id.labels import LabelSpace
from fer_id.models.network import ClipClassifier
from fer_id.tasks.config import LossConfig, OptimConfig
from fer_id.types import CROP, FLIP_68, ClipBatch


class NotFiniteError(FerIdError):
    """The loss became NaN or infinite; the message names the clips of the batch."""


class ClipClassification(pl.LightningModule):
    """Cross-entropy on a :class:`ClipClassifier`.

    Args:
        model: gives logits (B, K).
        labels: the K classes.
        optim: optimiser and schedule.
        loss: targets.
        class_counts: training clips per class, for ``loss.class_balance=weights``.
        flip_test: predict the mean of the logits of a clip and of its mirror image.
        resolution: ``[(share of training, pixels), ...]``: from that share on, training frames are shrunk to that side.
            Fewer pixels make cheap early epochs (Howard's progressive resizing; Tan & Le, 2021).

    A clip without one valid frame is neither learned from nor judged here; predictions carry it as not covered.
    """

    def __init__(
        self,
        model: ClipClassifier,
        labels: LabelSpace,
        optim: OptimConfig,
        loss: LossConfig,
        *,
        class_counts: list[int] | None = None,
        flip_test: bool = False,
        resolution: list[tuple[float, int]] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.labels, self.optim, self.loss = model, labels, optim, loss
        self.flip_test, self.resolution = flip_test, resolution or []
        self.register_buffer("class_weight", _class_weight(loss, class_counts, len(labels)), persistent=False)
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(len(labels), average="micro"),
                "macro_f1": MulticlassF1Score(len(labels), average="macro"),
            }
        )
        self.metrics = nn.ModuleDict({f"{split}_scores": metrics.clone(prefix=f"{_short(split)}/") for split in _SPLITS})

    def forward(self, batch: ClipBatch) -> Tensor:
        """Logits (B, K) of a batch."""
        logits: Tensor = self.model(batch["frames"], batch["valid"], batch["landmarks"])
        return logits

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor | None:
        """Loss of the covered, labelled clips; None where the batch has none."""
        side = self._side()
        if side < CROP:
            batch["frames"] = _shrink(batch["frames"], side)
        return self._step(batch, "train")

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """As training, without augmentation."""
        self._step(batch, "validation")

    def test_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """As validation."""
        self._step(batch, "test")

    def _step(self, batch: ClipBatch, split: str) -> Tensor | None:
        logits = self(batch).float()
        judged = batch["valid"].any(dim=1) & (batch["label"] >= 0)
        if not bool(judged.any()):
            return None
        target = batch["soft_label"] if "soft_label" in batch else batch["label"]
        loss = F.cross_entropy(
            logits[judged],
            target[judged],
            weight=self.class_weight,
            label_smoothing=self.loss.label_smoothing if split == "train" else 0.0,
        )
        if not bool(torch.isfinite(loss)):
            raise NotFiniteError(
                f"{split} loss is {loss.item()} in epoch {self.current_epoch}, step {self.global_step}; clips of the batch: "
                f"{', '.join(batch['clip_id'][:8])}. Lower optim.lr, or set trainer.gradient_clip or trainer.precision=32."
            )
        metrics = cast(MetricCollection, self.metrics[f"{split}_scores"])
        metrics.update(logits[judged], batch["label"][judged])
        count = int(judged.sum())
        self.log(f"{_short(split)}/loss", loss, on_step=False, on_epoch=True, batch_size=count, prog_bar=True, sync_dist=True)
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=count, prog_bar=split != "train")
        return loss

    def predict_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Logits with what they belong to: ``clip_id``, ``logits`` (B, K), ``covered`` (B,)."""
        logits = self(batch)
        if self.flip_test:
            logits = (logits + self(_mirrored(batch))) / 2
        return {
            "clip_id": batch["clip_id"],
            "logits": logits.float().cpu(),
            "covered": batch["valid"].any(dim=1).cpu(),
        }

    def configure_optimizers(self) -> Any:
        """The optimiser, and a schedule over all steps where one is asked for."""
        optimiser = make_optimiser(self.optim, self.model)
        if self.optim.schedule == "constant":
            return optimiser
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=[group["lr"] for group in optimiser.param_groups],
            total_steps=max(steps, 1),
            pct_start=self.optim.warmup,
            cycle_momentum=self.optim.schedule == "one_cycle" and self.optim.name != "sgd",
            div_factor=25.0,
            final_div_factor=1e3,
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _side(self) -> int:
        """Side of the training frames now, in pixels."""
        epochs = self.trainer.max_epochs or 1
        share = self.current_epoch / epochs if epochs > 0 else 0.0
        begun = [pixels for start, pixels in self.resolution if share >= start]
        return begun[-1] if begun else CROP


_SPLITS = ("train", "validation", "test")


def _short(split: str) -> str:
    return "val" if split == "validation" else split


def make_optimiser(config: OptimConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over all parameters that learn; weight decay on matrices and kernels only."""
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr)


def _class_weight(loss: LossConfig, counts: list[int] | None, classes: int) -> Tensor | None:
    """Weights (K,) of mean one over the training clips; None for none."""
    if loss.class_balance == "none" or counts is None:
        return None
    present = torch.tensor(counts, dtype=torch.float).clamp(min=1)
    return present.sum() / (classes * present)


def _mirrored(batch: ClipBatch) -> ClipBatch:
    landmarks = batch["landmarks"][:, :, list(FLIP_68)].clone()
    landmarks[..., 0] = CROP - 1 - landmarks[..., 0]
    mirrored: ClipBatch = {**batch, "frames": batch["frames"].flip(-1), "landmarks": landmarks}
    return mirrored


def _shrink(frames: Tensor, side: int) -> Tensor:
    """Frames (B, T, 3, H, W) -> (B, T, 3, side, side)."""
    small = F.interpolate(frames.flatten(0, 1), (side, side), mode="bilinear", antialias=True, align_corners=False)
    return small.unflatten(0, frames.shape[:2])
