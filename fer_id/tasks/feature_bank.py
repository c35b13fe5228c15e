"""Features that the folds of a cross-validation share, where nothing that makes them learns."""

from __future__ import annotations

import torch
from torch import Tensor

from fer_id.models.network import ClipClassifier
from fer_id.types import ClipBatch


class FeatureBank:
    """Remembers the pooled features of each clip as it looks in each epoch; in memory only, gone with the process.

    Augmentation is a function of seed, epoch and clip, so under a frozen encoder and head every fold sees the same
    features. Clips are encoded one by one: what is found does not depend on which fold asked first, or with which
    others in a batch.

    Args:
        limit: bytes that are kept at most; what comes later is computed whenever it is asked for.
    """

    def __init__(self, limit: int = 2**30) -> None:
        self.limit, self._held = limit, 0
        self._known: dict[tuple[str, int | None], Tensor] = {}

    def pooled(self, model: ClipClassifier, batch: ClipBatch, epoch: int | None) -> Tensor:
        """Pooled features (B, H), without gradient.

        Args:
            model: whose encoder and head are frozen, and the same at every call.
            batch: B clips.
            epoch: whose augmentation the clips bear; None: none.
        """
        return torch.cat([self._one(model, batch, row, epoch) for row in range(len(batch["clip_id"]))])

    def _one(self, model: ClipClassifier, batch: ClipBatch, row: int, epoch: int | None) -> Tensor:
        key, one = (batch["clip_id"][row], epoch), slice(row, row + 1)
        if (known := self._known.get(key)) is not None:
            return known.to(batch["frames"].device)
        with torch.no_grad():
            valid = batch["valid"][one]
            pooled = model.pool(model.encode(batch["frames"][one], valid, batch["landmarks"][one]), valid)
        size = pooled.numel() * pooled.element_size()
        if self._held + size <= self.limit:
            self._known[key] = pooled.cpu()
            self._held += size
        return pooled
