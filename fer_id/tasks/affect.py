"""Loss and running score of valence and arousal: the concordance correlation coefficient (CCC) of Lin (1989)."""

from __future__ import annotations

from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from fer_id.evaluation.affect import MOMENTS, SCORES, concordance, with_mean
from fer_id.types import AFFECT

_LEAST = 1e-8
"""Added to the denominator of the loss: values that are all equal on both sides give it no gradient, not NaN."""


def concordance_loss(predicted: Tensor, truth: Tensor) -> Tensor | None:
    """Return ``1 - CCC``, the mean over valence and arousal, of predictions and truth (B, 2).

    NaN in ``truth`` marks a missing value. A dimension with fewer than two values is left out; None where both are. In
    [0, 2]. Computed in float32, since variances lose too much precision in bf16.
    """
    losses = []
    with torch.autocast(predicted.device.type, enabled=False):
        for x, y in zip(predicted.float().unbind(1), truth.float().unbind(1), strict=True):
            known = ~y.isnan()
            if int(known.sum()) < 2:
                continue
            x, y = x[known], y[known]
            dx, dy = x - x.mean(), y - y.mean()
            apart = dx.square().mean() + dy.square().mean() + (x.mean() - y.mean()).square()
            losses.append(1 - 2 * (dx * dy).mean() / (apart + _LEAST))
    return torch.stack(losses).mean() if losses else None


class Concordance(Metric):
    """CCC of valence, of arousal, and their mean, over all batches of an epoch and all processes.

    ``compute`` returns the defined ones by name: ``valence_ccc``, ``arousal_ccc``, ``ccc``.
    """

    higher_is_better = True
    full_state_update = False
    moments: Tensor

    def __init__(self) -> None:
        super().__init__()
        none = torch.zeros(len(AFFECT), MOMENTS, dtype=torch.float64)
        self.add_state("moments", none, dist_reduce_fx="sum")

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Add a batch: predictions and truth (B, 2), NaN where missing."""
        x, y = predicted.detach().double(), truth.double()
        known = ~y.isnan()
        x, y = x.where(known, 0.0), y.where(known, 0.0)
        self.moments += torch.stack([known.double(), x, y, x * x, y * y, x * y], dim=-1).sum(dim=0)

    def compute(self) -> dict[str, Any]:
        """Return the scores that are defined."""
        values = with_mean(concordance(self.moments.cpu().numpy()))
        return {name: float(value) for name, value in zip(SCORES, values, strict=True) if isfinite(value)}
