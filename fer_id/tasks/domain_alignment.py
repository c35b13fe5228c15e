"""Domain-alignment losses: CORAL and domain-adversarial training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WIDTH = 64


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
        self.net = nn.Sequential(nn.Linear(dim, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 2))

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
