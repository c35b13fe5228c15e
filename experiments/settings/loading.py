"""Loading of a typed config from group files and ``key=value`` arguments, all problems in one message.

A config is a tree of dataclasses. Its values come from, in this order, later ones winning: the dataclass's defaults,
the group files of the selectors (``data=``, ``model=``, ``recipe=``, ``protocol=``), the command line. pydantic
converts and checks each value, OmegaConf merges them into the tree, and ``clashes()`` of a dataclass checks
combinations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

from experiments.settings.sources import (
    COMMAND_LINE,
    Leaf,
    Shorthand,
    arguments,
    file_leaves,
    group_leaves,
    group_names,
)
from fer_id.errors import SHOWN, ConfigError, Problems
from fer_id.settings import Clash, converted

T = TypeVar("T")

_LONGEST_KEY = 200


class Setting(NamedTuple):
    """One key of a config: dotted, with its type, default, and metadata from ``fer_id.settings.setting``."""

    key: str
    hint: Any
    default: Any
    metadata: Mapping[str, Any]


def chosen_by_name(
    default: str = "",
    *,
    variant: Callable[[str], type] | None = None,
    shorthand: Shorthand | None = None,
    retired: Collection[str] = (),
) -> dict[str, Any]:
    """Metadata of a field that holds a section: the field's own name becomes a selector, as in ``model=resnet50``.

    Args:
        default: group file where the command line chooses none; empty: the user must choose.
        variant: returns the section's dataclass for a value of its key ``name``, where it depends on the name.
        shorthand: returns the settings of a choice without a group file, or None where the choice is no shorthand.
        retired: keys that only earlier versions had, now keys of ``fer-id prepare``; :func:`read` skips them.
    """
    return {"selector": default, "variant": variant, "shorthand": shorthand, "retired": retired}


def load(schema: type[T], argv: Sequence[str], paths: str = "") -> T:
    """Return the config of a verb's arguments.

    Args:
        schema: a dataclass with a default for every field.
        argv: ``key=value`` in any order, and paths.
        paths: keys that arguments without ``=`` fill, separated by spaces; empty: the verb takes none.

    Raises:
        ConfigError: all problems: syntax, unknown keys and groups, types, limits, combinations.
    """
    problems, leaves, made = Problems("settings"), list[Leaf](), cast("Any", schema())
    typed = {leaf.key: leaf for leaf in _with_rest(made, list(arguments(argv, paths, problems)))}
    values = {leaf.key: leaf.value for leaf in typed.values()}
    for field in dataclasses.fields(made):
        if "selector" not in field.metadata:
            continue
        choice = typed.pop(field.name, Leaf(field.name, field.metadata["selector"], "default"))
        if choice.value:
            leaves += group_leaves(choice, field.metadata.get("shorthand"), values, problems)
        elif f"{field.name}.name" not in values:
            names = ", ".join(group_names(field.name))
            problems.add(f"{field.name}: nothing chosen; say {field.name}=NAME, NAME one of {names}")
        if choice.value and field.default is not dataclasses.MISSING:  # a plain key, which records the choice
            leaves.append(choice)
    return _resolve(
        schema, [*leaves, *typed.values()], problems, "add --help to see every key with its default and limits"
    )


def _with_rest(config: Any, typed: list[Leaf]) -> list[Leaf]:
    """Move the leaves of unknown keys, as text, to the config's field for the rest, where it has one."""
    rest = [field.name for field in dataclasses.fields(config) if field.metadata.get("rest")]
    known = {setting.key for setting in settings(config)}.difference(rest)
    others: list[Any] = [f"{leaf.key.rstrip('_')}={leaf.value}" for leaf in typed if leaf.key not in known]
    if not rest or not others:
        return typed
    return [*(leaf for leaf in typed if leaf.key in known), Leaf(rest[0], others, COMMAND_LINE)]


def read(schema: type[T], path: Path) -> T:
    """Return the config in a YAML file, such as a run's ``config.yaml``.

    Raises:
        ConfigError: all problems of the file.
    """
    problems, retired = Problems(str(path)), _retired(schema)
    hint = "Where nobody changed the file, another version of fer_id made it: judge that run with that version."
    leaves = file_leaves(path, path.name, problems)
    if not leaves:
        problems.raise_if_any(ConfigError, hint)
    return _resolve(schema, [leaf for leaf in leaves if leaf.key not in retired], problems, hint)


def _retired(schema: Any) -> set[str]:
    """Return the dotted keys that the sections of a schema had in earlier versions."""
    return {f"{field.name}.{key}" for field in dataclasses.fields(schema) for key in field.metadata.get("retired", ())}


