"""Model configuration and its validation, without importing torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any

from fer_id.errors import ConfigError
from fer_id.inputs import look_alike
from fer_id.settings import PATH, faults, setting

TIMM = "timm:"  # prefix of an encoder that timm builds, as in ``timm:resnet18``

CONV_ENCODERS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "conv4": ((32, 64, 128, 256), (1, 2, 2, 2)),
    "shallow": ((32, 64, 128), (1, 1, 1)),
}
"""Convolutional encoders: name -> default (channels of each block, convolutions in each block)."""

CCT = "cct"
"""The compact convolutional transformer of ``fer_id.models.compact_transformer``, built-in and without settings."""

BUILT_IN = (*CONV_ENCODERS, CCT)
"""Names of the encoders that are built here, not by timm."""

HEADS = (
    *("mean", "last", "set", "own_set", "both_sets", "running_set"),
    *("lstm", "own_lstm", "running_lstm", "gru", "bilstm", "attention", "transformer"),
)
"""Names of the temporal heads."""

CONV_SETTINGS = ("widths", "convs", "residual", "space_to_depth")
"""Settings of the convolutional encoders alone."""

WITHOUT_STATE = ("mean", "last", "set", "own_set", "both_sets", "running_set")
"""Heads that do not read ``hidden``."""

LARGEST_WIDTH = 16_384
"""Maximum number of channels or units of a layer: a larger number is a typing error that no memory could hold."""

MOST_MATCHES = 5  # names in a message
TRANSFORMER_HEADS = 4  # attention heads of the ``transformer`` head; ``hidden`` must be a multiple of it


@dataclass
class ModelConfig:
    """Model configuration: an encoder (frame -> feature) and a temporal head (features -> clip).

    ``conv4`` has four blocks, ``shallow`` two or three; :data:`CONV_SETTINGS` are settings of these, ``stride`` is one
    of timm's encoders. Runs without a recorded ``stride`` were built with half of it, its default.
    """

    name: str = setting("cnn_lstm", kind=PATH, help="name of the model in tables, without other effect")
    encoder: str = setting("conv4", help="conv4, shallow, cct or timm:NAME, NAME one of timm's")
    head: str = setting("lstm", help=f"{', '.join(HEADS)}; of model=timm:NAME mean, unless said otherwise")
    hidden: int = setting(128, min=1, max=LARGEST_WIDTH, help="state of the recurrent, attention and transformer heads")
    dropout: float = setting(0.0, min=0, below=1, help="of pooled features before the classifier, and in transformer")
    stride: str = setting(
        "halved",
        choices=("halved", "own"),
        help="of timm's first strided layer or patch, halved where the last map were below 4x4 cells, or timm's own",
    )
    pretrained: bool = setting(False, help="download timm's published weights")
    weights: str | None = setting(
        None, help="file of published encoder weights instead (safetensors, or a torch file of weights alone)"
    )
    weights_match: str = setting(
        "names",
        choices=("names", "order"),
        help="names: the file has timm's; order: other ones, of the same network, whose tensors have the same order",
    )
    widths: list[int] = setting([], min=1, max=LARGEST_WIDTH, help="channels of each block; empty: the encoder's own")
    convs: list[int] = setting([], min=1, max=64, help="convolutions in each block, likewise")
    residual: bool = setting(False, help="add to each convolution after the first of a block its own input")
    space_to_depth: bool = setting(
        False, help="the first block reads each 2x2 pixels as channels, on a map of half the side"
    )
    landmarks: int = setting(
        0, min=0, max=LARGEST_WIDTH, help="feature of a second stream on the normalised landmarks; 0: frames alone"
    )
    affect: bool = setting(False, help="a second head on the clip's vector: valence and arousal, each from -1 to 1")


MODELS = {
    model.name: model
    for model in (
        ModelConfig("shallow_cnn", "shallow", "mean"),
        ModelConfig("resnet50", "timm:resnet50", "mean", stride="own"),
        ModelConfig("efficientnet_b0", "timm:efficientnet_b0", "mean", stride="own"),
        ModelConfig("compact_vit", CCT, "mean"),
        ModelConfig("cnn_lstm", "conv4", "lstm", residual=True),
        ModelConfig("cnn_lstm_landmarks", "conv4", "lstm", residual=True, landmarks=64),
        ModelConfig("conv4", "conv4", "mean", residual=True, dropout=0.2),
    )
}
"""Shipped models by name, as ``experiments/configs/model`` has them."""

UNTRAINED: Mapping[str, Any] = {"pretrained": False, "weights": None, "weights_match": "names"}
"""Settings of a model whose weights come from elsewhere, such as a run's: nothing is downloaded or read."""

