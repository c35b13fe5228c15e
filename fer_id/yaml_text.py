"""YAML from people: bounded in size and nesting before it is parsed, and in what its aliases swell to."""

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

MOST_NODES = 50_000
"""Values of a file, those that aliases repeat counted each time."""

_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def compose(text: str, where: object, error: type[FerIdError], *, aliases: bool = True) -> yaml.Node | None:
    """The nodes of a YAML text, with their lines; None for an empty one.

    Args:
        text: at most :data:`fer_id.inputs.MOST_YAML` characters.
        where: the file, for the message.
        error: the class to raise.
        aliases: whether ``*name`` may repeat a value.

    Raises:
        FerIdError: of class ``error``: not YAML, too long, nested too deeply, a key twice in a mapping, an alias.
    """
    if len(text) > MOST_YAML:
        raise error(f"{where}: {len(text):,} characters, expected at most {MOST_YAML:,}")
    if _brackets(text) > MOST_NESTING:  # counted first: the parser's time grows with their square
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
    """The mapping that a YAML file holds, and its text; ``example`` stands in the message where it holds none.

    Raises:
        FerIdError: of class ``error``: as :func:`compose`, or it cannot be read, or holds no mapping.
    """
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
    """A key that stands twice in a mapping or in one below it: the first value would be lost; empty: none."""
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
            todo += [one for one in _below(value) if isinstance(one, yaml.MappingNode)]
    return ""


def _below(node: yaml.Node) -> list[yaml.Node]:
    """A node, or the items of the list that it is."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]


def _brackets(text: str) -> int:
    """How deep brackets open in a text, wherever they stand."""
    return max(accumulate((_STEPS[one] for one in re.findall(r"[\[\]{}]", text)), initial=0))


def _nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values below a node and of itself, each as often as it is repeated."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES  # of a value that holds itself
        inner = [] if isinstance(node, yaml.ScalarNode) else node.value
        flat = [one for pair in inner for one in pair] if isinstance(node, yaml.MappingNode) else inner
        known[id(node)] = 1 + sum(_nodes(one, known) for one in flat)
    return known[id(node)]
