"""Small models and batches of clips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fer_id.models.build import ModelConfig, build_model
from fer_id.models.encoders import Encoder
from fer_id.models.network import ClipClassifier
from fer_id.types import ClipBatch


def small(head: str = "lstm", seed: int = 0, landmarks: int = 0, classes: int = 5) -> ClipClassifier:
    """Return a network of four blocks, whose last map, ``blocks.3.map``, has 8x8 cells."""
    torch.manual_seed(seed)
    config = ModelConfig(head=head, widths=[4, 4, 8, 8], convs=[1, 1, 1, 1], hidden=8, landmarks=landmarks)
    return build_model(config, classes).eval()


def batch_of(
    names: Sequence[str], frames: Tensor, valid: Tensor, landmarks: Tensor | None = None, subjects: Sequence[str] = ()
) -> ClipBatch:
    """Return a batch; by default landmarks are unknown, and every clip is of a subject of its own."""
    return {
        "frames": frames,
        "valid": valid,
        "landmarks": torch.full((*valid.shape, 68, 2), torch.nan) if landmarks is None else landmarks,
        "label": torch.zeros(len(names), dtype=torch.int64),
        "clip_id": list(names),
        "subject_id": list(subjects or names),
    }


class Weighed(Encoder):
    """A weighted sum of all pixels: linear, without any map."""

    def __init__(self) -> None:
        super().__init__(dim=2)
        self.weights = nn.Linear(3 * 64 * 64, 2)

    def features(self, images: Tensor) -> Tensor:
        return self.weights(images.flatten(1))


class ChannelsLast(Encoder):
    """Patches whose channels come last, (N, h, w, C), as in Swin; the activation may overwrite them."""

    def __init__(self, side: int = 8, *, inplace: bool = False) -> None:
        super().__init__(dim=6)
        self.patches = nn.Conv2d(3, 6, 64 // side, stride=64 // side)
        self.norm = nn.LayerNorm(6)
        self.relu = nn.ReLU(inplace=inplace)

    def features(self, images: Tensor) -> Tensor:
        return self.relu(self.norm(self.patches(images).permute(0, 2, 3, 1))).mean(dim=(1, 2))

    def map_names(self) -> list[str]:
        return ["norm"]
