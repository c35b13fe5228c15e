"""Text as people type it, made ready for OmegaConf, and types in words.

YAML guesses types from how a value looks: ``1042`` becomes a number and ``off`` a boolean. Here values stay text until
OmegaConf converts them to the type of their *field*.
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
    """``raw`` as OmegaConf takes it for a field: null as None, and the lists and tuples that are asked for.

    Args:
        raw: ``null`` is None, and so is empty text where no text is asked. For a list, text in brackets is parsed, and
            other text is its only item, so that ``data.store=data/fer2013`` needs no brackets.
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
    return get_origin(kind)(shaped(item, one) for item, one in zip(raw, cycle(get_args(kind)), strict=False))


def _listed(text: str) -> Raw:
    """What a list in brackets holds, all of it text."""
    node = compose(text, cut(text), ConfigError, aliases=False)
    listed: Raw = yaml.BaseLoader("").construct_object(node, deep=True)
    return listed


def unwrap(hint: Any) -> tuple[Any, bool]:
    """The type without ``| None``, and whether None was allowed."""
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        if len(kinds) == 1:
            return kinds[0], True
    return hint, False


def expected(hint: Any) -> str:
    """The type in words, for people who look at an error."""
    kind, optional = unwrap(hint)
    words = {str: "a single text", int: "a whole number", float: "a number such as 0.01 or 1e-4", bool: "true or false"}
    if get_origin(kind) is Literal:
        said = "one of " + ", ".join(map(str, get_args(kind)))
    elif get_origin(kind) in (list, tuple):
        said = f"a list such as [a, b] ({type_text(kind)})"
    else:
        said = words.get(kind, type_text(kind))
    return said + (" or null" if optional else "")


def type_text(hint: Any) -> str:
    """The type as ``--help`` shows it, such as ``float|null`` or ``list[str]``."""
    kind, optional = unwrap(hint)
    if get_origin(kind) is Literal:
        name = "|".join(map(str, get_args(kind)))
    elif get_args(kind):
        arguments = ", ".join("..." if one is Ellipsis else type_text(one) for one in get_args(kind))
        name = f"{get_origin(kind).__name__}[{arguments}]"
    else:
        name = getattr(kind, "__name__", str(kind))
    return name + ("|null" if optional else "")