OWN_MODULE = "own"
"""``encoder`` in the configuration of a run whose model is an ``nn.Module`` that fer_id did not build."""


def named_model(name: str) -> ModelConfig:
    """Return the config of a shipped model, or of ``timm:<name>`` with head ``mean``; else a ConfigError lists them."""
    if name.startswith(TIMM):
        return ModelConfig(name, name, "mean")
    if name not in MODELS:
        raise ConfigError(_unknown("model", name, (*MODELS, f"{TIMM}<name>")))
    return replace(MODELS[name])


def model_problems(config: ModelConfig) -> list[str]:
    """Return a line for every problem of a model config. Builds nothing."""
    problems = setting_problems(config) + file_problems(config)
    return problems + timm_problems(config.encoder) if config.encoder.startswith(TIMM) else problems


def setting_problems(config: ModelConfig) -> list[str]:
    """Return a line for every problem of a model config that can be known without importing torch and timm."""
    limits = [f"model.{name}: {fault}" for name, fault in faults(config)]
    problems = [*limits, *_encoder_problems(config), *_weight_problems(config)]
    if config.head not in HEADS:
        problems.append(_unknown("model.head", config.head, HEADS))
    if config.head == "transformer" and config.hidden % TRANSFORMER_HEADS:
        problems.append(
            f"model.hidden: {config.hidden}, expected a multiple of {TRANSFORMER_HEADS} for head transformer"
        )
    return problems


def file_problems(config: ModelConfig) -> list[str]:
    """Return a line where the file of published weights is missing, or is that of a run or bundle, so that the subjects
    whom it learned from would be forgotten. A model that was trained since does not need the file."""
    if config.weights is None:
        return []
    path = Path(config.weights)
    if not path.is_file():
        missing = "no regular file" if path.exists() else "no file"
        return [f"model.weights: {missing} {config.weights!r}{look_alike(path)}"]
    folder = path.resolve().parent
    if (folder.parent / "job.json").is_file():  # RUN/checkpoints/best.ckpt
        return [
            f"model.weights: {config.weights} is of the run {folder.parent}; say init.encoder_from={folder.parent} "
            "instead, which checks and records whom it learned from"
        ]
    if (folder / "contract.json").is_file():
        return [
            f"model.weights: {config.weights} is of the bundle {folder}, which does not say whom it learned from; "
            "start from the run that it was made of (init.encoder_from=FOLDER)"
        ]
    return []


def _unknown(key: str, value: str, known: tuple[str, ...]) -> str:
    """Return a line on an unknown value, with the closest known value and all known values."""
    close = get_close_matches(value, known, n=1)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{key}: {value!r} is unknown{meant}; known: {', '.join(known)}"


