"""Group files and ``key=value`` arguments -> one typed config, with every problem of all of them in one message.

A config is a tree of dataclasses. It is filled in this order, later ones winning: the dataclass's own defaults, the
group files that the selectors (``data=``, ``model=``, ``recipe=``, ``protocol=``) choose, the command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

import yaml

from experiments.sources import Shorthand, arguments, file_leaves, group_leaves, group_names
from experiments.values import Leaf, convert, texts
from fer_id.errors import ConfigError, Problems
from fer_id.settings import Clash, limits_text, within_limits

T = TypeVar("T")


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
        paths: the key that arguments without ``=`` fill; empty: the verb takes none.

    Raises:
        ConfigError: with every problem: syntax, unknown keys and groups, types, limits, combinations.
    """
    problems = Problems("settings")
    made: Any = schema()
    typed = list(arguments(argv, paths, problems))
    chosen = {leaf.key: leaf for leaf in typed}
    selectors = {one.name: one for one in dataclasses.fields(made) if "selector" in one.metadata}
    leaves: list[Leaf] = []
    for name, field in selectors.items():
        leaf = chosen.get(name) or Leaf(name, field.metadata["selector"], "default")
        if leaf.value:
            leaves += group_leaves(leaf, field.metadata.get("shorthand"), problems)
        elif f"{name}.name" not in chosen:
            problems.add(f"{name}: nothing chosen; say {name}=NAME, NAME one of {', '.join(group_names(name))}")
        if leaf.value and "variant" not in field.metadata:
            leaves.append(leaf)  # not a section but a plain key, which records what was chosen
    leaves += [leaf for leaf in typed if leaf.key not in selectors]
    return _resolve(schema, leaves, problems, "add --help to see every key with its default and limits")


def read(schema: type[T], path: Path) -> T:
    """The config a YAML file holds whole, such as a run's ``config.yaml``.

    Raises:
        ConfigError: with every problem of the file.
    """
    problems = Problems(str(path))
    return _resolve(schema, file_leaves(path, path.name, problems), problems, "")


def plain(config: Any) -> Any:
    """A config, or a value in one, as dicts, lists and scalars, ready for YAML and JSON; :func:`read` takes it back."""
    if dataclasses.is_dataclass(config):
        return {field.name: plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items()}
    return [plain(value) for value in config] if isinstance(config, list | tuple) else config


def to_yaml(config: Any) -> str:
    """The config as the text of a YAML file, in the order of its dataclasses."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)


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
            problems.add(f"{field.name}={names[field.name]}: {error}")
            unknown.add(field.name)
    return config, unknown


def _resolve(schema: type[T], leaves: Sequence[Leaf], problems: Problems, hint: str) -> T:
    """The config with every leaf put in its place, later ones winning."""
    names = {leaf.key.removesuffix(".name"): str(leaf.value) for leaf in leaves if leaf.key.endswith(".name")}
    template, unknown = defaults(schema, names, problems)
    known = {one.key: one for one in settings(template)}
    values: dict[str, Any] = {}
    failed = {f"{name}.name" for name in unknown}
    for leaf in leaves:
        if leaf.key not in known and leaf.key.split(".")[0] in unknown:
            continue  # which keys that section has is not known before its name is
        try:
            values[leaf.key] = _accept(leaf, known)
        except ValueError as error:
            problems.add(f"{leaf}: {error}")
            failed.add(leaf.key)
    for one in known.values():
        if one.metadata.get("required") and one.key not in failed and not values.get(one.key, one.default):
            problems.add(f"{one.key} is required ({one.metadata['help']}): say {one.key}=...")
            failed.add(one.key)
    config = _fill(template, values, problems)
    for clash in _clashes(config):
        if failed.isdisjoint(clash.keys):
            problems.add(f"{', '.join(clash.keys)}: {clash.message}")
    problems.raise_if_any(ConfigError, hint)
    return config


def _accept(leaf: Leaf, known: Mapping[str, Setting]) -> Any:
    """The typed value of one leaf.

    Raises:
        ValueError: an unknown key, a wrong type, out of its limits, or a reference to the environment.
    """
    if leaf.key not in known:
        raise ValueError(_unknown(leaf.key, known))
    if any("${" in text for text in texts(leaf.value)):
        raise ValueError("${...} is not filled in here, so that nothing of the environment gets into a config")
    setting = known[leaf.key]
    value = convert(leaf.value, setting.hint)
    if not within_limits(value, setting.metadata):
        raise ValueError(f"expected {limits_text(setting.metadata)}")
    return value


def _unknown(key: str, known: Mapping[str, Setting]) -> str:
    """What to type instead of an unknown key: the likely one, and those of the section it is in."""
    name = key.rpartition(".")[2]
    within = [one for one in known if one.startswith(f"{key}.")]
    if within:
        return f"is a section; set one of its keys: {', '.join(within)}"
    near = get_close_matches(key, known, n=1, cutoff=0.75) or [one for one in known if one.rpartition(".")[2] == name]
    siblings = _siblings(key, known)
    return f"unknown key{f', did you mean {near[0]}?' if near else '.'} Known here: {', '.join(siblings)}"


def _siblings(key: str, known: Mapping[str, Setting]) -> list[str]:
    """The keys of the deepest section that ``key`` names rightly; for the top, sections are shown as one key."""
    prefix = key.rpartition(".")[0]
    while prefix:
        found = [one for one in known if one.startswith(f"{prefix}.")]
        if found:
            return found
        prefix = prefix.rpartition(".")[0]
    return list(dict.fromkeys(one if "." not in one else one.split(".")[0] + ".*" for one in known))


def _fill(template: T, values: Mapping[str, Any], problems: Problems, prefix: str = "") -> T:
    """The template with values put in; what a dataclass itself refuses becomes a problem."""
    config: Any = template
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        key, old = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(old):
            changes[field.name] = _fill(old, values, problems, f"{key}.")
        elif key in values:
            changes[field.name] = values[key]
    try:
        return dataclasses.replace(config, **changes)  # type: ignore[no-any-return]  # the class of template
    except (ConfigError, ValueError) as error:
        problems.add(f"{prefix.rstrip('.') or 'settings'}: {error}")
        return template


def _clashes(config: Any, prefix: str = "") -> Iterator[Clash]:
    """What the sections and the whole say about combinations, with full keys."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _clashes(value, f"{prefix}{field.name}.")
    if hasattr(config, "clashes"):
        for clash in config.clashes():
            yield Clash(tuple(prefix + key for key in clash.keys), clash.message)
