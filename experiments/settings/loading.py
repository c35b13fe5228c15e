"""Loading of a typed config from group files and ``key=value`` arguments, all problems in one message.

A config is a tree of dataclasses. Its values come from, in this order, later ones winning: the dataclass's defaults,
the group files of the selectors (``data=``, ``model=``, ``recipe=``, ``protocol=``), the command line. OmegaConf types
the tree and converts each value; values are set one by one, since OmegaConf stops at its first error, without origin.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
    """One key of a config.

    Attributes:
        key: dotted key.
        hint: annotated type.
        default: default value.
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
    problems = Problems("settings")
    made: Any = schema()
    typed = _with_rest(made, list(arguments(argv, paths, problems)))
    chosen = {leaf.key: leaf for leaf in typed}
    selectors = {field.name: field for field in dataclasses.fields(made) if "selector" in field.metadata}
    values = {leaf.key: leaf.value for leaf in typed}
    leaves: list[Leaf] = []
    for name, field in selectors.items():
        leaf = chosen.get(name) or Leaf(name, field.metadata["selector"], "default")
        if leaf.value:
            leaves += group_leaves(leaf, field.metadata.get("shorthand"), values, problems)
        elif f"{name}.name" not in chosen:
            problems.add(f"{name}: nothing chosen; say {name}=NAME, NAME one of {', '.join(group_names(name))}")
        if leaf.value and "variant" not in field.metadata:
            leaves.append(leaf)  # not a section but a plain key, which records the choice
    leaves += [leaf for leaf in typed if leaf.key not in selectors]
    return _resolve(schema, leaves, problems, "add --help to see every key with its default and limits")


def _with_rest(made: Any, typed: list[Leaf]) -> list[Leaf]:
    """Move the leaves of unknown keys, as text, to the schema's field for the rest, where it has one."""
    rest = next((field.name for field in dataclasses.fields(made) if field.metadata.get("rest")), None)
    if rest is None:
        return typed
    known = {setting.key for setting in settings(made)} - {rest}
    others: list[Raw] = [f"{leaf.key.rstrip('_')}={leaf.value}" for leaf in typed if leaf.key not in known]
    return [*(leaf for leaf in typed if leaf.key in known), *([Leaf(rest, others, COMMAND_LINE)] if others else [])]


def read(schema: type[T], path: Path) -> T:
    """Return the config in a YAML file, such as a run's ``config.yaml``.

    Raises:
        ConfigError: all problems of the file.
    """
    problems = Problems(str(path))
    hint = "Where nobody changed the file, another version of fer_id made it: judge that run with that version."
    leaves = file_leaves(path, path.name, problems)
    if not leaves:
        problems.raise_if_any(ConfigError, hint)
    retired = _retired(schema)
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
    """Return the default of every setting of a configuration as plain values, with the defaults of its dataset."""
    sections = {}
    for field in dataclasses.fields(config):
        kind: Any = type(getattr(config, field.name))
        if dataclasses.is_dataclass(kind):
            sections[field.name] = kind()  # type: ignore[operator]  # mypy takes it for an instance
    made: dict[str, Any] = plain(dataclasses.replace(type(config)(), **sections))
    return made


def to_yaml(config: Any) -> str:
    """Return the config as the text of a YAML file, in the order of its dataclasses."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.structured(config))


def settings(config: Any, prefix: str = "") -> Iterator[Setting]:
    """Yield every key of a config (an instance), sections in order, with its type, value and limits."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings(value, f"{prefix}{field.name}.")
        else:
            yield Setting(prefix + field.name, hints[field.name], value, field.metadata)


