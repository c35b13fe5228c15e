"""Adaptation strategies for a pretrained model: which parts learn, at which rates, and with which regularisation.

A model has *stages* in the order of its forward pass: the blocks of the encoder, the temporal head, the classifier. A
strategy acts on stages; loss, data and training loop are those of any training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_id.models.network import ClipClassifier
from fer_id.tasks.config import AdaptationConfig
from fer_id.types import COHORT, SOURCE

_CRITIC_WIDTH = 64


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Return the squared distance of the covariances of (N, d) and (M, d), over ``4 d^2`` (Sun & Saenko, 2016).

    At least two rows each. Computed outside autocast, since a covariance loses too much precision in bf16.
    """
    with torch.autocast(source.device.type, enabled=False):
        apart = torch.cov(source.T) - torch.cov(target.T)
        return apart.square().sum() / (4 * source.shape[1] ** 2)


class Critic(nn.Module):
    """Domain classifier on features (B, d) that reverses its gradient, so that the features become domain-invariant.

    The domain-adversarial loss of Ganin et al. (2016).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, _CRITIC_WIDTH), nn.ReLU(), nn.Linear(_CRITIC_WIDTH, 2))

    def forward(self, features: Tensor, domain: Tensor, strength: float) -> Tensor:
        """Return the domain's cross-entropy, int64 (B,), domains weighted equally, gradient times ``-strength``."""
        logits = self.net(_GradientReversal.apply(features, strength))
        weight = 1 / torch.bincount(domain, minlength=2).clamp(min=1).float()
        return F.cross_entropy(logits, domain, weight=weight)


