"""Values of settings from the arguments of a command and from YAML group files, each with its origin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from keyword import iskeyword
from pathlib import Path
from typing import NamedTuple

import yaml

from data_modules.registry import known_datasets
from fer_id.errors import ConfigError, Problems, cut
from fer_id.inputs import MOST_YAML, read_text
from fer_id.yaml_text import compose

GROUPS = Path(__file__).parents[1] / "configs"
COMMAND_LINE = "command line"
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)=(.*)", re.DOTALL)

Raw = str | list["Raw"] | dict[str, "Raw"]
"""A value before its type is known: text, or containers of text."""

Shorthand = Callable[[str, Mapping[str, Raw]], Mapping[str, str] | None]
"""(choice, values of the command line by key) -> settings by dotted key; None where the choice is no shorthand."""


class Leaf(NamedTuple):
    """Value of one dotted key, with its origin.

    Attributes:
        key: dotted key, such as ``optim.lr``.
        value: untyped value.
        origin: source of the value, such as ``command line`` or ``recipe/paper.yaml, line 3``.
    """

    key: str
    value: Raw
    origin: str

    def __str__(self) -> str:
        return f"{cut(self.key)}={cut(self.value)} ({self.origin})"


def group_names(selector: str) -> list[str]:
    """Return the names that a selector chooses from: group files, and for ``data`` the registered datasets."""
    return known_datasets() if selector == "data" else sorted(path.stem for path in (GROUPS / selector).glob("*.yaml"))


def arguments(argv: Sequence[str], paths: str, problems: Problems) -> Iterator[Leaf]:
    """Yield the arguments as leaves, each key once.

    Arguments without ``=`` fill the keys named in ``paths`` (words) in turn; the last key takes all the others.
    """
    leaves, free = list[Leaf](), list[Raw]()
    for argument in argv:
        match = ASSIGNMENT.fullmatch(argument)
        if argument.startswith("-"):
            problems.add(f"{cut(argument)}: settings are written key=value, without dashes")
        elif match:  # a keyword of Python, such as `as`, cannot name a field: the field's name ends in an underscore
            leaves.append(Leaf(f"{match[1]}_" if iskeyword(match[1]) else match[1], match[2], COMMAND_LINE))
        elif paths:
            free.append(argument)
        else:
            problems.add(f"{cut(argument)}: expected key=value; this verb takes no path")
    *firsts, last = paths.split() or [""]
    rest = free[len(firsts) :]
    leaves += [Leaf(key, value, COMMAND_LINE) for key, value in zip(firsts, free, strict=False)]
    leaves += [Leaf(last, rest[0] if len(rest) == 1 else rest, COMMAND_LINE)] if rest else []
    return _once(leaves, problems)


def _once(leaves: Iterable[Leaf], problems: Problems) -> Iterator[Leaf]:
    """Yield the first leaf of each key; another is a problem, since one of the two values would be lost."""
    seen: dict[str, Leaf] = {}
    for leaf in leaves:
        if leaf.key in seen:
            problems.add(f"{leaf}: {cut(leaf.key)} is given twice, before as {seen[leaf.key]}")
        else:
            seen[leaf.key] = leaf
            yield leaf


def group_leaves(leaf: Leaf, shorthand: Shorthand | None, typed: Mapping[str, Raw], problems: Problems) -> list[Leaf]:
    """Return the leaves of the group file that a selector chooses: a shipped name, or the path of a ``.yaml`` file.

    Args:
        leaf: the selector's leaf.
        shorthand: shorthand of the selector's field; None without one.
        typed: values of the command line, by key.
        problems: gets the faults of the choice and its file.
    """
    choice = str(leaf.value)
    short = shorthand(choice, typed) if shorthand else None
    if short is not None:
        return [Leaf(key, value, f"{leaf.key}={choice}") for key, value in short.items()]
    known = group_names(leaf.key)
    if choice in known and leaf.key == "data":
        return [Leaf("data.name", choice, f"data={choice}")]
    if choice in known:
        name = f"{leaf.key}/{choice}.yaml"
        return file_leaves(GROUPS / name, name, problems)
    if choice.endswith(".yaml"):
        return file_leaves(Path(choice), choice, problems)
    near = get_close_matches(choice, known, n=1)
    meant = f", did you mean {leaf.key}={near[0]}?" if near else "."
    own = "; a dataset of your own is registered as docs/DATASETS.md says" if leaf.key == "data" else ""
    problems.add(f"{leaf}: unknown{meant} Known: {', '.join(known)}; or the path of a .yaml file{own}")
    return []


def file_leaves(path: Path, name: str, problems: Problems) -> list[Leaf]:
    """Return every value in a YAML file as text, with its line; an unreadable file is a problem.

    OmegaConf reads YAML too, but guesses types and forgets lines.
    """
    try:
        root = compose(read_text(path, ConfigError, most=MOST_YAML), name, ConfigError, aliases=False)
    except ConfigError as problem:
        problems.add(str(problem).replace(f"{path}: ", f"{name}: ", 1))
        return []
    if isinstance(root, yaml.MappingNode):
        return list(_once(_walk(root, "", name), problems))
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
