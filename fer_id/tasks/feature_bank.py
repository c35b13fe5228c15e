"""Cache of pooled features for the folds of a cross-validation with frozen encoder and head."""

from __future__ import annotations

import torch
from torch import Tensor

from fer_id.models.network import ClipClassifier
from fer_id.types import ClipBatch


class FeatureBank:
    """Pooled features of each clip in each epoch, in memory only.

    Augmentation is a function of seed, epoch and clip, so under a frozen encoder and head every fold sees the same
    features. Clips are encoded one by one, so that a feature depends neither on the fold that computes it first nor on
    the batch.

    Args:
        limit: maximum number of bytes; features beyond it are computed at every call.
    """

    def __init__(self, limit: int = 2**30) -> None:
        self.limit, self._held = limit, 0
        self._known: dict[tuple[str, int | None], Tensor] = {}

    def pooled(self, model: ClipClassifier, batch: ClipBatch, epoch: int | None) -> Tensor:
        """Return pooled features (B, H), without gradient.

        Args:
            model: a model with frozen encoder and head, the same at every call.
            batch: B clips.
            epoch: epoch of the clips' augmentation; None: no augmentation.
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
