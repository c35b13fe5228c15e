"""CCT, the compact convolutional transformer (Hassani et al., 2021, arXiv:2104.05704), of timm's blocks.

A transformer that trains from scratch on small data: convolutions instead of patches make the tokens, so that
neighbouring pixels share weights from the start, and a learned weighted mean of all tokens (sequence pooling) replaces
the class token. Here CCT-6/3x3: three 3x3 convolutions, each followed by a max pool, make 8x8 tokens of a 64x64 crop;
six pre-norm blocks of width 256 with four heads and an MLP of twice the width; stochastic depth up to 0.1 and learned
positions as published. Its dropout of attention weights is left out: stochastic depth regularises the blocks.
"""

from __future__ import annotations

import torch
from timm.layers.attention import Attention
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import Block, init_weights_vit_timm
from torch import Tensor, nn

from fer_id.models.encoders import Encoder
from fer_id.types import CROP

STEM = (64, 64)  # channels of the first convolutions; the last one has the width
WIDTH, HEADS, BLOCKS, MLP_RATIO = 256, 4, 6, 2.0
STOCHASTIC_DEPTH = 0.1  # of the last block, rising linearly from 0 at the first
CELLS = CROP >> (len(STEM) + 1)  # tokens a side of a whole crop


class Tokenizer(nn.Module):
    """Images (N, 3, H, W) -> tokens (N, H/8 * W/8, D) with their positions, row by row."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *STEM), (*STEM, WIDTH), strict=True):
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight)
            layers += [conv, nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers)
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, CELLS**2, WIDTH), std=0.2))

    def forward(self, images: Tensor) -> Tensor:
        cells = self.layers(images)
        positions, size = self.positions, list(cells.shape[2:])
        if size != [CELLS, CELLS]:  # a smaller crop of progressive resizing
            positions = resample_abs_pos_embed(positions, size, num_prefix_tokens=0)
        return cells.flatten(2).transpose(1, 2) + positions  # type: ignore[no-any-return]


class SequencePool(nn.Module):
    """Tokens (N, L, D) -> their mean (N, D), weighted by a softmax of a linear score of each."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(WIDTH, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        weights = self.score(tokens).softmax(dim=1)
        return (weights.transpose(1, 2) @ tokens).squeeze(1)  # type: ignore[no-any-return]


class CompactTransformer(Encoder):
    """CCT-6/3x3, see the module: 64 tokens of a crop, D = 256."""

    def __init__(self) -> None:
        super().__init__(dim=WIDTH)
        self.tokenizer = Tokenizer()
        rates = [STOCHASTIC_DEPTH * number / (BLOCKS - 1) for number in range(BLOCKS)]
        self.blocks = nn.Sequential(*(Block(WIDTH, HEADS, MLP_RATIO, qkv_bias=True, drop_path=rate) for rate in rates))
        self.norm = nn.LayerNorm(WIDTH)
        self.pool = SequencePool()
        for part in (*self.blocks.modules(), self.pool.score):
            if isinstance(part, nn.Linear):
                init_weights_vit_timm(part)
            elif isinstance(part, Attention):
                # the backward pass of torch's fused attention is slow for 64 tokens on a CPU; Final is for TorchScript
                part.fused_attn = False  # type: ignore[misc]

    def features(self, images: Tensor) -> Tensor:
        return self.pool(self.norm(self.blocks(self.tokenizer(images))))  # type: ignore[no-any-return]

    def stages(self) -> list[nn.Module]:
        return [self.tokenizer, *self.blocks, self.norm, self.pool]

    def map_names(self) -> list[str]:
        """Return the tokens before each block, and those that are pooled: all have gradients, without a class token."""
        return [*(f"blocks.{number}.norm1" for number in range(BLOCKS)), "norm"]
