"""ClipClassifier: frames -> features -> clip vector -> logits, in three steps that can also be called separately."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_id.models.config import ModelConfig
from fer_id.models.encoders import Encoder
from fer_id.models.heads import Head
from fer_id.types import AFFECT, LANDMARKS


class LandmarkStream(nn.Module):
    """Landmarks (B, T, 68, 2) in crop pixels -> features (B, T, ``dim``); zero where a frame has no landmarks."""

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
    left, right = (landmarks[..., eye, :].mean(-2) for eye in (slice(36, 42), slice(42, 48)))
    x, y = (right - left).unbind(-1)
    level = torch.stack([x, y, -y, x], -1).reshape(*x.shape, 2, 2)  # rows: axis through the eyes, and downwards
    about = landmarks - ((left + right) / 2).unsqueeze(-2)
    return about @ level.transpose(-1, -2) / (x**2 + y**2)[..., None, None]


class ClipClassifier(nn.Module):
    """Encoder (frame -> feature), temporal head (features of a clip -> one vector) and linear classifier of K
    ``classes``.

    ``dropout`` is the probability of dropping a pooled feature before the classifier. ``landmarks`` is a second stream,
    whose features are appended to the encoder's; None: frames alone. With ``affect`` a second head gives valence and
    arousal.
    """

    config: ModelConfig | None = None  # what it was built from; None where its parts were put together by hand

    def __init__(
        self,
        encoder: Encoder,
        head: Head,
        classes: int,
        dropout: float = 0.0,
        landmarks: LandmarkStream | None = None,
        *,
        affect: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.landmarks = landmarks
        self.head = head
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(head.dim, classes))
        self.affect: nn.Sequential | None = None
        if affect:
            self.affect = nn.Sequential(nn.Dropout(dropout), nn.Linear(head.dim, len(AFFECT)), nn.Tanh())

    def encode(self, frames: Tensor, valid: Tensor | None = None, landmarks: Tensor | None = None) -> Tensor:
        """Encode frames (B, T, 3, 64, 64) in [0, 1] -> features (B, T, D), with a landmark stream (B, T, D + L).

        With ``valid`` (B, T) only the valid frames are encoded and the others' features are zero: a frame without a
        face then costs nothing and does not enter the batch norm's statistics. Without it every frame is encoded.
        Without ``landmarks`` (B, T, 68, 2) the features of the landmark stream are zero.
        """
        seen = self._encode_frames(frames, valid)
        if self.landmarks is None:
            return seen
        if landmarks is None:
            points = seen.new_zeros(*seen.shape[:2], self.landmarks.dim)
        else:
            points = self.landmarks(landmarks).to(seen.dtype)
        return torch.cat([seen, points], dim=-1)

    def _encode_frames(self, frames: Tensor, valid: Tensor | None) -> Tensor:
        flat = frames.flatten(0, 1)
        keep = None if valid is None else valid.flatten()
        if keep is None or bool(keep.all()):
            features: Tensor = self.encoder(flat)
        elif not bool(keep.any()):
            features = frames.new_zeros(len(flat), self.encoder.dim)  # batch norm cannot train on an empty batch
        else:
            seen = self.encoder(flat[keep])
            features = seen.new_zeros(len(flat), self.encoder.dim).masked_scatter(keep.unsqueeze(1), seen)
        return features.view(*frames.shape[:2], -1)

    def pool(self, features: Tensor, valid: Tensor) -> Tensor:
        """Pool features (B, T, D) with valid bool (B, T) -> one vector per clip (B, H); invalid frames are ignored."""
        return self.head(features, valid)  # type: ignore[no-any-return]

    def classify(self, pooled: Tensor) -> Tensor:
        """Classify clip vectors (B, H) -> logits (B, K)."""
        return self.classifier(pooled)  # type: ignore[no-any-return]

    def rate(self, pooled: Tensor) -> Tensor | None:
        """Return valence and arousal (B, 2) of clip vectors (B, H), each in [-1, 1]; None without the second head."""
        return None if self.affect is None else self.affect(pooled)

    @property
    def outputs(self) -> list[nn.Module]:
        """The modules that read the clip's vector: the classifier, and the head of valence and arousal if any."""
        return [self.classifier, *([] if self.affect is None else [self.affect])]

    def answer(self, frames: Tensor, valid: Tensor, landmarks: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Compute logits (B, K), and valence and arousal (B, 2) or None; inputs as of :meth:`forward`."""
        pooled = self.pool(self.encode(frames, valid, landmarks), valid)
        return self.classify(pooled), self.rate(pooled)

    def forward(self, frames: Tensor, valid: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Compute logits (B, K) from frames (B, T, 3, 64, 64) and valid bool (B, T).

        ``landmarks`` (B, T, 68, 2) are part of every batch; a model without a landmark stream ignores them. The logits
        of a clip without a valid frame (``~valid.any(1)``) are finite but meaningless.
        """
        return self.classify(self.pool(self.encode(frames, valid, landmarks), valid))
