"""Group files and ``key=value`` arguments -> one typed config, with every problem of all of them in one message.

A config is a tree of dataclasses. It is filled in this order, later ones winning: the dataclass's own defaults, the
group files that the selectors (``data=``, ``model=``, ``recipe=``, ``protocol=``) choose, the command line. OmegaConf
types the tree and converts each value; we set them one by one, because it stops at its first error and tells no origin.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_type_hints

from experiments.settings.sources import (
    COMMAND_LINE,
    Leaf,
    Shorthand,
    arguments,
    file_leaves,
    group_leaves,
    group_names,
)
from experiments.settings.values import Raw, expected, shaped
from fer_id.errors import SHOWN, ConfigError, Problems, cut
from fer_id.settings import Clash, is_name, limits_text, within_limits

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")

_LONGEST_KEY = 200


class Setting(NamedTuple):
    """One key that can be set.

    Attributes:
        key: dotted.
        hint: its annotated type.
        default: what it is where nobody sets it.
        metadata: help and limits, see ``fer_id.settings.setting``.
    """

    key: str
    hint: Any
    default: Any
    metadata: Mapping[str, Any]


def chosen_by_name(
    default: str = "",
    *,
    variant: Callable[[str], type] | None = None,
    shorthand: Shorthand | None = None,
) -> dict[str, Any]:
    """Metadata of a field that holds a section: the field's own name becomes a selector, as in ``model=resnet50``.

    Args:
        default: the group file where the command line chooses none; empty: none, and the user must say.
        variant: the dataclass that holds for a value of the section's key ``name``, where they differ by name.
        shorthand: the settings that a choice without a group file stands for, or None where it stands for none.
    """
    return {"selector": default, "variant": variant, "shorthand": shorthand}


def load(schema: type[T], argv: Sequence[str], paths: str = "") -> T:
    """The config that the arguments of one verb describe.

    Args:
        schema: a dataclass that can be made without arguments.
        argv: ``key=value`` in any order, and paths.
        paths: the keys that arguments without ``=`` fill, with spaces between; empty: the verb takes none.

    Raises:
        ConfigError: with every problem: syntax, unknown keys and groups, types, limits, combinations.
    """
    problems = Problems("settings")
    made: Any = schema()
    typed = list(arguments(argv, paths, problems))
    typed = _kept(made, typed)
    chosen = {leaf.key: leaf for leaf in typed}
    selectors = {one.name: one for one in dataclasses.fields(made) if "selector" in one.metadata}
    values = {leaf.key: leaf.value for leaf in typed}
    leaves: list[Leaf] = []
    for name, field in selectors.items():
        leaf = chosen.get(name) or Leaf(name, field.metadata["selector"], "default")
        if leaf.value:
            leaves += group_leaves(leaf, field.metadata.get("shorthand"), values, problems)
        elif f"{name}.name" not in chosen:
            problems.add(f"{name}: nothing chosen; say {name}=NAME, NAME one of {', '.join(group_names(name))}")
        if leaf.value and "variant" not in field.metadata:
            leaves.append(leaf)  # not a section but a plain key, which records what was chosen
    leaves += [leaf for leaf in typed if leaf.key not in selectors]
    return _resolve(schema, leaves, problems, "add --help to see every key with its default and limits")


def _kept(made: Any, typed: list[Leaf]) -> list[Leaf]:
    """The leaves, those of unknown keys as texts in the field that takes them, where the schema has one."""
    rest = next((one.name for one in dataclasses.fields(made) if one.metadata.get("rest")), None)
    if rest is None:
        return typed
    known = {one.key for one in settings(made)} - {rest}
    others: list[Raw] = [f"{leaf.key.rstrip('_')}={leaf.value}" for leaf in typed if leaf.key not in known]
    return [*(leaf for leaf in typed if leaf.key in known), *([Leaf(rest, others, COMMAND_LINE)] if others else [])]


def read(schema: type[T], path: Path) -> T:
    """The config a YAML file holds whole, such as a run's ``config.yaml``.

    Raises:
        ConfigError: with every problem of the file.
    """
    problems = Problems(str(path))
    hint = "Where nobody changed the file, another version of fer_id made it: judge that run with that version."
    leaves = file_leaves(path, path.name, problems)
    if not leaves:
        problems.raise_if_any(ConfigError, hint)
    return _resolve(schema, leaves, problems, hint)


def plain(config: Any) -> Any:
    """A config, or a value in one, as dicts, lists and scalars, ready for YAML and JSON; :func:`read` takes it back."""
    if dataclasses.is_dataclass(config):
        return {field.name: plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    return [plain(value) for value in config] if isinstance(config, list | tuple) else config


def usual(config: Any) -> dict[str, Any]:
    """The defaults of every setting that a configuration has, as plain values; those of its own dataset, among them."""
    sections = {}
    for field in dataclasses.fields(config):
        kind: Any = type(getattr(config, field.name))
        if dataclasses.is_dataclass(kind):
            sections[field.name] = kind()  # type: ignore[operator]  # mypy takes it for an instance
    made: dict[str, Any] = plain(dataclasses.replace(type(config)(), **sections))
    return made


def to_yaml(config: Any) -> str:
    """The config as the text of a YAML file, in the order of its dataclasses."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.structured(config))


