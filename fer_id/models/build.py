"""Construction of a model from a ModelConfig.

The paper's five models are points of the grid encoder x head. Their recommended configs:

=================  =================================  ======  ==============================================
name               encoder                            head    notes
=================  =================================  ======  ==============================================
shallow_cnn        shallow                            mean
resnet50           timm:resnet50                      mean
efficientnet_b0    timm:efficientnet_b0               mean
compact_vit        timm:vit_tiny_patch16_224          mean    built with patch 8 at 64x64: 64 tokens
cnn_lstm           conv4                              lstm    hidden: 128
=================  =================================  ======  ==============================================

The paper names no compact ViT; ours is ViT-Ti (Touvron et al., 2021; Steiner et al., 2022): 12 blocks of width 192 with
three heads.
"""

from __future__ import annotations

from collections.abc import Callable

from fer_id.errors import ConfigError, Problems
from fer_id.labels import LabelSpace
from fer_id.models.checkpoint import load_into
from fer_id.models.config import TIMM, ModelConfig, conv_blocks, model_problems, named_model
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
    Set,
    Transformer,
)
from fer_id.models.network import ClipClassifier, LandmarkStream

__all__ = ["HEAD_CLASSES", "ModelConfig", "build_model"]

HEAD_CLASSES: dict[str, Callable[[int, int, float], Head]] = {
    "mean": Mean,
    "last": Last,
    "set": Set,
    "own_set": OwnSet,
    "both_sets": BothSets,
    "lstm": LSTM,
    "own_lstm": OwnLSTM,
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
    model = ClipClassifier(encoder, head, classes, config.dropout, stream)
    model.config = config
    return model


def _build_encoder(config: ModelConfig) -> Encoder:
    if config.encoder.startswith(TIMM):
        from fer_id.models.backbones import TimmEncoder  # timm takes seconds to import, and is not always needed

        return TimmEncoder(config.encoder.removeprefix(TIMM), pretrained=config.pretrained, weights=config.weights)
    encoder = ConvEncoder(*conv_blocks(config), residual=config.residual)
    if config.weights is not None:
        load_into(encoder, config.weights, part="encoder")
    return encoder
