"""Configuration of a run, :class:`Config`; differences of two, and a hash of the settings that decide the training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING:
    from pydantic import JsonValue  # no import: `fer-id --help` reads this module

Tree = Mapping[str, object]
"""A configuration, or a section of one."""


class Named(TypedDict, total=False):
    """A section that has a name, such as ``protocol``."""

    name: str


class ProtocolSection(Named, total=False):
    """Section ``protocol``, as far as the library reads it."""

    group: str


class DataSection(Named, total=False):
    """Section ``data``, as far as the library reads it."""

    store: list[str]
    drop_duplicates: bool


class ModelSection(Named, total=False):
    """Section ``model``, as far as the library reads it."""

    encoder: str
    head: str
    landmarks: int
    pretrained: bool
    weights: str | None


class TrainerSection(TypedDict, total=False):
    """Section ``trainer``, as far as the library reads and writes it."""

    max_epochs: int
    validate_every: int
    monitor: str
    precision: str
    memory_format: str
    gradient_clip: float
    test_views: str
    resolution: list[list[float]]


class Config(TypedDict, total=False):
    """``config.yaml`` of a run; its further settings are of the training alone."""

    name: str
    data: DataSection
    model: ModelSection
    protocol: ProtocolSection
    trainer: TrainerSection


FREE_KEYS = ("resume", "runs.", "logging.", "explain", "data.num_workers")
"""Settings, or prefixes of settings, that may change when a run is resumed."""

NEWER: Tree = {
    **{"trainer.callbacks": [], "data.balanced": 0, "data.excluding": None, "model.stride": "halved"},
    **{"optim.encoder_lr": 1, "optim.ema": 0, "optim.momentum": 0.9, "loss.votes": 1, "loss.votes_head": 0},
    **{"protocol.test": True, "trainer.budget": None, "model.affect": False, "loss.affect": 1, "init.head_from": None},
    **{"model.weights_match": "names", "model.space_to_depth": False},
}
"""Settings that earlier trainings lack, with the values that mean the same, which :func:`job_hash` leaves out."""

_IMAGES = {"source": None, "validation_fraction": 0.1, "split_seed": 0, "audit_radius": 12, "audit_correlation": 0.95}
_STILLS = _IMAGES | {"landmarks": "none", "workers": 1, "face_landmarker": None}
RETIRED: Mapping[str, Tree] = {
    "fer2013": _STILLS | {"labels": "fer2013", "votes": None, "row_flags": None},
    "ferplus": _STILLS | {"labels": "ferplus_majority", "votes": None, "row_flags": None},
    "affectnet": _IMAGES | {"images": None, "unreadable": "error"},
    "folder": _STILLS | {"colour": "rgb"},
    "cohort": {
        **{"source": None, "fps": 5.0, "window": 10, "stride": 10, "colour": "rgb", "min_eye_distance": 8.0},
        **{"workers": 0, "unreadable": "error", "retention_days": 365, "face_landmarker": None},
        **{"corrections": [], "groups": [], "annotator": ""},
    },
    "synthetic": {"source": None},
    "simulated": {"source": None},
}
"""Settings of ``prepare`` that earlier trainings had in their section ``data``, with their defaults, by dataset.

No training ever used them. A run's own file may hold them; :func:`job_hash` counts the defaults, so that trials of an
earlier sweep keep their hash."""

RETIRED_KEYS = frozenset(key for defaults in RETIRED.values() for key in defaults)


def job_hash(config: Tree) -> str:
    """Return twelve hexadecimal digits that are equal for equal trainings, whatever the name of the run.

    Hashed are the settings of a whole resolved configuration, without ``name`` and :data:`FREE_KEYS`.

    >>> job_hash({"name": "a", "seed": 1}) == job_hash({"seed": 1, "name": "b", "resume": False})
    True
    >>> job_hash({"seed": 1}) == job_hash({"seed": 2})
    False
    """
    settings = dict(leaves(config))
    retired = {f"data.{key}": value for key, value in RETIRED.get(str(settings.get("data.name")), {}).items()}
    left_out = {"name", *(key for key, default in NEWER.items() if settings.get(key, default) == default)}
    every = (retired | settings).items()
    counted = {key: value for key, value in every if key not in left_out and not key.startswith(FREE_KEYS)}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:12]


def leaves(config: Tree, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the settings of a nested configuration under dotted keys."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(left: Tree, right: Tree, prefix: str = "") -> dict[str, tuple[JsonValue, JsonValue]]:
    """Return the dotted keys whose values differ between two configurations, with both values (None where absent)."""
    changes: dict[str, tuple[JsonValue, JsonValue]] = {}
    for key in {**left, **right}:
        a, b = cast("JsonValue", left.get(key)), cast("JsonValue", right.get(key))
        if isinstance(a, dict) and isinstance(b, dict):
            changes |= differences(a, b, f"{prefix}{key}.")
        elif a != b:
            changes[f"{prefix}{key}"] = (a, b)
    return changes


def with_defaults(config: Tree, usual: Tree) -> dict[str, object]:
    """Return a configuration with defaults for the settings that it lacks."""
    filled = {**usual, **config}
    for key, default in usual.items():
        if isinstance(default, dict) and isinstance(value := config.get(key), dict):
            filled[key] = with_defaults(value, default)
    return filled
