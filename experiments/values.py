"""Text as people type it -> typed values, strictly: ``1042`` stays text where text is asked, ``off`` is no boolean.

YAML guesses types from how a value looks; here the *field* decides, and a value that does not fit is an error.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml

Raw = str | None | list["Raw"] | dict[str, "Raw"]
"""What a YAML node holds before a type is known."""

INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Leaf(NamedTuple):
    """One value somebody gave to one dotted key.

    Attributes:
        key: dotted, such as ``optim.lr``.
        value: untyped.
        origin: where it was said, such as ``command line`` or ``recipe/paper.yaml, line 3``.
    """

    key: str
    value: Raw
    origin: str

    def __str__(self) -> str:
        shown = "null" if self.value is None else self.value if isinstance(self.value, str) else str(self.value)
        return f"{self.key}={shown} ({self.origin})"


def convert(raw: Raw, hint: Any) -> Any:
    """``raw`` as a value of the annotated type.

    Args:
        raw: text, None, or containers of them (a list typed on the command line, ``[a, b]``, comes as text). Where None
            is allowed, ``null`` and empty text mean it.
        hint: str, int, float, bool, Literal, list, tuple, dict, or one of them ``| None``.

    Raises:
        ValueError: it does not fit; the message says what was expected.
    """
    kind, optional = unwrap(hint)
    if raw is None or (optional and raw in ("null", "")):
        if optional:
            return None
        raise ValueError(f"expected {expected(hint)}, got nothing")
    if get_origin(kind) in (list, tuple):
        return _sequence(raw, kind)
    if get_origin(kind) is dict:
        return _mapping(raw, kind)
    if not isinstance(raw, str):
        raise ValueError(f"expected {expected(hint)}, got {'a list' if isinstance(raw, list) else 'a mapping'}")
    if kind is bool and raw in ("true", "false"):
        return raw == "true"
    if kind is int and INTEGER.fullmatch(raw):
        return int(raw)
    if kind is float and NUMBER.fullmatch(raw) and math.isfinite(float(raw)):
        return float(raw)
    if kind is str:
        return raw
    if get_origin(kind) is Literal and raw in get_args(kind):
        return raw
    raise ValueError(f"expected {expected(hint)}")


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
    words = {str: "text", int: "a whole number", float: "a number such as 0.01 or 1e-4", bool: "true or false"}
    if get_origin(kind) is Literal:
        said = "one of " + ", ".join(map(str, get_args(kind)))
    elif get_origin(kind) in (list, tuple):
        said = "a list such as [a, b] (" + type_text(kind) + ")"
    elif get_origin(kind) is dict:
        said = "a mapping such as {a: 1} (" + type_text(kind) + ")"
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


def texts(raw: Raw) -> Iterator[str]:
    """Every piece of text in a value, keys of mappings included."""
    if isinstance(raw, str):
        yield raw
    elif isinstance(raw, list):
        for item in raw:
            yield from texts(item)
    elif isinstance(raw, dict):
        for key, item in raw.items():
            yield key
            yield from texts(item)


def _sequence(raw: Raw, kind: Any) -> Any:
    """A list or tuple; single text is a list of one, so that ``data.store=data/fer2013`` needs no brackets."""
    if isinstance(raw, str):
        parsed = from_node(_compose(raw)) if raw.startswith("[") else [raw]
        items = parsed if isinstance(parsed, list) else [parsed]
    elif isinstance(raw, list):
        items = raw
    else:
        raise ValueError(f"expected {expected(kind)}, got a mapping")
    hints = get_args(kind)
    if get_origin(kind) is list:
        return [convert(item, hints[0]) for item in items]
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(convert(item, hints[0]) for item in items)
    if len(items) != len(hints):
        raise ValueError(f"expected {len(hints)} values, got {len(items)}")
    return tuple(convert(item, hint) for item, hint in zip(items, hints, strict=True))


def _mapping(raw: Raw, kind: Any) -> Any:
    """A dict; on the command line it is typed as ``{a: 1, b: 2}``."""
    parsed = from_node(_compose(raw)) if isinstance(raw, str) and raw.startswith("{") else raw
    if not isinstance(parsed, dict):
        raise ValueError(f"expected {expected(kind)}")
    key_hint, value_hint = get_args(kind)
    return {convert(key, key_hint): convert(value, value_hint) for key, value in parsed.items()}


def _compose(text: str) -> yaml.Node | None:
    try:
        return compose(text)
    except yaml.YAMLError:
        raise ValueError("expected a list such as [a, b], with its brackets closed") from None


def compose(text: str) -> yaml.Node | None:
    """YAML text as nodes: values keep the text they were typed with, and every node knows its line.

    Raises:
        yaml.YAMLError: not YAML; or it refers to another place in itself (an alias), which settings do not need.
    """
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"an alias (*{event.anchor}); write the value out")
    return yaml.compose(text, Loader=yaml.SafeLoader)


def from_node(node: yaml.Node | None) -> Raw:
    """A YAML node as plain containers of text; an unquoted ``null`` is None, a quoted one is text."""
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return None
    if isinstance(node, yaml.SequenceNode):
        return [from_node(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): from_node(value) for key, value in node.value}
    return str(node.value)
