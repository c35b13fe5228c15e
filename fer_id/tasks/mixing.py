"""Mixup: clips and their targets blended in pairs (Zhang et al., 2018), against learning single faces by heart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fer_id.types import ClipBatch


def mixup(batch: ClipBatch, alpha: float, classes: int) -> ClipBatch:
    """Each clip blended with another of the batch, with one weight for all, drawn from Beta(alpha, alpha).

    The weight is the heavier clip's, so ``label`` and ``landmarks`` stay those of the clip one mostly sees. A frame is
    valid where both have a face. A clip stays as it is where its partner has no label or no face in the same frame.

    Args:
        batch: T frames each; labels of -1 are unlabelled.
        alpha: above 0; small values blend little.
        classes: K, for clips without soft labels: one-hot.

    Returns:
        a new batch with ``soft_label`` (B, K).
    """
    frames, valid = batch["frames"], batch["valid"]
    # From the state of torch, which is seeded every epoch: a resumed run blends as an uninterrupted one.
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    share = max(share, 1 - share)
    own = torch.arange(len(valid), device=valid.device)
    partner = torch.randperm(len(valid)).to(valid.device)
    both = valid & valid[partner]
    partner = torch.where(both.any(dim=1) & (batch["label"] >= 0) & (batch["label"][partner] >= 0), partner, own)
    target = _targets(batch, classes)
    return {
        **batch,
        "frames": torch.lerp(frames[partner], frames, share),
        "valid": valid & valid[partner],
        "soft_label": torch.lerp(target[partner], target, share),
    }


def _targets(batch: ClipBatch, classes: int) -> Tensor:
    if "soft_label" in batch:
        return batch["soft_label"]
    return F.one_hot(batch["label"].clamp(min=0), classes).float()