def plain(config: Any) -> Any:
    """Convert a config, or a value in one, to dicts, lists and scalars for YAML and JSON, which :func:`read` reads."""
    if dataclasses.is_dataclass(config):
        return {field.name: plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    return [plain(value) for value in config] if isinstance(config, list | tuple) else config


def usual(config: Any) -> dict[str, Any]:
    """Return the default of every setting of a configuration as plain values."""
    made: dict[str, Any] = plain(type(config)())
    return made


def settings(config: Any, prefix: str = "") -> Iterator[Setting]:
    """Yield every key of a config (an instance), sections in order, with its type, value and limits."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings(value, f"{prefix}{field.name}.")
        else:
            yield Setting(prefix + field.name, hints[field.name], value, field.metadata)


def template(schema: Any, names: Mapping[str, str]) -> Any:
    """Return the config with its defaults, each section with variants as the class of its name in ``names``.

    Raises:
        ConfigError: a section has no variant of that name.
    """
    config = schema()
    for field in dataclasses.fields(schema):
        if field.name in names and (variant := field.metadata.get("variant")):
            setattr(config, field.name, variant(names[field.name])())
    return config


def _resolve(schema: type[T], leaves: Sequence[Leaf], problems: Problems, hint: str) -> T:
    """Return the config with the values of all leaves, later ones winning."""
    from omegaconf import OmegaConf  # here, since `fer-id --help` loads no config

    names = {leaf.key.removesuffix(".name"): str(leaf.value) for leaf in leaves if leaf.key.endswith(".name")}
    unknown: tuple[str, ...] = ()
    try:
        defaults = template(schema, names)
    except ConfigError as error:
        problems.add(str(error))
        defaults, unknown = schema(), tuple(f"{section}." for section in names)  # whose keys nobody knows
    known = {setting.key: setting for setting in settings(defaults)}
    tree, failed, sections = OmegaConf.structured(defaults), set[str](), list[str]()
    for leaf in leaves:
        if leaf.key.startswith(unknown):
            failed.add(leaf.key)
        elif leaf.key in known:
            try:
                OmegaConf.update(tree, leaf.key, _value(leaf, known[leaf.key]), merge=False)
            except ValueError as error:
                problems.add(f"{leaf}: {error}")
                failed.add(leaf.key)
        else:
            moved = leaf.key in _retired(schema)
            fault = "unknown key; fer-id prepare takes it" if moved else _unknown(leaf.key, known, sections)
            problems.add(f"{leaf}: {fault}", kind="unknown key")
            failed.add(leaf.key)
    for key, setting in known.items():
        if setting.metadata.get("required") and key not in failed and not OmegaConf.select(tree, key):
            problems.add(f"{key} is required ({setting.metadata['help']}): say {key}=...")
            failed.add(key)
    config: Any = OmegaConf.to_object(tree)
    for clash in _clashes(config):
        if failed.isdisjoint(clash.keys):
            problems.add(f"{', '.join(clash.keys)}: {clash.message}")
    problems.raise_if_any(ConfigError, hint)
    return config  # type: ignore[no-any-return]  # OmegaConf made it of the template's class


def _value(leaf: Leaf, setting: Setting) -> Any:
    """Return the value of a leaf as the type of its setting, else raise ValueError."""
    if "${" in str(leaf.value) or "???" in str(leaf.value):  # a config must not read the environment
        raise ValueError("${...} and ??? are not filled in here; write the value itself")
    return converted(leaf.value, setting.hint, setting.metadata)


def _unknown(key: str, known: Mapping[str, Setting], sections: list[str]) -> str:
    """Return a hint on an unknown key: a similar key, and the keys of its section unless it is among ``sections``.

    ``sections`` are those of the unknown keys so far; the one of ``key`` is added.
    """
    section, _, name = key.rpartition(".")
    listed = section in sections
    sections.append(section)
    if len(sections) > SHOWN or len(key) > _LONGEST_KEY:
        return "unknown key"
    if within := [other for other in known if other.startswith(f"{key}.")]:
        return f"is a section; set one of its keys: {', '.join(within)}"
    near = get_close_matches(key, known, n=1, cutoff=0.75) or [key for key in known if key.rpartition(".")[2] == name]
    while section and not (siblings := [other for other in known if other.startswith(f"{section}.")]):
        section = section.rpartition(".")[0]
    if not section:
        siblings = list(dict.fromkeys(key if "." not in key else f"{key.split('.')[0]}.*" for key in known))
    keys = "" if listed else f" Known here: {', '.join(siblings)}"
    return f"unknown key{f', did you mean {near[0]}?' if near else '.'}{keys}"


def _clashes(config: Any, prefix: str = "") -> Iterator[Clash]:
    """Yield the clashes of the sections and of the whole config, with full keys."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _clashes(value, f"{prefix}{field.name}.")
    if hasattr(config, "clashes"):
        for clash in config.clashes():
            yield Clash(tuple(prefix + key for key in clash.keys), clash.message)
