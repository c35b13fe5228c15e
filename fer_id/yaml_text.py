"""Safe reading of YAML: bounded in size and nesting before it is parsed, and in the expansion of its aliases."""

from __future__ import annotations

import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from fer_id.errors import FerIdError, cut
from fer_id.inputs import MOST_NESTING, MOST_YAML, TOO_DEEP, read_text

try:  # ten times as fast, where PyYAML was built with libyaml, as its wheels are
    from yaml import CBaseLoader as BaseLoader
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import BaseLoader, SafeLoader  # type: ignore[assignment]

MOST_NODES = 50_000  # largest number of values in a file, with every repetition by an alias counted
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def compose(text: str, where: object, error: type[FerIdError], *, aliases: bool = True) -> yaml.Node | None:
    """Return the root node of a YAML text, with line numbers; None for an empty text.

    Raise ``error`` where the text in ``where`` is no YAML, longer than :data:`fer_id.inputs.MOST_YAML`, nested too
    deeply, has a key twice in a mapping, too many values, or, without ``aliases``, an alias (``*name``), which repeats
    a value.
    """
    if len(text) > MOST_YAML:
        raise error(f"{where}: {len(text):,} characters, expected at most {MOST_YAML:,}")
    brackets = accumulate((_STEPS[bracket] for bracket in re.findall(r"[\[\]{}]", text)), initial=0)
    if max(brackets) > MOST_NESTING:  # inside quotations too; counted first: the parser's time grows with their square
        raise error(f"{where}: {TOO_DEEP}")
    try:
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader=BaseLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_NESTING:
                raise error(f"{where}: {TOO_DEEP}")
            if number > 2 * MOST_NODES:
                raise error(f"{where}: more than {MOST_NODES:,} values")
            if isinstance(event, yaml.AliasEvent) and not aliases:
                raise error(f"{where}: has an alias (*name); write the value out")
        node: yaml.Node | None = yaml.compose(text, Loader=SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        raise error(f"{where}: not readable as YAML: {problem}") from None
    if node is not None and _nodes(node, {}) > MOST_NODES:
        raise error(f"{where}: its aliases (*name) swell to {MOST_NODES:,} values or more; write the values out")
    return node


def read_yaml(path: Path, error: type[FerIdError], example: str = "seed: 1") -> tuple[dict[str, Any], str]:
    """Return the mapping in a YAML file, and the file's text; raise ``error`` as :func:`compose`, or where the file
    cannot be read or holds no mapping, with ``example`` in the message."""
    text = read_text(path, error, most=MOST_YAML)
    node = compose(text, path, error)
    if not isinstance(node, yaml.MappingNode):
        raise error(f"{path}: expected keys and values, such as '{example}'")
    if key := repeated_key(node):
        raise error(f"{path}: {cut(key)}: is given twice, so that one of its values would be lost")
    try:
        value = yaml.load(text, Loader=SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as problem:  # such as a number of 5,000 digits
        raise error(f"{path}: not readable as YAML: {problem}") from None
    return value, text


def repeated_key(node: yaml.MappingNode) -> str:
    """Return a repeated key of a mapping or of one below it, whose first value would be lost; empty: no such key."""
    todo, seen = [node], set[int]()
    while todo:
        mapping = todo.pop()
        if id(mapping) in seen:
            continue
        seen.add(id(mapping))
        names = set[str]()
        for key, value in mapping.value:
            if str(key.value) in names:
                return str(key.value)
            names.add(str(key.value))
            todo += [child for child in _below(value) if isinstance(child, yaml.MappingNode)]
    return ""


def _below(node: yaml.Node) -> list[yaml.Node]:
    """Return the items of a list node, else the node itself."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]


def _nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of values in a node, itself included, with every repetition by an alias counted."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES  # the count for a value that contains itself
        inner = [] if isinstance(node, yaml.ScalarNode) else node.value
        children = [child for pair in inner for child in pair] if isinstance(node, yaml.MappingNode) else inner
        known[id(node)] = 1 + sum(_nodes(child, known) for child in children)
    return known[id(node)]