def conv_blocks(config: ModelConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return channels and convolutions of each block of ``conv4`` or ``shallow``: the config's or the defaults."""
    widths, convs = CONV_ENCODERS[config.encoder]
    return tuple(config.widths) or widths, tuple(config.convs) or convs


def least_side(config: ModelConfig) -> int:
    """Return the side in pixels of the smallest crops of which a convolutional encoder's pools leave a cell; of other
    encoders 1."""
    if config.encoder not in CONV_ENCODERS:
        return 1
    return int(2 ** (len(conv_blocks(config)[0]) + config.space_to_depth))


def _encoder_problems(config: ModelConfig) -> list[str]:
    if config.encoder in CONV_ENCODERS:
        return [*_foreign_problems(config, "stride"), *_block_problems(config)]
    if config.encoder == CCT:
        return _foreign_problems(config, *CONV_SETTINGS, "stride")
    if config.encoder == OWN_MODULE:
        return [f"model.encoder: {config.name} is a module of somebody's own, which fer_id cannot build"]
    if config.encoder.startswith(TIMM):
        return _foreign_problems(config, *CONV_SETTINGS)
    return [_unknown("model.encoder", config.encoder, (*BUILT_IN, f"{TIMM}<name>"))]


def _foreign_problems(config: ModelConfig, *settings: str) -> list[str]:
    """Return a line for each of ``settings``, of other encoders, that has another value than its default."""
    usual, convolutional = ModelConfig(), ", ".join(CONV_ENCODERS)
    return [
        f"model.{key}: {json.dumps(value)}, but {config.encoder} has no such setting, only "
        f"{convolutional if key in CONV_SETTINGS else f'{TIMM}<name>'} have it; say model.{key}={_text(none)}"
        for key in settings
        if (value := getattr(config, key)) != (none := getattr(usual, key))
    ]


def _text(value: str | bool | list[int]) -> str:
    """Return a setting's value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _block_problems(config: ModelConfig) -> list[str]:
    widths, convs = conv_blocks(config)
    blocks = (4,) if config.encoder == "conv4" else (2, 3)
    problems = []
    for key, values in (("widths", widths), ("convs", convs)):
        if len(values) not in blocks:
            wanted = " or ".join(str(n) for n in blocks)
            problems.append(f"model.{key}: {list(values)}, expected {wanted} positive integers for {config.encoder}")
    if not problems and len(widths) != len(convs):
        problems.append(f"model.widths: has {len(widths)} blocks, model.convs {len(convs)}: say both")
    return problems


def timm_problems(encoder: str) -> list[str]:
    """Return a line where timm has no such encoder (``timm:<name>``), or no such weights of it."""
    import timm  # takes seconds, and most configs name no timm encoder

    name = encoder.removeprefix(TIMM)
    architecture, _, tag = name.partition(".")
    if "*" in name and (matches := timm.list_models(name)):
        some = ", ".join(f"{TIMM}{match}" for match in matches[:MOST_MATCHES])
        more = f"; `fer-id models 'model={TIMM}{name}'` lists all {len(matches)}" if len(matches) > MOST_MATCHES else ""
        return [f"model.encoder: {TIMM}{name} is a pattern, expected one name; choose one of {some}{more}"]
    if not timm.is_model(architecture):
        return [f"model.encoder: timm has no model {name!r}{suggestion(architecture, 'did you mean one of ', '?')}"]
    published = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in published:
        return [f"model.encoder: timm has no weights {name!r}; known: {', '.join(published) or 'none'}"]
    return []


def without_effect(config: ModelConfig) -> list[str]:
    """Return a line for each setting that was changed and that no part of the model reads."""
    if config.head not in WITHOUT_STATE or config.hidden == ModelConfig().hidden:
        return []
    return [f"model.hidden={config.hidden} has no effect: head {config.head} has no state; choose another model.head"]


def suggestion(name: str, before: str, after: str = "") -> str:
    """Return the end of a message on a name or pattern that timm does not have: the nearest names, if any, between
    ``before`` and ``after``, and the command that lists names."""
    import timm

    close = ", ".join(TIMM + other for other in nearest(name.replace("*", ""), timm.list_models()))
    meant = f" ({before}{close}{after})" if close else ""
    return f"{meant}; `fer-id models 'model={TIMM}*NAME*'` lists those with NAME in them"


def nearest(name: str, known: Sequence[str], most: int = MOST_MATCHES) -> list[str]:
    """Return the names most similar to ``name``, most similar first, the shortest first among equally similar ones."""
    name = re.sub(r"[\s-]", "_", name.strip().casefold())
    likeness = {other: SequenceMatcher(None, other, name).ratio() for other in get_close_matches(name, known, n=50)}
    return sorted(likeness, key=lambda other: (-likeness[other], len(other), other))[:most]


def _weight_problems(config: ModelConfig) -> list[str]:
    problems = []
    if config.pretrained and config.weights:
        problems.append("model.pretrained and model.weights: give one of them, the download or the file")
    if config.pretrained and config.encoder in BUILT_IN:
        problems.append(f"model.pretrained: {config.encoder} has no published weights; give a file as model.weights")
    if config.weights_match == "order" and not config.weights:
        problems.append("model.weights_match: order, but there is no file to match; say model.weights=FILE")
    if config.weights_match == "order" and not config.encoder.startswith(TIMM):
        problems.append(f"model.weights_match: order is for timm:NAME, and {config.encoder} is none; say names")
    return problems
