"""Landmark stream of a fused model: features of facial landmarks, independent of head position, size and tilt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_id.types import LANDMARKS

_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)


class LandmarkStream(nn.Module):
    """Landmarks (B, T, 68, 2) in crop pixels -> features (B, T, L); zero where a frame has no landmarks.

    Args:
        dim: L.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.net = nn.Sequential(nn.Linear(2 * LANDMARKS, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim), nn.ReLU())

    def forward(self, landmarks: Tensor) -> Tensor:
        points = normalised(landmarks.float())
        known = points.isfinite().all(dim=-1, keepdim=True).all(dim=-2)
        features: Tensor = self.net(points.nan_to_num(0.0, 0.0, 0.0).flatten(-2))
        return features * known


def normalised(landmarks: Tensor) -> Tensor:
    """Return landmarks (..., 68, 2) centred between the eyes, turned level, in units of the distance between the eyes.

    Position, size and tilt of the head are removed; movements of an expression remain. NaN where a point is missing or
    the eyes coincide.
    """
    left, right = landmarks[..., _LEFT_EYE, :].mean(-2), landmarks[..., _RIGHT_EYE, :].mean(-2)
    x, y = (right - left).unbind(-1)
    level = torch.stack(
        [torch.stack([x, y], -1), torch.stack([-y, x], -1)], -2
    )  # rows: axis through the eyes, and downwards
    about = landmarks - ((left + right) / 2).unsqueeze(-2)
    return about @ level.transpose(-1, -2) / (x**2 + y**2)[..., None, None]
