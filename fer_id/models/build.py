"""Construction of a model from a ModelConfig, and its cost in parameters and multiply-adds.

The paper's five models are points of the grid encoder x head, the first five of :data:`fer_id.models.config.MODELS`. It
names no compact ViT; ours is CCT, made for small data from scratch, see ``fer_id.models.compact_transformer``. Runs of
earlier versions record ``timm:vit_tiny_patch16_224`` as its encoder, and are built as that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fer_id.errors import ConfigError, Problems
from fer_id.labels import LabelSpace
from fer_id.models.checkpoint import load_into
from fer_id.models.config import CCT, TIMM, UNTRAINED, ModelConfig, conv_blocks, model_problems, named_model
from fer_id.models.encoders import ConvEncoder, Encoder
from fer_id.models.heads import (
    GRU,
    LSTM,
    Attention,
    BiLSTM,
    BothSets,
    Head,
    Last,
    Mean,
    OwnLSTM,
    OwnSet,
    RunningLSTM,
    RunningSet,
    Set,
    Transformer,
)
from fer_id.models.network import ClipClassifier, LandmarkStream
from fer_id.types import CROP, LANDMARKS

__all__ = ["HEAD_CLASSES", "ModelConfig", "ModelCost", "build_model", "model_cost"]

HEAD_CLASSES: dict[str, Callable[[int, int, float], Head]] = {
    "mean": Mean,
    "last": Last,
    "set": Set,
    "own_set": OwnSet,
    "both_sets": BothSets,
    "running_set": RunningSet,
    "lstm": LSTM,
    "own_lstm": OwnLSTM,
    "running_lstm": RunningLSTM,
    "gru": GRU,
    "bilstm": BiLSTM,
    "attention": Attention,
    "transformer": Transformer,
}
"""Name of a head -> its class, constructed with D, ``hidden`` and ``dropout``."""


def build_model(config: ModelConfig | str, classes: int | LabelSpace) -> ClipClassifier:
    """Build a model of K classes, given by their number or label space; it remembers ``config``.

    ``config`` may also be the name of a shipped model, or ``timm:<name>``. Raise ConfigError where it names an unknown
    part or an impossible value (all of them listed), and CheckpointError where its pretrained weights cannot be
    downloaded, read or fitted.
    """
    config = named_model(config) if isinstance(config, str) else config
    classes = len(classes) if isinstance(classes, LabelSpace) else classes
    problems = Problems("model", model_problems(config))
    if classes < 2:
        problems.add(f"classes: {classes}, expected at least 2")
    problems.raise_if_any(ConfigError)
    encoder = _build_encoder(config)
    head = HEAD_CLASSES[config.head](encoder.dim + config.landmarks, config.hidden, config.dropout)
    stream = LandmarkStream(config.landmarks) if config.landmarks else None
    model = ClipClassifier(encoder, head, classes, config.dropout, stream, affect=config.affect)
    model.config = config
    return model


def _build_encoder(config: ModelConfig) -> Encoder:
    if config.encoder.startswith(TIMM):
        from fer_id.models.backbones import TimmEncoder  # timm takes seconds to import, and is not always needed

        name = config.encoder.removeprefix(TIMM)
        return TimmEncoder(
            name,
            config.stride,
            pretrained=config.pretrained,
            weights=config.weights,
            weights_match=config.weights_match,
        )
    encoder: Encoder
    if config.encoder == CCT:
        from fer_id.models.compact_transformer import CompactTransformer  # of timm's blocks

        encoder = CompactTransformer()
    else:
        encoder = ConvEncoder(*conv_blocks(config), residual=config.residual, space_to_depth=config.space_to_depth)
    if config.weights is not None:
        load_into(encoder, config.weights, part="encoder")
    return encoder


@dataclass(frozen=True)
class ModelCost:
    """Cost of a model, by the names in its config."""

    name: str
    encoder: str
    head: str
    parameters: int  # number of trainable parameters, classifier included
    frame: int  # multiply-adds of encoding one frame
    activations: int  # outputs of the encoder's layers for that frame: memory traffic, which takes time too
    clip: int  # multiply-adds of one clip, head and classifier included


_costs: dict[tuple[str, int, int, int], ModelCost] = {}
"""Costs by settings, classes, frames and side, kept for the process: every fold of a cross-validation asks again."""


def model_cost(config: ModelConfig, classes: int = 5, frames: int = 10, side: int = CROP) -> ModelCost:
    """Return the cost of a model for clips of ``frames`` frames of ``side`` pixels; raise ConfigError where the config
    is invalid.

    Multiply-adds are those of convolutions and matrix products: half the operations of ``torch.utils.flop_counter``.
    Biases, norms, activations and pooling are left out, as is usual.
    """
    config = replace(config, **UNTRAINED)
    key = (repr(config), classes, frames, side)
    if key not in _costs:
        _costs[key] = _cost(config, classes, frames, side)
    return _costs[key]


def _cost(config: ModelConfig, classes: int, frames: int, side: int) -> ModelCost:
    """Compute :func:`model_cost` on a model without memory."""
    with torch.device("meta"):
        model = build_model(config, classes).eval()
    activations: list[int] = []
    for module in model.encoder.modules():
        if not any(module.children()):
            module.register_forward_hook(lambda _module, _inputs, output: activations.append(output.numel()))
    with torch.no_grad():
        frame, features = _counted(
            lambda: model.encode(
                torch.zeros(1, 1, 3, side, side, device="meta"),
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
        activations=sum(activations),
        clip=frames * frame + head,
    )


def _counted(compute: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """Return the multiply-adds of a computation, and its result."""
    with FlopCounterMode(display=False) as counter:
        result = compute()
    return int(counter.get_total_flops()) // 2, result
