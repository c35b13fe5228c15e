"""Frame encoders: face crop in [0, 1] -> feature vector. Each encoder normalises its input in its own buffers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_unshuffle

HALVES = (0.5, 0.5, 0.5)
"""Mean and standard deviation that map [0, 1] to [-1, 1]: the normalisation of a randomly initialised network."""


class Encoder(nn.Module):
    """Base class of encoders: frames (N, 3, 64, 64) in [0, 1] -> features (N, D). ``mean`` and ``std`` are buffers (1,
    3, 1, 1), saved with the weights."""

    any_size = True  # images of another size than 64x64 are accepted too
    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, mean: Sequence[float] = HALVES, std: Sequence[float] = HALVES) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Normalise in the memory format of the weights (the frames' own would override it), then encode."""
        weight = next((p for p in self.parameters() if p.ndim == 4 and p.shape[-1] > 1), None)  # 1x1 fits both formats
        is_last = weight is not None and weight.is_contiguous(memory_format=torch.channels_last)
        frames = frames.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)
        return self.features((frames - self.mean) / self.std)

    def features(self, images: Tensor) -> Tensor:
        """Encode normalised images (N, 3, 64, 64) -> (N, D)."""
        raise NotImplementedError

    def stages(self) -> list[nn.Module]:
        """Return the parts from the pixels to the feature, to treat early and late parts differently."""
        return list(self.children())

    def map_names(self) -> list[str]:
        """Return the names of the modules whose outputs are maps of the face, (N, C, h, w) or tokens, in order:
        Grad-CAM chooses its layer among them; with an empty list it tries the encoder's modules."""
        return []


class ConvBlock(nn.Module):
    """``convs`` times (3x3 convolution, batch norm, ReLU), then a 2x2 max pool that halves the map."""

    def __init__(self, inputs: int, outputs: int, convs: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.entry = _conv_norm(inputs, outputs)
        self.rest = nn.ModuleList(_conv_norm(outputs, outputs) for _ in range(convs - 1))
        self.map = nn.Identity()  # gives hooks access to the map before pooling
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x).relu()
        for layer in self.rest:
            x = (x + layer(x)).relu() if self.residual else layer(x).relu()
        return self.pool(self.map(x))  # type: ignore[no-any-return]


class ConvEncoder(Encoder):
    """Conv blocks and a global average pool: ``conv4`` (the paper's four blocks) and ``shallow``.

    ``widths`` are the channels of each block (the last is D), ``convs`` its convolutions; ``residual`` adds each later
    convolution of a block to its input; ``space_to_depth`` makes 12 channels of each 2x2 pixels first (an odd side is
    padded by a pixel of zero).
    """

    def __init__(
        self, widths: Sequence[int], convs: Sequence[int], *, residual: bool = False, space_to_depth: bool = False
    ) -> None:
        super().__init__(dim=widths[-1])
        self.space_to_depth = space_to_depth
        inputs = (12 if space_to_depth else 3, *widths[:-1])
        self.blocks = nn.Sequential(
            *(ConvBlock(i, o, n, residual) for i, o, n in zip(inputs, widths, convs, strict=True))
        )

    def features(self, images: Tensor) -> Tensor:
        if self.space_to_depth:
            images = pixel_unshuffle(pad(images, (0, images.shape[-1] % 2, 0, images.shape[-2] % 2)), 2)
        return self.blocks(images).mean(dim=(2, 3))  # type: ignore[no-any-return]

    def stages(self) -> list[nn.Module]:
        return list(self.blocks)

    def map_names(self) -> list[str]:
        return [f"blocks.{number}.map" for number in range(len(self.blocks))]


def _conv_norm(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