def settings(config: Any, prefix: str = "") -> Iterator[Setting]:
    """Every key of a config (an instance), sections in order, with its type, value and limits."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings(value, f"{prefix}{field.name}.")
        else:
            yield Setting(prefix + field.name, hints[field.name], value, field.metadata)


def defaults(schema: type[T], names: Mapping[str, str], problems: Problems | None = None) -> tuple[T, set[str]]:
    """The config before anything is set, each variant section as the class its name asks for.

    Args:
        schema: the dataclass.
        names: the value of ``<section>.name`` for the sections that have variants.
        problems: where an unknown name is noted; None raises it.

    Returns:
        the config, and the sections whose name is unknown (they hold the base class).
    """
    config: Any = schema()
    unknown: set[str] = set()
    for field in dataclasses.fields(config):
        variant = field.metadata.get("variant")
        if variant is None or field.name not in names:
            continue
        try:
            config = dataclasses.replace(config, **{field.name: variant(names[field.name])()})
        except ConfigError as error:
            if problems is None:
                raise
            problems.add(f"{field.name}={cut(names[field.name])}: {error}")
            unknown.add(field.name)
    return config, unknown


def _resolve(schema: type[T], leaves: Sequence[Leaf], problems: Problems, hint: str) -> T:
    """The config with every leaf put in its place, later ones winning."""
    from omegaconf import OmegaConf  # not at import time: `fer-id --help` loads no config

    names = {leaf.key.removesuffix(".name"): str(leaf.value) for leaf in leaves if leaf.key.endswith(".name")}
    template, unknown = defaults(schema, names, problems)
    known = {one.key: one for one in settings(template)}
    tree = OmegaConf.structured(template)
    failed, sections = {f"{name}.name" for name in unknown}, list[str]()
    for leaf in leaves:
        if leaf.key not in known and leaf.key.split(".")[0] in unknown:
            continue  # which keys that section has is not known before its name is
        if leaf.key not in known:
            problems.add(f"{leaf}: {_unknown(leaf.key, known, sections)}", kind="unknown key")
            failed.add(leaf.key)
            continue
        try:
            _accept(leaf, known, tree)
        except ValueError as error:
            problems.add(f"{leaf}: {error}")
            failed.add(leaf.key)
    for one in known.values():
        if one.metadata.get("required") and one.key not in failed and not OmegaConf.select(tree, one.key):
            problems.add(f"{one.key} is required ({one.metadata['help']}): say {one.key}=...")
            failed.add(one.key)
    config: Any = OmegaConf.to_object(tree)
    for clash in _clashes(config):
        if failed.isdisjoint(clash.keys):
            problems.add(f"{', '.join(clash.keys)}: {clash.message}")
    problems.raise_if_any(ConfigError, hint)
    return config  # type: ignore[no-any-return]  # OmegaConf made it of the template's class


def _accept(leaf: Leaf, known: Mapping[str, Setting], tree: DictConfig) -> None:
    """Puts one leaf into the tree; one that is refused leaves the default there.

    Raises:
        ValueError: a wrong type, or out of its limits.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if "${" in str(leaf.value) or "???" in str(leaf.value):  # a config must not take anything from the environment
        raise ValueError("${...} and ??? are not filled in here; write the value itself")
    one = known[leaf.key]
    try:
        OmegaConf.update(tree, leaf.key, shaped(leaf.value, one.hint), merge=False)
    except (OmegaConfBaseException, ConfigError):
        raise ValueError(f"expected {expected(one.hint)}") from None
    found = OmegaConf.select(tree, leaf.key)
    value = OmegaConf.to_object(found) if OmegaConf.is_config(found) else found
    named = "name" not in one.metadata or (leaf.value != "" and is_name(value, one.metadata))
    if not within_limits(value, one.metadata) or not named:
        OmegaConf.update(tree, leaf.key, one.default, merge=False)
        limits = "" if value == math.inf else limits_text(one.metadata)  # infinity is never allowed, nor is nan
        raise ValueError(f"expected {limits or expected(one.hint)}")


def _unknown(key: str, known: Mapping[str, Setting], sections: list[str]) -> str:
    """What to type instead of an unknown key: the likely one, and those of the section it is in.

    Args:
        key: the key.
        known: all settings.
        sections: those whose keys were listed before, once for each unknown key; this one's is added.
    """
    name, section = key.rpartition(".")[2], cut(key.rpartition(".")[0])
    listed = section in sections
    sections.append(section)
    if len(sections) > SHOWN or len(key) > _LONGEST_KEY:
        return "unknown key"
    within = [one for one in known if one.startswith(f"{key}.")]
    if within:
        return f"is a section; set one of its keys: {', '.join(within)}"
    near = get_close_matches(key, known, n=1, cutoff=0.75) or [one for one in known if one.rpartition(".")[2] == name]
    keys = "" if listed else f" Known here: {', '.join(_siblings(key, known))}"
    return f"unknown key{f', did you mean {near[0]}?' if near else '.'}{keys}"


def _siblings(key: str, known: Mapping[str, Setting]) -> list[str]:
    """The keys of the deepest section that ``key`` names rightly; for the top, sections are shown as one key."""
    prefix = key.rpartition(".")[0]
    while prefix:
        found = [one for one in known if one.startswith(f"{prefix}.")]
        if found:
            return found
        prefix = prefix.rpartition(".")[0]
    return list(dict.fromkeys(one if "." not in one else one.split(".")[0] + ".*" for one in known))


def _clashes(config: Any, prefix: str = "") -> Iterator[Clash]:
    """What the sections and the whole say about combinations, with full keys."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _clashes(value, f"{prefix}{field.name}.")
    if hasattr(config, "clashes"):
        for clash in config.clashes():
            yield Clash(tuple(prefix + key for key in clash.keys), clash.message)
