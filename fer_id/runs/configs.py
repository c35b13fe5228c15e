"""Comparison of the configurations of runs: their differences, and a hash of the settings that decide the training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

FREE_KEYS = ("resume", "runs.", "logging.", "explain", "data.num_workers")
"""Settings, or prefixes of settings, that may change when a run is resumed."""

_IMAGES = {"source": None, "validation_fraction": 0.1, "split_seed": 0, "audit_radius": 12, "audit_correlation": 0.95}
_STILLS = _IMAGES | {"landmarks": "none", "workers": 1, "face_landmarker": None}
RETIRED: dict[str, dict[str, Any]] = {
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


def without_retired(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without :data:`RETIRED_KEYS`."""
    data = config.get("data")
    if not isinstance(data, dict):
        return config
    return config | {"data": {key: value for key, value in data.items() if key not in RETIRED_KEYS}}


def job_hash(config: dict[str, Any]) -> str:
    """Return twelve hexadecimal digits that are equal for equal trainings, whatever the name of the run.

    Hashed are the settings of a whole resolved configuration, without ``name`` and :data:`FREE_KEYS`.

    >>> job_hash({"name": "a", "seed": 1}) == job_hash({"seed": 1, "name": "b", "resume": False})
    True
    >>> job_hash({"seed": 1}) == job_hash({"seed": 2})
    False
    """
    leaves = dict(_leaves(config))
    retired = {f"data.{key}": value for key, value in RETIRED.get(leaves.get("data.name", ""), {}).items()}
    counted = {
        key: value for key, value in (retired | leaves).items() if key != "name" and not key.startswith(FREE_KEYS)
    }
    if not counted.get("trainer.callbacks", True):  # a newer setting: without callbacks older trials keep their hash
        del counted["trainer.callbacks"]
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:12]


def _leaves(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(left: dict[str, Any], right: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys whose values differ between two configurations, with both values (None where absent)."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in {**left, **right}:
        a, b = left.get(key), right.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found[f"{prefix}{key}"] = (a, b)
    return found


def with_defaults(config: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with defaults for the settings that it lacks."""
    filled = {**usual, **config}
    for key in usual.keys() & config.keys():
        if isinstance(usual[key], dict) and isinstance(config[key], dict):
            filled[key] = with_defaults(config[key], usual[key])
    return filled
