"""Conversion of typed text to the values that OmegaConf takes, and descriptions of types.

YAML guesses types from the text of a value: ``1042`` becomes a number and ``off`` a boolean. Here values stay text
until OmegaConf converts them to the type of their *field*.
"""

from __future__ import annotations

import types
from itertools import cycle
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from fer_id.errors import ConfigError, cut
from fer_id.yaml_text import compose

Raw = str | list["Raw"] | dict[str, "Raw"]
"""A value before its type is known: text, or containers of text."""


def shaped(raw: Raw, hint: Any) -> Any:
    """Convert ``raw`` to a value for a field: null to None, and text to the field's list or tuple.

    Args:
        raw: ``null`` is None, and so is empty text for a field of another type than text. For a list, text in brackets
            is parsed, and other text is its only item, so that ``data.store=data/fer2013`` needs no brackets.
        hint: str, int, float, bool, Literal, list, tuple, or one of them ``| None``.

    Raises:
        ConfigError: brackets that are not closed, are nested too deeply, or hold an alias.
    """
    kind = unwrap(hint)[0]
    if raw == "null" or (raw == "" and hint is not str):
        return None
    if get_origin(kind) not in (list, tuple):
        return raw
    if isinstance(raw, str):
        raw = _listed(raw) if raw.startswith("[") else [raw]
    if not isinstance(raw, list):
        return raw
    return get_origin(kind)(shaped(item, of_item) for item, of_item in zip(raw, cycle(get_args(kind)), strict=False))


def _listed(text: str) -> Raw:
    """Return the items of a list in brackets, all of them text."""
    node = compose(text, cut(text), ConfigError, aliases=False)
    listed: Raw = yaml.BaseLoader("").construct_object(node, deep=True)
    return listed


def unwrap(hint: Any) -> tuple[Any, bool]:
    """Return the type without ``| None``, and True where None is allowed."""
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        if len(kinds) == 1:
            return kinds[0], True
    return hint, False


def expected(hint: Any) -> str:
    """Return the type in words, for error messages."""
    kind, optional = unwrap(hint)
    words = {str: "a single text", int: "a whole number", float: "a number such as 0.01 or 1e-4", bool: "true or false"}
    if get_origin(kind) is Literal:
        description = "one of " + ", ".join(map(str, get_args(kind)))
    elif get_origin(kind) in (list, tuple):
        description = f"a list such as [a, b] ({type_text(kind)})"
    else:
        description = words.get(kind, type_text(kind))
    return description + (" or null" if optional else "")


def type_text(hint: Any) -> str:
    """Return the name of the type in ``--help``, such as ``float|null`` or ``list[str]``."""
    kind, optional = unwrap(hint)
    if get_origin(kind) is Literal:
        name = "|".join(map(str, get_args(kind)))
    elif get_args(kind):
        arguments = ", ".join("..." if item is Ellipsis else type_text(item) for item in get_args(kind))
        name = f"{get_origin(kind).__name__}[{arguments}]"
    else:
        name = getattr(kind, "__name__", str(kind))
    return name + ("|null" if optional else "")
