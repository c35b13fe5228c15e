"""Cached features of clips: of frames for probes and controls, and pooled ones for folds with a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from fer_id.models.network import ClipClassifier
from fer_id.types import ClipBatch


@dataclass(frozen=True)
class Features:
    """Frame features of N labelled clips of T frames."""

    values: Tensor  # (N, T, D) float, the output of ``encode``; zero for a frame without a face
    valid: Tensor  # (N, T) bool, whether the frame shows a face
    label: Tensor  # (N,) int64
    clip_ids: list[str]

    @classmethod
    def of(cls, model: ClipClassifier, batches: Iterable[ClipBatch]) -> Self:
        """Encode the labelled clips, all of one length, as at test time; the model is in evaluation mode."""
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        names: list[str] = []
        device = next(model.parameters()).device
        with torch.inference_mode():
            for batch in batches:
                known = batch["label"] >= 0
                frames, valid, points = (batch[key][known].to(device) for key in ("frames", "valid", "landmarks"))
                features = model.encode(frames, valid, points).float().cpu()
                parts.append((features, batch["valid"][known], batch["label"][known]))
                names += [name for name, keep in zip(batch["clip_id"], known.tolist(), strict=True) if keep]
        values, valid, label = (torch.cat(column) for column in zip(*parts, strict=True))
        return cls(values, valid, label, names)

    @property
    def covered(self) -> Tensor:
        """True for each clip with a valid frame, (N,)."""
        return self.valid.any(dim=1)

    def rows(self, of: Tensor) -> Features:
        """Return the clips of a mask (N,)."""
        names = [name for name, chosen in zip(self.clip_ids, of.tolist(), strict=True) if chosen]
        return Features(self.values[of], self.valid[of], self.label[of], names)

    @property
    def filled(self) -> Features:
        """The clips with every frame without a face replaced by the nearest frame with one, the earlier of two."""
        steps = torch.arange(self.valid.shape[1])
        apart = 2 * (steps.unsqueeze(1) - steps).abs() + (steps > steps.unsqueeze(1))  # (T, T), no two alike in a row
        unseen = (~self.valid).unsqueeze(1) * (2 * len(steps) + 2)
        nearest = (apart + unseen).argmin(dim=2, keepdim=True)
        values = self.values.gather(1, nearest.expand_as(self.values))
        return replace(self, values=values, valid=self.covered.unsqueeze(1).expand_as(self.valid))

    @property
    def frames(self) -> Features:
        """Every frame as a clip of its own, (N * T, 1, D)."""
        names = [f"{name}:{t}" for name in self.clip_ids for t in range(self.valid.shape[1])]
        label = self.label.repeat_interleave(self.valid.shape[1])
        return Features(self.values.flatten(0, 1).unsqueeze(1), self.valid.flatten().unsqueeze(1), label, names)

    @property
    def mean(self) -> Tensor:
        """Mean over the valid frames, (N, D); zero without a valid frame."""
        total = self.values.masked_fill(~self.valid.unsqueeze(-1), 0.0).sum(dim=1)
        return total / self.valid.sum(dim=1, keepdim=True).clamp(min=1)

    def reversed(self) -> Features:
        """Return the clips with their frames in reverse order."""
        return replace(self, values=self.values.flip(1), valid=self.valid.flip(1))

    def shuffled(self, seed: int) -> Features:
        """Return the clips with their frames in random order, by ``seed`` and the clip's index alone."""
        noise = torch.from_numpy(np.random.default_rng(seed).random(self.valid.shape))
        order = noise.argsort(dim=1)
        values = self.values.gather(1, order.unsqueeze(-1).expand_as(self.values))
        return replace(self, values=values, valid=self.valid.gather(1, order))

    def judged(self, model: ClipClassifier) -> Tensor:
        """Return the logits (N, K) of the model's own head and classifier."""
        with torch.inference_mode():
            return model.classify(self.pooled(model).to(next(model.parameters()).device)).float().cpu()

    def pooled(self, model: ClipClassifier, batch: int = 1024) -> Tensor:
        """Return the clip vectors (N, H) of the model's own head."""
        device = next(model.parameters()).device
        with torch.inference_mode():
            parts = [
                model.pool(values.to(device), valid.to(device)).float().cpu()
                for values, valid in zip(torch.split(self.values, batch), torch.split(self.valid, batch), strict=True)
            ]
        return torch.cat(parts)


class FeatureBank:
    """Pooled features of each clip in each epoch, in memory only.

    Augmentation is a function of seed, epoch and clip, so under a frozen encoder and head every fold sees the same
    features. Clips are encoded one by one, so that a feature depends neither on the fold that computes it first nor on
    the batch. Features beyond ``limit`` bytes are computed at every call.
    """

    def __init__(self, limit: int = 2**30) -> None:
        self.limit, self._held = limit, 0
        self._known: dict[tuple[str, int | None], Tensor] = {}

    def pooled(self, model: ClipClassifier, batch: ClipBatch, epoch: int | None) -> Tensor:
        """Return pooled features (B, H), without gradient, of clips in an epoch of augmentation, or None without it.

        Encoder and head of the model are frozen, and the same at every call.
        """
        return torch.cat([self._pooled_clip(model, batch, row, epoch) for row in range(len(batch["clip_id"]))])

    def _pooled_clip(self, model: ClipClassifier, batch: ClipBatch, row: int, epoch: int | None) -> Tensor:
        key, clip = (batch["clip_id"][row], epoch), slice(row, row + 1)
        if (known := self._known.get(key)) is not None:
            return known.to(batch["frames"].device)
        with torch.no_grad():
            valid = batch["valid"][clip]
            pooled = model.pool(model.encode(batch["frames"][clip], valid, batch["landmarks"][clip]), valid)
        size = pooled.numel() * pooled.element_size()
        if self._held + size <= self.limit:
            self._known[key] = pooled.cpu()
            self._held += size
        return pooled


Reader = Callable[[Tensor], Tensor]
"""Features (N, D) -> logits (N, K)."""


def linear_reader(features: Tensor, label: Tensor, classes: int, penalty: float, *, balanced: bool = False) -> Reader:
    """Fit a linear classifier on fixed features: multinomial logistic regression, by L-BFGS.

    ``mean cross-entropy + penalty / 2 * |W|^2`` of the standardised features (N, D), no penalty on the bias; the
    penalty is above 0. Convex, so the result depends on no seed. ``balanced``: the mean over the classes that occur,
    each of them a mean over its samples.
    """
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    x = ((features - mean) / scale).double()
    counts = torch.bincount(label, minlength=classes).double() if balanced else torch.ones(classes, dtype=torch.double)
    share = 1 / counts.clamp(min=1)  # cross_entropy divides by the sum of its weights
    weight = torch.zeros(classes, x.shape[1], dtype=torch.double, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def loss() -> Any:
        optimiser.zero_grad()
        entropy = torch.nn.functional.cross_entropy(x @ weight.T + bias, label, weight=share)
        fit = entropy + penalty / 2 * weight.square().sum()
        fit.backward()  # type: ignore[no-untyped-call]
        return fit

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    weight, bias = weight.detach(), bias.detach()
    return lambda values: ((values - mean) / scale).double() @ weight.T + bias
