"""LightningModule for supervised clip classification, with one step for training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from fer_id.allocator import reuse_freed_memory
from fer_id.errors import ConfigError
from fer_id.evaluation.config import SPLITS
from fer_id.labels import LabelSpace
from fer_id.models.network import ClipClassifier
from fer_id.tasks.affect import Concordance, concordance_loss
from fer_id.tasks.config import AdaptationConfig, LossConfig, OptimConfig
from fer_id.tasks.features import FeatureBank
from fer_id.tasks.finite_check import require_finite, require_finite_weights
from fer_id.tasks.parallel import processes, share_of_loss
from fer_id.tasks.strategies import Strategy
from fer_id.tasks.views import averaged
from fer_id.types import ClipBatch, Predicted


class ClipClassification(pl.LightningModule):
    """Cross-entropy training of a :class:`ClipClassifier`, or of any module that is called as one.

    It logs ``train/loss``, ``train/accuracy``, ``train/macro_f1`` and the same of ``val/`` and ``test/``. Its steps
    return ``logits`` (B, K), which callbacks count. Clips without a valid frame enter neither loss nor metrics;
    predictions mark them as not covered. A model with a head of valence and arousal learns these beside (``1 - CCC``,
    times ``loss.affect``), from clips with or without a label; logged are ``train/affect_loss``, ``val/valence_ccc``,
    ``val/arousal_ccc`` and their mean ``val/ccc``, as far as they are defined.

    Args:
        model: called with frames (B, T, 3, S, S), valid (B, T) and landmarks (B, T, 68, 2), it returns logits (B, K).
        optim, loss: settings of optimiser, schedule and loss; None: those of the paper.
        lr: learning rate, where it is not that of ``optim``.
        test_views: predict the mean of the logits over these views of a clip, see ``fer_id.tasks.views``.
        strategy: which parts of the model learn, and how fast; None: all parts at one rate.
        resolution: ``[(share of training, pixels), ...]``: from that share on, training frames that are larger
            are shrunk to that side. Fewer pixels make cheap early epochs (Howard's progressive resizing; Tan & Le,
            2021).
        bank: features shared with other trainings from the same weights; used where only the classifier learns.
    """

    def __init__(
        self,
        model: nn.Module,
        labels: LabelSpace,
        optim: OptimConfig | None = None,
        loss: LossConfig | None = None,
        *,
        lr: float | None = None,
        test_views: str = "one",
        resolution: list[tuple[float, int]] | None = None,
        strategy: Strategy | None = None,
        bank: FeatureBank | None = None,
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.labels, self.optim, self.loss = labels, optim or OptimConfig(), loss or LossConfig()
        if lr is not None:
            self.optim = replace(self.optim, lr=lr)
        self.test_views, self.resolution = test_views, resolution or []
        self.strategy = strategy or Strategy(AdaptationConfig(), {})
        self.bank = bank if self.strategy.classifier_only else None
        if not isinstance(model, ClipClassifier) and type(self.strategy) is not Strategy:
            raise ConfigError(
                f"{type(self.strategy).__name__}: adapts the encoder or head of a ClipClassifier, and the model is a "
                f"{type(model).__name__}: build one with build_model, or train all of it (Strategy)"
            )
        self.critic = self.strategy.critic(model.head.dim) if isinstance(model, ClipClassifier) else None
        self.voter: nn.Linear | None = None
        if self.loss.votes_head:
            if not isinstance(model, ClipClassifier):
                raise ConfigError(f"loss.votes_head: needs a ClipClassifier, and the model is a {type(model).__name__}")
            self.voter = nn.Linear(model.head.dim, len(labels))
        accuracy, f1 = MulticlassAccuracy(len(labels), average="micro"), MulticlassF1Score(len(labels), average="macro")
        metrics = MetricCollection({"accuracy": accuracy, "macro_f1": f1})
        clones = {f"{split}_scores": metrics.clone(prefix=f"{_short(split)}/") for split in SPLITS}
        self.metrics = nn.ModuleDict(clones)
        rates = isinstance(model, ClipClassifier) and model.affect is not None
        self.concordance = Concordance() if rates else None

    def forward(self, batch: ClipBatch) -> Tensor:
        """Return the logits (B, K) of a batch."""
        logits: Tensor = self.model(batch["frames"], batch["valid"], batch["landmarks"])
        return logits

    def setup(self, stage: str) -> None:
        """Have the process reuse freed memory, which a training on a CPU otherwise gets anew in each step."""
        reuse_freed_memory()

    def on_train_batch_start(self, batch: ClipBatch, batch_idx: int) -> None:
        """Apply the strategy at the first batch of an epoch: validation puts all parts into training mode again."""
        if batch_idx == 0:
            self.strategy.begin_epoch(self.model, self._share())

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor | None:
        """Return the loss of the covered, labelled clips; None where the batch has none."""
        if (side := self._side()) and side < batch["frames"].shape[-1]:
            batch["frames"] = _shrink(batch["frames"], side)
        logits, pooled = self._logits(batch, self.current_epoch)
        covered, domain = batch["valid"].any(dim=1), batch.get("domain")
        loss, judged = self._judge(logits, batch, "train"), _judged(batch)
        if loss is not None and pooled is not None and self.voter is not None:
            # of vote shares the Kullback-Leibler divergence, but for their entropy, which no weight changes
            shares = batch["soft_label"] if "soft_label" in batch else batch["label"]
            loss = loss + self.loss.votes_head * F.cross_entropy(self.voter(pooled).float()[judged], shares[judged])
        loss = share_of_loss(loss, int(judged.sum()), self.model)
        if pooled is None:
            return loss
        affect = self._affect_loss(pooled, batch)
        loss = affect if loss is None else loss if affect is None else loss + affect
        penalty = self.strategy.penalty(self.model, pooled[covered], None if domain is None else domain[covered])
        if loss is None or penalty is None:
            return loss
        finite = pooled.isfinite().all(dim=1) | ~covered
        require_finite(loss + penalty, lambda: finite, batch["clip_id"], "train", self._when)
        return loss + penalty

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> dict[str, Tensor]:
        """Log loss and metrics without augmentation; return ``logits`` (B, K) for callbacks that count."""
        logits, pooled = self._logits(batch, None)
        self._judge(logits, batch, "validation")
        if self.concordance is not None:
            rated, covered = self.model.rate(pooled), batch["valid"].any(dim=1)
            truth = batch["affect"] if "affect" in batch else torch.full_like(rated, float("nan"))
            self.concordance.update(rated[covered], truth[covered])
        return {"logits": logits}

    def on_validation_epoch_end(self) -> None:
        """Log the CCC of valence and arousal of a whole validation."""
        if self.concordance is None:
            return
        scores = {f"val/{name}": value for name, value in self.concordance.compute().items()}
        self.concordance.reset()
        self.log_dict(scores, sync_dist=True)

    def _affect_loss(self, pooled: Tensor, batch: ClipBatch) -> Tensor | None:
        """Return the weighted loss of valence and arousal of the covered clips; None where the batch has none. Each of
        several processes takes it over its own share of the batch."""
        if self.concordance is None:
            return None
        rated, covered = self.model.rate(pooled), batch["valid"].any(dim=1)
        loss = concordance_loss(rated[covered], batch["affect"][covered]) if "affect" in batch else None
        if loss is None:  # the gradients of every process are awaited
            return rated.sum() * 0.0 if processes() > 1 else None
        require_finite(loss, lambda: rated.isfinite().all(dim=1) | ~covered, batch["clip_id"], "train", self._when)
        count = int(batch["affect"][covered].isfinite().any(dim=1).sum())
        self.log("train/affect_loss", loss, sync_dist=True, on_step=False, on_epoch=True, batch_size=count)
        return self.loss.affect * loss

    def test_step(self, batch: ClipBatch, batch_idx: int) -> Predicted:
        """Log loss and metrics of a test batch; return what :meth:`predict_step` returns."""
        predicted = self.predict_step(batch, batch_idx)
        self._judge(predicted["logits"].to(batch["label"].device), batch, "test")
        return predicted

    def _logits(self, batch: ClipBatch, epoch: int | None) -> tuple[Tensor, Tensor | None]:
        """Return logits (B, K), and one vector per clip (B, H), which a module of somebody's own has not."""
        if not isinstance(self.model, ClipClassifier):
            return self(batch), None
        if self.bank is not None:
            pooled = self.bank.pooled(self.model, batch, epoch)
        else:
            features = self.model.encode(batch["frames"], batch["valid"], batch["landmarks"])
            pooled = self.model.pool(features, batch["valid"])
        return self.model.classify(pooled), pooled

    def _judge(self, logits: Tensor, batch: ClipBatch, split: str) -> Tensor | None:
        logits, judged = logits.float(), _judged(batch)
        if not bool(judged.any()):
            return None
        target = self._target(batch, split)
        smoothing = self.loss.label_smoothing if split == "train" else 0.0
        loss = F.cross_entropy(logits[judged], target[judged], label_smoothing=smoothing)

        def sound() -> Tensor:
            losses = F.cross_entropy(logits, target.clamp(min=0), label_smoothing=smoothing, reduction="none")
            return losses.isfinite() | ~judged

        require_finite(loss, sound, batch["clip_id"], split, self._when)
        metrics = cast(MetricCollection, self.metrics[f"{split}_scores"])
        metrics.update(logits[judged], batch["label"][judged])
        count = int(judged.sum())
        name = f"{_short(split)}/loss"
        self.log(name, loss, prog_bar=True, sync_dist=True, on_step=False, on_epoch=True, batch_size=count)
        self.log_dict(metrics, prog_bar=split != "train", on_step=False, on_epoch=True, batch_size=count)
        return loss

    def _target(self, batch: ClipBatch, split: str) -> Tensor:
        """Return the classes (B,), or where clips have vote shares their mixture with the label, (B, K)."""
        if "soft_label" not in batch or (self.loss.votes < 1 and split != "train"):
            return batch["label"]
        hard = F.one_hot(batch["label"].clamp(min=0), len(self.labels))
        return torch.lerp(hard.to(batch["soft_label"]), batch["soft_label"], self.loss.votes)

    def predict_step(self, batch: ClipBatch, batch_idx: int, dataloader_idx: int = 0) -> Predicted:
        """Return a dict of ``clip_id``, ``logits`` (B, K) and ``covered`` (B,), and ``affect`` (B, 2) of a model that
        has it."""
        logits, affect = averaged(self._answer, batch, self.test_views)
        predicted = Predicted(clip_id=batch["clip_id"], logits=logits, covered=batch["valid"].any(dim=1).cpu())
        return predicted if affect is None else {**predicted, "affect": affect}

    def _answer(self, batch: ClipBatch) -> tuple[Tensor, Tensor | None]:
        """Return logits, and valence and arousal or None, of one view of a batch."""
        if self.concordance is None:
            return self(batch), None
        answer: tuple[Tensor, Tensor] = self.model.answer(batch["frames"], batch["valid"], batch["landmarks"])
        return answer

    def configure_optimizers(self) -> Any:
        """Return the optimiser, with a schedule over all steps where the settings name one."""
        beside = [(part, 1.0) for part in (self.critic, self.voter) if part is not None]
        rates = [*encoder_rates(self.model, self.strategy.rates(self.model), self.optim.encoder_lr), *beside]
        optimiser = make_optimiser(self.optim, rates, self.strategy.held(self.model))
        if self.optim.schedule == "constant":
            return optimiser
        steps = max(int(self.trainer.estimated_stepping_batches), 1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=[group["lr"] for group in optimiser.param_groups],
            total_steps=steps,
            pct_start=0.0 if self.optim.warmup * steps == 1 else self.optim.warmup,  # torch divides by zero at one step
            div_factor=25.0,
            final_div_factor=1e3,
            cycle_momentum=self.optim.name != "sgd",
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise NotFiniteError, before a checkpoint replaces a good one, where some weights are NaN or infinite."""
        require_finite_weights(self.model, self._when)

    def _when(self) -> str:
        rate = self.trainer.optimizers[0].param_groups[0]["lr"] if self.trainer.optimizers else 0.0
        return f"epoch {self.current_epoch}, step {self.global_step}, at learning rate {rate:.3g}"

    def _side(self) -> int | None:
        """Return the current side of the training frames in pixels; None for whole crops."""
        begun = [pixels for start, pixels in self.resolution if self._share() >= start]
        return begun[-1] if begun else None

    def _share(self) -> float:
        """Return the elapsed share of the training, in [0, 1)."""
        epochs = self.trainer.max_epochs or 1
        return self.current_epoch / epochs if epochs > 0 else 0.0


def _judged(batch: ClipBatch) -> Tensor:
    """Return True for each clip that enters loss and metrics, (B,): clips with a face and a label."""
    return batch["valid"].any(dim=1) & (batch["label"] >= 0)


def _short(split: str) -> str:
    return "val" if split == "validation" else split


def encoder_rates(
    model: nn.Module, rates: Sequence[tuple[nn.Module, float]], factor: float
) -> list[tuple[nn.Module, float]]:
    """Return the parts of a model with their factors on the learning rate, where those of the encoder are multiplied by
    ``factor``. A part that is the whole model is replaced by its own, the encoder last, as an epoch's row records the
    rate of the first part. Raise ConfigError where another factor than 1 is given for a model without an encoder."""
    if factor == 1.0:
        return list(rates)
    if not isinstance(model, ClipClassifier):
        raise ConfigError(f"optim.encoder_lr={factor}: a {type(model).__name__} has no encoder, only a ClipClassifier")
    inside, parts = set(model.encoder.modules()), list[tuple[nn.Module, float]]()
    for part, rate in rates:
        own = [child for child in model.children() if child is not model.encoder] if part is model else [part]
        own += [model.encoder] if part is model else []
        parts += [(child, rate * factor if child in inside else rate) for child in own]
    return parts


def make_optimiser(
    config: OptimConfig, rates: Sequence[tuple[nn.Module, float]], held: Sequence[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Return the optimiser, with weight decay on matrices and kernels only.

    ``rates`` are parts of a model with their factors on the learning rate, from ``Strategy.rates``; ``held`` are the
    parameters without weight decay, because a penalty regularises them.
    """
    groups, spared = [], {id(p) for p in held}
    for part, factor in rates:
        learning: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for parameter in part.parameters():
            learning[parameter.ndim > 1 and id(parameter) not in spared].append(parameter)
        for decays, parameters in learning.items():
            decay = config.weight_decay if decays else 0.0
            if parameters:
                groups.append({"params": parameters, "lr": config.lr * factor, "weight_decay": decay})
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=True)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr)


def _shrink(frames: Tensor, side: int) -> Tensor:
    """Resize frames (B, T, 3, H, W) to (B, T, 3, side, side)."""
    small = F.interpolate(frames.flatten(0, 1), (side, side), mode="bilinear", antialias=True, align_corners=False)
    return small.reshape(*frames.shape[:3], side, side)
