"""How a pretrained model is fitted to a new cohort: what of it learns, how fast, and what holds it back.

A model has *stages*, in the order in which a face passes through them: the blocks of the encoder, the temporal head,
the classifier. A strategy decides about stages; the loss, the data and the loop are those of any training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from fer_id.models.network import ClipClassifier
from fer_id.tasks.config import AdaptationConfig
from fer_id.tasks.domain_alignment import Critic, coral
from fer_id.types import COHORT, SOURCE


class Strategy:
    """Full fine-tuning: everything learns at one rate. The base of the others.

    Args:
        config: its numbers.
        start: the transferred weights by name, as the adaptation begins; empty for a model that starts from nothing.

    Attributes:
        learns: whether there is a training at all.
        classifier_only: whether nothing else learns, so that features can be kept.
    """

    learns = True
    classifier_only = False

    def __init__(self, config: AdaptationConfig, start: Mapping[str, Tensor]) -> None:
        self.config, self.start = config, dict(start)

    def begin_epoch(self, model: ClipClassifier, share: float) -> None:
        """Called before each epoch.

        Args:
            model: what learns.
            share: of the training that is over, in [0, 1).
        """

    def rates(self, model: ClipClassifier) -> list[tuple[nn.Module, float]]:
        """Each part that will ever learn, with the factor on its learning rate."""
        return [(model, 1.0)]

    def critic(self, dim: int) -> Critic | None:
        """A network that learns beside the model, on its pooled features (B, dim)."""
        return None

    def penalty(self, model: ClipClassifier, pooled: Tensor, domain: Tensor | None) -> Tensor | None:
        """What is added to the loss of a batch.

        Args:
            model: what learns.
            pooled: one vector per clip that shows a face (B, H).
            domain: int64 (B,), ``SOURCE`` or ``COHORT``; None where only the cohort is there.
        """
        return None

    def held(self, model: ClipClassifier) -> list[nn.Parameter]:
        """What the penalty holds back already, so that weight decay must not pull it elsewhere."""
        return []

    def settle(self, model: ClipClassifier, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Where nothing learns: what is done with the training clips instead, frames (B, T, ...) and valid (B, T)."""


class SourceOnly(Strategy):
    """The source model as it is: what adaptation has to beat."""

    learns = False


class LinearProbe(Strategy):
    """The classifier alone learns, on features that stay as they are."""

    classifier_only = True

    def begin_epoch(self, model: ClipClassifier, share: float) -> None:
        learn_only(model, [model.classifier])

    def rates(self, model: ClipClassifier) -> list[tuple[nn.Module, float]]:
        return [(model.classifier, 1.0)]


class Head(Strategy):
    """The temporal head and the classifier learn, on frame features that stay as they are: a third of the arithmetic
    of a whole training, as nothing is propagated back through the encoder."""

    def begin_epoch(self, model: ClipClassifier, share: float) -> None:
        learn_only(model, [model.head, model.classifier])

    def rates(self, model: ClipClassifier) -> list[tuple[nn.Module, float]]:
        return [(model.head, 1.0), (model.classifier, 1.0)]


class Gradual(Strategy):
    """Stages begin to learn one after another, the last first, the earlier ones more slowly (Howard & Ruder, 2018)."""

    def begin_epoch(self, model: ClipClassifier, share: float) -> None:
        parts = stages(model)
        awake = 1 + int(share / self.config.unfreeze_until * len(parts))
        learn_only(model, parts[-min(awake, len(parts)) :])

    def rates(self, model: ClipClassifier) -> list[tuple[nn.Module, float]]:
        parts = stages(model)
        return [(part, self.config.lr_decay ** (len(parts) - 1 - depth)) for depth, part in enumerate(parts)]


class L2SP(Strategy):
    """Weights are pulled to where they started instead of to zero (Li et al., 2018).

    ``strength / 2`` times the squared distance of the transferred weights from their start; what is new is left to the
    optimiser's own weight decay.
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
    """Nothing learns; the batch norms take their statistics from the children to adapt to (Li et al., 2017)."""

    learns = False

    def settle(self, model: ClipClassifier, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        kept = [norm.momentum for norm in norms]
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
            norm.train()
        with torch.no_grad():
            for frames, valid in batches:
                model.encode(frames, valid)
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
        model.eval()


class CORAL(Strategy):
    """Everything learns, and the covariances of the source's and the cohort's features are brought together."""

    def penalty(self, model: ClipClassifier, pooled: Tensor, domain: Tensor | None) -> Tensor | None:
        if domain is None or torch.bincount(domain, minlength=2).min() < 2:  # a covariance needs two clips
            return None
        return self.config.alignment * coral(pooled[domain == SOURCE].float(), pooled[domain == COHORT].float())


class DANN(Strategy):
    """Everything learns, and a critic that tells source from cohort is left nothing to tell by."""

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
        found: Tensor = self._critic(pooled.float(), domain, self.config.alignment * rising)
        return found


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
"""By name; what ``adapt.strategy`` may say."""


def stages(model: ClipClassifier) -> list[nn.Module]:
    """The parts of a model from the pixels to the classes, those without weights left out."""
    streams = [] if model.landmarks is None else [model.landmarks]
    parts = [*model.encoder.stages(), *streams, model.head, model.classifier]
    return [part for part in parts if any(True for _ in part.parameters())]


def learn_only(model: ClipClassifier, parts: Iterable[nn.Module]) -> None:
    """Lets those parts learn and no other; the batch norms of the others keep their statistics."""
    model.requires_grad_(False).eval()
    for part in parts:
        part.requires_grad_(True).train()