class _GradientReversal(torch.autograd.Function):
    """Identity with a reversed and scaled gradient."""

    @staticmethod
    def forward(context: Any, features: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -context.strength * gradient, None


class Strategy:
    """Full fine-tuning: everything learns at one rate. Base class of the other strategies.

    ``start`` has the transferred weights by name at the beginning of the adaptation; it is empty for a randomly
    initialised model.
    """

    learns = True  # False for a strategy without training
    classifier_only = False  # True where only the classifier learns, so that features can be cached

    def __init__(self, config: AdaptationConfig, start: Mapping[str, Tensor]) -> None:
        self.config, self.start = config, dict(start)

    def begin_epoch(self, model: ClipClassifier, share: float) -> None:
        """Prepare the model for an epoch, after this share of the training, in [0, 1)."""

    def rates(self, model: ClipClassifier) -> list[tuple[nn.Module, float]]:
        """Return each part that learns at any time, with the factor on its learning rate."""
        return [(model, 1.0)]

    def critic(self, dim: int) -> Critic | None:
        """Return a network that learns beside the model on its pooled features (B, dim), or None."""
        return None

    def penalty(self, model: ClipClassifier, pooled: Tensor, domain: Tensor | None) -> Tensor | None:
        """Return a term to add to the loss of a batch, or None.

        ``pooled`` (B, H) has one vector per clip that shows a face; ``domain`` (B,) is ``SOURCE`` or ``COHORT``, None
        for the cohort alone.
        """
        return None

    def held(self, model: ClipClassifier) -> list[nn.Parameter]:
        """Return the parameters that the penalty regularises, which weight decay must leave alone."""
        return []

    def settle(self, model: ClipClassifier, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Adapt without training: frames (B, T, ...) and valid (B, T) of the training clips."""


class SourceOnly(Strategy):
    """The source model unchanged: the baseline of every adaptation."""

    learns = False


class Head(Strategy):
    """Training of temporal head and classifier on fixed frame features: a third of the arithmetic of a full training,
    since no gradient passes through the encoder."""

    def parts(self, model: ClipClassifier) -> list[nn.Module]:
        """Return the parts that learn."""
        return [model.head, *model.outputs]

    def begin_epoch(self, model: ClipClassifier, share: float) -> None:
        learn_only(model, self.parts(model))

    def rates(self, model: ClipClassifier) -> list[tuple[nn.Module, float]]:
        return [(part, 1.0) for part in self.parts(model)]


class LinearProbe(Head):
    """Training of the classifier (and the head of valence and arousal, if any) alone, on fixed features."""

    classifier_only = True

    def parts(self, model: ClipClassifier) -> list[nn.Module]:
        return model.outputs


class Gradual(Strategy):
    """Stages begin to learn one by one from the last, earlier ones at lower rates (Howard & Ruder, 2018)."""

    def begin_epoch(self, model: ClipClassifier, share: float) -> None:
        parts = stages(model)
        awake = 1 + int(share / self.config.unfreeze_until * len(parts))
        learn_only(model, parts[-min(awake, len(parts)) :])

    def rates(self, model: ClipClassifier) -> list[tuple[nn.Module, float]]:
        parts = stages(model)
        return [(part, self.config.lr_decay ** (len(parts) - 1 - depth)) for depth, part in enumerate(parts)]


class L2SP(Strategy):
    """Weight decay towards the starting weights instead of towards zero (Li et al., 2018).

    The penalty is ``strength / 2`` times the squared distance of the transferred weights from their start; new weights
    are left to the optimiser's own weight decay.
    """

    def penalty(self, model: ClipClassifier, pooled: Tensor, domain: Tensor | None) -> Tensor | None:
        moved = [
            (value - self.start[name].to(value.device)).square().sum()
            for name, value in model.named_parameters()
            if name in self.start
        ]
        return self.config.l2sp / 2 * torch.stack(moved).sum() if moved else None

    def held(self, model: ClipClassifier) -> list[nn.Parameter]:
        return [value for name, value in model.named_parameters() if name in self.start]


class AdaBN(Strategy):
    """Batch-norm statistics of the cohort to adapt to, without training (Li et al., 2017)."""

    learns = False

    def settle(self, model: ClipClassifier, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
            norm.train()
        with torch.no_grad():
            for frames, valid in batches:
                model.encode(frames, valid)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.eval()


class CORAL(Strategy):
    """Full training with an alignment of the covariances of source and cohort features."""

    def penalty(self, model: ClipClassifier, pooled: Tensor, domain: Tensor | None) -> Tensor | None:
        if domain is None or torch.bincount(domain, minlength=2).min() < 2:  # a covariance needs two clips
            return None
        return self.config.alignment * coral(pooled[domain == SOURCE].float(), pooled[domain == COHORT].float())


class DANN(Strategy):
    """Full training against a critic that distinguishes source from cohort features."""

    _share = 0.0
    _critic: Critic | None = None

    def critic(self, dim: int) -> Critic:
        self._critic = Critic(dim)
        return self._critic

    def begin_epoch(self, model: ClipClassifier, share: float) -> None:
        self._share = share

    def penalty(self, model: ClipClassifier, pooled: Tensor, domain: Tensor | None) -> Tensor | None:
        if domain is None or self._critic is None or not len(domain):
            return None
        rising = 2 / (1 + math.exp(-10 * self._share)) - 1  # Ganin et al.: the critic has to learn first
        loss: Tensor = self._critic(pooled.float(), domain, self.config.alignment * rising)
        return loss


STRATEGIES: dict[str, Callable[[AdaptationConfig, Mapping[str, Tensor]], Strategy]] = {
    "source_only": SourceOnly,
    "linear_probe": LinearProbe,
    "head": Head,
    "full": Strategy,
    "gradual": Gradual,
    "l2sp": L2SP,
    "adabn": AdaBN,
    "coral": CORAL,
    "dann": DANN,
}
"""Strategies by the names of ``adapt.strategy``."""


def stages(model: ClipClassifier) -> list[nn.Module]:
    """Return the parts of a model from the pixels to the classes, without parts that have no weights."""
    streams = [] if model.landmarks is None else [model.landmarks]
    parts = [*model.encoder.stages(), *streams, model.head, *reversed(model.outputs)]
    return [part for part in parts if any(True for _ in part.parameters())]


def learn_only(model: ClipClassifier, parts: Iterable[nn.Module]) -> None:
    """Let only these parts learn; the batch norms of the others keep their statistics."""
    model.requires_grad_(False).eval()
    for part in parts:
        part.requires_grad_(True).train()
