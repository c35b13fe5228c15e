"""How far apart the features of two domains are, as losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WIDTH = 64


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the covariances of features (N, d) and (M, d), over ``4 d^2`` (Sun & Saenko, 2016).

    At least two rows each. Computed in the precision they come in, as a covariance loses too much in bf16.
    """
    with torch.autocast(source.device.type, enabled=False):
        apart = torch.cov(source.T) - torch.cov(target.T)
        return apart.square().sum() / (4 * source.shape[1] ** 2)


class Critic(nn.Module):
    """Tells the domain of features (B, d) and turns its gradient round, so that they learn to hide it.

    The domain-adversarial loss of Ganin et al. (2016).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 2))

    def forward(self, features: Tensor, domain: Tensor, strength: float) -> Tensor:
        """Cross-entropy of the domain, int64 (B,), both weighing alike; ``strength`` is of the turned gradient."""
        logits = self.net(_Turned.apply(features, strength))
        weight = 1 / torch.bincount(domain, minlength=2).clamp(min=1).float()
        return F.cross_entropy(logits, domain, weight=weight)


class _Turned(torch.autograd.Function):
    """The identity, whose gradient is turned round and scaled."""

    @staticmethod
    def forward(context: Any, features: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -context.strength * gradient, None
