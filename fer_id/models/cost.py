"""Cost of a model in parameters and multiply-adds, counted on torch's meta device without computing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fer_id.models.build import ModelConfig, build_model
from fer_id.types import CROP, LANDMARKS


@dataclass(frozen=True)
class ModelCost:
    """Cost of a model.

    Attributes:
        name, encoder, head: names from the config.
        parameters: number of trainable parameters, classifier included.
        frame: multiply-adds of encoding one 64x64 frame.
        clip: multiply-adds of one clip, head and classifier included.
    """

    name: str
    encoder: str
    head: str
    parameters: int
    frame: int
    clip: int


def model_cost(config: ModelConfig, classes: int = 5, frames: int = 10) -> ModelCost:
    """Return the cost of a model for clips of ``frames`` frames.

    Multiply-adds are those of convolutions and matrix products: half the operations of ``torch.utils.flop_counter``.
    Biases, norms, activations and pooling are left out, as is usual.

    Raises:
        ConfigError: the config is invalid.
    """
    with torch.device("meta"):
        model = build_model(replace(config, pretrained=False, weights=None), classes).eval()
    with torch.no_grad():
        frame, features = _counted(
            lambda: model.encode(
                torch.zeros(1, 1, 3, CROP, CROP, device="meta"),
                landmarks=torch.zeros(1, 1, LANDMARKS, 2, device="meta"),
            )
        )
        valid = torch.ones(1, frames, dtype=torch.bool, device="meta")
        head, _ = _counted(lambda: model.classify(model.pool(features.expand(1, frames, -1), valid)))
    return ModelCost(
        name=config.name,
        encoder=config.encoder,
        head=config.head,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        frame=frame,
        clip=frames * frame + head,
    )


def cost_table(configs: Iterable[ModelConfig], classes: int = 5, frames: int = 10) -> list[ModelCost]:
    """Return the cost of every config, in order."""
    return [model_cost(config, classes, frames) for config in configs]


def _counted(compute: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """Return the multiply-adds of a computation, and its result."""
    with FlopCounterMode(display=False) as counter:
        result = compute()
    return int(counter.get_total_flops()) // 2, result