def defaults(schema: type[T], names: Mapping[str, str], problems: Problems | None = None) -> tuple[T, set[str]]:
    """Return the config with its defaults, each variant section as the class of its name.

    Args:
        schema: the dataclass.
        names: value of ``<section>.name`` for the sections with variants.
        problems: gets unknown names; None: an unknown name is raised.

    Returns:
        the config, and the sections of unknown name (they hold the base class).
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
    """Return the config with the values of all leaves, later ones winning."""
    from omegaconf import OmegaConf  # here, since `fer-id --help` loads no config

    names = {leaf.key.removesuffix(".name"): str(leaf.value) for leaf in leaves if leaf.key.endswith(".name")}
    template, unknown = defaults(schema, names, problems)
    known = {setting.key: setting for setting in settings(template)}
    tree = OmegaConf.structured(template)
    failed, sections = {f"{name}.name" for name in unknown}, list[str]()
    for leaf in leaves:
        if leaf.key not in known and leaf.key.split(".")[0] in unknown:
            continue  # the keys of a section of unknown name are unknown
        if leaf.key not in known:
            moved = leaf.key in _retired(schema)
            fault = "unknown key; fer-id prepare takes it" if moved else _unknown(leaf.key, known, sections)
            problems.add(f"{leaf}: {fault}", kind="unknown key")
            failed.add(leaf.key)
            continue
        try:
            _accept(leaf, known, tree)
        except ValueError as error:
            problems.add(f"{leaf}: {error}")
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


def _accept(leaf: Leaf, known: Mapping[str, Setting], tree: DictConfig) -> None:
    """Set one leaf in the tree; a refused leaf leaves the default.

    Raises:
        ValueError: wrong type, or outside the limits.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if "${" in str(leaf.value) or "???" in str(leaf.value):  # a config must not read the environment
        raise ValueError("${...} and ??? are not filled in here; write the value itself")
    setting = known[leaf.key]
    try:
        OmegaConf.update(tree, leaf.key, shaped(leaf.value, setting.hint), merge=False)
    except (OmegaConfBaseException, ConfigError):
        raise ValueError(f"expected {expected(setting.hint)}") from None
    node = OmegaConf.select(tree, leaf.key)
    value = OmegaConf.to_object(node) if OmegaConf.is_config(node) else node
    named = "name" not in setting.metadata or (leaf.value != "" and is_name(value, setting.metadata))
    if not within_limits(value, setting.metadata) or not named:
        OmegaConf.update(tree, leaf.key, setting.default, merge=False)
        limits = "" if value == math.inf else limits_text(setting.metadata)  # infinity is never allowed, nor is nan
        raise ValueError(f"expected {limits or expected(setting.hint)}")


def _unknown(key: str, known: Mapping[str, Setting], sections: list[str]) -> str:
    """Return a hint on an unknown key: a similar key, and the keys of its section.

    Args:
        key: the unknown key.
        known: all settings.
        sections: sections of the unknown keys so far, whose keys were listed; the section of ``key`` is added.
    """
    name, section = key.rpartition(".")[2], cut(key.rpartition(".")[0])
    listed = section in sections
    sections.append(section)
    if len(sections) > SHOWN or len(key) > _LONGEST_KEY:
        return "unknown key"
    within = [name for name in known if name.startswith(f"{key}.")]
    if within:
        return f"is a section; set one of its keys: {', '.join(within)}"
    near = get_close_matches(key, known, n=1, cutoff=0.75) or [
        other for other in known if other.rpartition(".")[2] == name
    ]
    keys = "" if listed else f" Known here: {', '.join(_siblings(key, known))}"
    return f"unknown key{f', did you mean {near[0]}?' if near else '.'}{keys}"


def _siblings(key: str, known: Mapping[str, Setting]) -> list[str]:
    """Return the keys of the deepest known section of ``key``; at the top a section is listed as one key."""
    prefix = key.rpartition(".")[0]
    while prefix:
        siblings = [name for name in known if name.startswith(f"{prefix}.")]
        if siblings:
            return siblings
        prefix = prefix.rpartition(".")[0]
    return list(dict.fromkeys(name if "." not in name else name.split(".")[0] + ".*" for name in known))


def _clashes(config: Any, prefix: str = "") -> Iterator[Clash]:
    """Yield the clashes of the sections and of the whole config, with full keys."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _clashes(value, f"{prefix}{field.name}.")
    if hasattr(config, "clashes"):
        for clash in config.clashes():
            yield Clash(tuple(prefix + key for key in clash.keys), clash.message)
