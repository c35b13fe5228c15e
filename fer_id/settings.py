"""Settings as dataclass fields with help text and limits, shared by ``--help``, the loader and the validation."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple, TypeVar

from fer_id.csv_text import is_formula
from fer_id.inputs import is_file_name

T = TypeVar("T")

WORD, PATH = "a name without / \\ # ? % :", "a name such as study/run"
"""Kinds of a setting that is a name: one word, or words separated by slashes."""

SELECTOR, REST = "selector", "rest"
"""Kinds of a setting: a value that chooses a group of settings of the setting's own name; a list that takes every
``key=value`` of the command line whose key the config does not know."""

MOST_BYTES = 200
"""Bytes of a word of a name in UTF-8; disks take 255."""

RESERVED = ("folds", "crossfit", "checkpoints", "figures", "wandb")
"""Folders in a run, which are no valid names of runs or studies; a trial of a sweep is ``study/folds/FOLD/TRIAL``."""


class Clash(NamedTuple):
    """Conflict between settings, which a config dataclass reports from its method ``clashes()``.

    Attributes:
        keys: the settings involved, dotted, relative to the dataclass that reports them.
        message: problem and remedy.
    """

    keys: tuple[str, ...]
    message: str


def setting(
    default: T,
    help: str = "",
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str | int | float] | None = None,
    required: bool = False,
    kind: str = "",
) -> T:
    """Return a dataclass field with its help text and limits; a mutable default is copied for each instance.

    Args:
        default: the default value.
        help: meaning and unit; one line of ``fer-id VERB --help``.
        min, max: inclusive limits; ``above``, ``below``: exclusive limits. For a list they hold for every item.
        choices: the allowed values.
        required: an empty value is an error.
        kind: :data:`WORD` or :data:`PATH` where the value names a run, a group, a tag; :data:`SELECTOR`, whose default
            chooses the default group; :data:`REST`; empty: any value.
    """
    limits = {"min": min, "max": max, "above": above, "below": below}
    metadata: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None}
    metadata |= {"help": help, "required": required}
    if kind in (WORD, PATH):
        metadata["name"] = kind
    elif kind:
        metadata[kind] = default if kind == SELECTOR else True
    if choices is not None:
        metadata["choices"] = tuple(choices)
    made: Any = (
        field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
        if isinstance(default, list | dict)
        else field(default=default, metadata=metadata)
    )
    return made  # type: ignore[no-any-return]  # as dataclasses.field itself is typed


def is_name(value: object, metadata: Mapping[str, Any]) -> bool:
    """Return whether a value, or every item of a list, is a valid name; True for a setting that is no name.

    Such a name becomes a folder, a cell of a table, a line on a terminal and a name in W&B.
    """
    if isinstance(value, list):
        return all(is_name(item, metadata) for item in value)
    if "name" not in metadata or value is None:
        return True
    text = str(value)
    if metadata["name"] == WORD and set(text) & set("/\\#?%:"):
        return False
    words = text.split("/")
    return all(map(_is_word, words)) and not any(word.casefold() in RESERVED for word in words[-2:])


def _is_word(word: str) -> bool:
    plain = is_file_name(word) and word.strip() == word and len(word.encode(errors="replace")) <= MOST_BYTES
    hidden = "\\" in word or word.startswith((".", "-"))  # a leading - would be read as an option
    return plain and not hidden and not is_formula(word)


def limits_text(metadata: Mapping[str, Any]) -> str:
    """Return the limits in words, such as ``above 0, at most 1``; empty without limits."""
    if "choices" in metadata:
        return "one of " + ", ".join(str(choice) for choice in metadata["choices"])
    if "name" in metadata:
        words = (
            f"printable, at most {MOST_BYTES} bytes a word, begins with no . - or =, not called {' '.join(RESERVED)}"
        )
        return f"{metadata['name']}: {words}"
    comparisons = {"min": "at least", "above": "above", "max": "at most", "below": "below"}
    return ", ".join(f"{word} {_number(metadata[name])}" for name, word in comparisons.items() if name in metadata)


def _number(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def within_limits(value: object, metadata: Mapping[str, Any]) -> bool:
    """Return whether a value, or every item of a list, is within the limits; None (not set) always is."""
    if value is None:
        return True
    if isinstance(value, list | tuple):
        return all(within_limits(item, metadata) for item in value)
    if "choices" in metadata:
        return value in metadata["choices"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    low: float = metadata.get("min", -math.inf)
    high: float = metadata.get("max", math.inf)
    return low <= value <= high and metadata.get("above", -math.inf) < value < metadata.get("below", math.inf)
