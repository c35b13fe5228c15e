"""Configurations of runs compared: what differs between two, and a name for what one makes a model learn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

FREE_KEYS = ("resume", "runs.", "logging.", "explain", "data.num_workers")
"""Settings, or beginnings of them, that may change while a run is resumed."""


def job_hash(config: dict[str, Any]) -> str:
    """A name for what a configuration makes a model learn: equal for equal trainings, whatever their run is called.

    Args:
        config: a whole resolved configuration, as in ``config.yaml``; :data:`FREE_KEYS` and ``name`` do not count.

    Returns:
        the first twelve hexadecimal digits of a SHA-256.

    >>> job_hash({"name": "a", "seed": 1}) == job_hash({"seed": 1, "name": "b", "resume": False})
    True
    >>> job_hash({"seed": 1}) == job_hash({"seed": 2})
    False
    """
    counted = {key: value for key, value in _leaves(config) if key != "name" and not key.startswith(FREE_KEYS)}
    if not counted.get("trainer.callbacks", True):  # a younger setting: older trials keep their names
        del counted["trainer.callbacks"]
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:12]


def _leaves(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(left: dict[str, Any], right: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ between two configurations, with both values (None where absent)."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in {**left, **right}:
        a, b = left.get(key), right.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found[f"{prefix}{key}"] = (a, b)
    return found


def with_defaults(config: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """A configuration with what it does not name as it usually is."""
    filled = {**usual, **config}
    for key in usual.keys() & config.keys():
        if isinstance(usual[key], dict) and isinstance(config[key], dict):
            filled[key] = with_defaults(config[key], usual[key])
    return filled
