"""Untyped values of a configuration, each with its key and its origin, from YAML files and the command line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from fer_id.errors import ConfigError, Problems, cut
from fer_id.inputs import MOST_YAML, read_text
from fer_id.yaml_text import compose

Raw = str | list["Raw"] | dict[str, "Raw"]
"""A value before its type is known: text, or containers of text."""


class Leaf(NamedTuple):
    """Untyped value of one dotted key, with its origin, such as ``command line`` or ``recipe/paper.yaml, line 3``."""

    key: str
    value: Raw
    origin: str

    def __str__(self) -> str:
        return f"{cut(self.key)}={cut(self.value)} ({self.origin})"


def file_leaves(path: Path, name: str, problems: Problems) -> list[Leaf]:
    """Return every value in a YAML file as text, with its line, which OmegaConf would forget, as it would guess types;
    an unreadable file is a problem."""
    try:
        root = compose(read_text(path, ConfigError, most=MOST_YAML), name, ConfigError, aliases=False)
    except ConfigError as problem:
        problems.add(str(problem).replace(f"{path}: ", f"{name}: ", 1))
        return []
    if isinstance(root, yaml.MappingNode):
        return list(once(_walk(root, "", name), problems))
    if root is not None:
        problems.add(f"{name}: expected keys and values, such as 'optim: {{lr: 1e-4}}'")
    return []


def _walk(node: yaml.MappingNode, prefix: str, name: str) -> Iterator[Leaf]:
    for key_node, value in node.value:
        key = f"{prefix}{key_node.value}"
        if isinstance(value, yaml.MappingNode):
            yield from _walk(value, f"{key}.", name)
        else:
            origin = f"{name}, line {key_node.start_mark.line + 1}"
            yield Leaf(key, yaml.BaseLoader("").construct_object(value, deep=True), origin)


def once(leaves: Iterable[Leaf], problems: Problems) -> Iterator[Leaf]:
    """Yield the first leaf of each key; another is a problem, since one of the two values would be lost."""
    seen: dict[str, Leaf] = {}
    for leaf in leaves:
        if seen.setdefault(leaf.key, leaf) is leaf:
            yield leaf
        else:
            problems.add(f"{leaf}: {cut(leaf.key)} is given twice, before as {seen[leaf.key]}")


def gathered(leaves: Iterable[Leaf], mappings: Collection[str]) -> list[Leaf]:
    """Return the leaves in their order, those below a key of ``mappings`` (``data.names.h``) as one mapping each."""
    made: list[Leaf] = []
    for leaf in leaves:
        parent = next((key for key in mappings if leaf.key.startswith(f"{key}.")), None)
        if parent is None:
            made.append(leaf)
            continue
        before = next((other.value for other in reversed(made) if other.key == parent), None)
        values = before if isinstance(before, dict) else {}
        made.append(Leaf(parent, {**values, leaf.key.removeprefix(f"{parent}."): leaf.value}, leaf.origin))
    return made
