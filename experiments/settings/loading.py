"""Loading of a typed config from group files and ``key=value`` arguments, all problems in one message.

A config is a tree of dataclasses. Its values come from, in this order, later ones winning: the dataclass's defaults,
the group files of the selectors (``data=``, ``model=``, ``recipe=``, ``protocol=``), the command line. pydantic
converts and checks each value, OmegaConf merges them into the tree, and ``clashes()`` of a dataclass checks
combinations, ``missing_files()`` what a training that begins will read. Checks that import torch or somebody's package
(``costly_clashes()``) follow where all that is in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from keyword import iskeyword
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_origin, get_type_hints

from data_modules.registry import DatasetImportError, known_datasets, source_config
from experiments.settings.hints import RETIRED, unknown_key
from experiments.settings.leaves import Leaf, Raw, file_leaves, gathered, once
from fer_id.errors import ConfigError, Problems, cut
from fer_id.settings import converted

T = TypeVar("T")

GROUPS = Path(__file__).parents[1] / "configs"
COMMAND_LINE = "command line"
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)=(.*)", re.DOTALL)

Shorthand = Callable[[str, Mapping[str, Raw]], Mapping[str, str] | None]
"""(choice, values of the command line by key) -> settings by dotted key; None where the choice is no shorthand."""


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
    of_data: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Metadata of a field that holds a section: the field's own name becomes a selector, as in ``model=resnet50``.

    ``default`` is the group file where the command line chooses none (empty: the user must choose), ``of_data`` that of
    single datasets; ``variant`` returns
    the section's dataclass for a value of its key ``name``, where it depends on the name; see :data:`Shorthand`.
    """
    return {"selector": default, "variant": variant, "shorthand": shorthand, "of_data": of_data or {}}


def load(schema: type[T], argv: Sequence[str], paths: str = "") -> T:
    """Return the config of a verb's arguments: ``key=value`` in any order, and paths, which fill the keys named in
    ``paths`` (words). ``schema`` is a dataclass with a default for every field.

    Raises:
        ConfigError: all problems: syntax, unknown keys and groups, types, limits, combinations.
    """
    problems, leaves, made = Problems("settings"), list[Leaf](), cast("Any", schema())
    typed = {leaf.key: leaf for leaf in _with_rest(made, list(_arguments(argv, paths, problems)))}
    values = {leaf.key: leaf.value for leaf in typed.values()}
    for field in fields(made):
        if "selector" not in field.metadata:
            continue
        default = field.metadata.get("of_data", {}).get(values.get("data"), field.metadata["selector"])
        choice = typed.pop(field.name, Leaf(field.name, default, "default"))
        if choice.value:
            chosen = _group_leaves(choice, field.metadata.get("shorthand"), values, problems)
            leaves += chosen if field.metadata.get("variant") else _without_raw(chosen)
        elif f"{field.name}.name" not in values:
            names = ", ".join(group_names(field.name))
            problems.add(f"{field.name}: nothing chosen; say {field.name}=NAME, NAME one of {names}")
        if choice.value and field.default is not MISSING:  # a plain key, which records the choice
            leaves.append(choice)
    hint = "add --help to see every key with its default and limits"
    config = _resolve(schema, [*leaves, *typed.values()], problems, hint, ("clashes", "missing_files"))
    _add_clashes(config, "costly_clashes", problems)
    problems.raise_if_any(ConfigError, hint)
    return config


def read(schema: type[T], path: Path) -> T:
    """Return the config in a YAML file, such as a run's ``config.yaml``, without keys that only earlier versions had;
    raise ConfigError with all problems."""
    problems = Problems(str(path))
    hint = "Where nobody changed the file, another version of fer_id made it: judge that run with that version."
    leaves = file_leaves(path, path.name, problems)
    if not leaves:
        problems.raise_if_any(ConfigError, hint)
    return _resolve(schema, [leaf for leaf in leaves if leaf.key not in RETIRED], problems, hint)


def plain(config: Any) -> Any:
    """Convert a config, or a value in one, to dicts, lists and scalars for YAML and JSON, which :func:`read` reads."""
    if is_dataclass(config):
        return {field.name: plain(getattr(config, field.name)) for field in fields(config)}
    return [plain(value) for value in config] if isinstance(config, list | tuple) else config


def usual(config: Any) -> Any:
    """Return the default of every setting of a configuration as plain values."""
    return plain(type(config)())


def part_of(schema: type[T], config: Any) -> T:
    """Return the settings of a base class of a configuration's class, without those that the derived class adds."""
    return schema(**{field.name: getattr(config, field.name) for field in fields(cast("Any", schema))})


def sections(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a config and every section in it, outer ones first, each after the prefix of its keys."""
    yield prefix, config
    for field in fields(config):
        if is_dataclass(value := getattr(config, field.name)):
            yield from sections(value, f"{prefix}{field.name}.")


def settings(config: Any) -> Iterator[Setting]:
    """Yield every key of a config (an instance) with its type, value and limits, a section's own keys first."""
    for prefix, section in sections(config):
        hints = get_type_hints(type(section))
        for field in fields(section):
            if not is_dataclass(value := getattr(section, field.name)):
                yield Setting(prefix + field.name, hints[field.name], value, field.metadata)


def template(schema: Any, names: Mapping[str, str]) -> Any:
    """Return the config with its defaults, each section with variants as the class of its name in ``names``; raise
    ConfigError where a section has no variant of that name."""
    config = schema()
    for field in fields(schema):
        if field.name in names and (variant := field.metadata.get("variant")):
            setattr(config, field.name, variant(names[field.name])())
    return config


def group_names(selector: str) -> list[str]:
    """Return the names that a selector chooses from: group files, and for ``data`` the registered datasets too."""
    files = {path.stem for path in (GROUPS / selector).glob("*.yaml")}
    return sorted({*files, *known_datasets()} if selector == "data" else files)


def dataset_of(choice: str) -> str:
    """Return the dataset that a value of ``data=`` stands for, itself or named in its file, or raise ConfigError."""
    problems = Problems("settings")
    leaf = Leaf("data", choice, COMMAND_LINE)
    leaves = [] if choice in known_datasets() else _group_leaves(leaf, None, {}, problems)
    problems.raise_if_any(ConfigError)
    return next((str(leaf.value) for leaf in leaves if leaf.key == "data.name"), choice)


def _arguments(argv: Sequence[str], paths: str, problems: Problems) -> Iterator[Leaf]:
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
    return once(leaves, problems)


def _with_rest(config: Any, typed: list[Leaf]) -> list[Leaf]:
    """Move the leaves of unknown keys, as text, to the config's field for the rest, where it has one."""
    rest = [field.name for field in fields(config) if field.metadata.get("rest")]
    known = {setting.key for setting in settings(config)}.difference(rest)
    others: list[Raw] = [f"{leaf.key.rstrip('_')}={leaf.value}" for leaf in typed if leaf.key not in known]
    if not rest or not others:
        return typed
    return [*(leaf for leaf in typed if leaf.key in known), Leaf(rest[0], others, COMMAND_LINE)]


def _group_leaves(leaf: Leaf, shorthand: Shorthand | None, typed: Mapping[str, Raw], problems: Problems) -> list[Leaf]:
    """Return the leaves of the group that a selector chooses: a shipped name, the path of a ``.yaml`` file, or a
    shorthand, which may depend on the values ``typed`` on the command line."""
    choice, known, shipped = str(leaf.value), group_names(leaf.key), f"{leaf.key}/{leaf.value}.yaml"
    short = shorthand(choice, typed) if shorthand else None
    if leaf.key == "data" and choice in known_datasets():
        short = {"data.name": choice}
    if short is not None:
        return [Leaf(key, value, f"{leaf.key}={choice}") for key, value in short.items()]
    if choice in known:
        return file_leaves(GROUPS / shipped, shipped, problems)
    if choice.endswith(".yaml"):
        return file_leaves(Path(choice), choice, problems)
    near = get_close_matches(choice, known, n=1)
    meant = f", did you mean {leaf.key}={near[0]}?" if near else "."
    own = {
        "data": "; a dataset of your own is a .yaml file or registered, as docs/DATASETS.md says",
        "model": "; or timm:NAME, NAME any backbone of timm (docs/TIMM.md)",
    }
    problems.add(
        f"{leaf}: unknown{meant} Known: {', '.join(known)}; or the path of a .yaml file{own.get(leaf.key, '')}"
    )
    return []


def _without_raw(leaves: list[Leaf]) -> list[Leaf]:
    """Return the leaves of a group without those of raw data, which a file of ``data=`` has for ``prepare`` alone."""
    name = next((str(leaf.value) for leaf in leaves if leaf.key == "data.name"), "")
    if len(leaves) == 1 or name not in known_datasets():  # first, since the settings of a dataset import torch
        return leaves
    raw = {f"data.{field.name}" for field in fields(source_config(name))} - {"data.name", "data.label_space"}
    return [leaf for leaf in leaves if ".".join(leaf.key.split(".")[:2]) not in raw]


def _resolve(
    schema: type[T], leaves: Sequence[Leaf], problems: Problems, hint: str, checks: Sequence[str] = ("clashes",)
) -> T:
    """Return the config with the values of all leaves, later ones winning; ``checks`` are methods of its sections."""
    from omegaconf import OmegaConf  # here, since `fer-id --help` loads no config

    names = {leaf.key.removesuffix(".name"): str(leaf.value) for leaf in leaves if leaf.key.endswith(".name")}
    unknown: tuple[str, ...] = ()
    broken: ConfigError | None = None
    try:
        defaults = template(schema, names)
    except ConfigError as error:
        problems.add(str(error))
        broken = error
        defaults, unknown = schema(), tuple(f"{section}." for section in names)  # whose keys nobody knows
    known = {setting.key: setting for setting in settings(defaults)}
    leaves = gathered(leaves, [key for key, setting in known.items() if get_origin(setting.hint) is dict])
    tree, failed, listed = OmegaConf.structured(defaults), set[str](), list[str]()
    for leaf in leaves:
        if leaf.key in known and not leaf.key.startswith(unknown):
            try:
                OmegaConf.update(tree, leaf.key, _value(leaf, known[leaf.key]), merge=False)
                continue
            except ValueError as error:
                problems.add(f"{leaf}: {error}")
        elif not leaf.key.startswith(unknown):
            problems.add(f"{leaf}: {unknown_key(leaf.key, known, listed)}", kind="unknown key")
        failed.add(leaf.key)
    for key, setting in known.items():
        if setting.metadata.get("required") and key not in failed and not OmegaConf.select(tree, key):
            problems.add(f"{key} is required ({setting.metadata['help']}): say {key}=...")
            failed.add(key)
    config: Any = OmegaConf.to_object(tree)
    for check in checks:
        _add_clashes(config, check, problems, failed)
    if isinstance(broken, DatasetImportError) and len(problems) == 1:
        raise broken  # with its own heading: nothing is wrong with the settings
    problems.raise_if_any(ConfigError, hint)
    return config  # type: ignore[no-any-return]  # OmegaConf made it of the template's class


def _add_clashes(config: Any, method: str, problems: Problems, failed: Set[str] = frozenset()) -> None:
    """Add the clashes that a method of each section yields, except of keys that ``failed`` already."""
    for prefix, section in sections(config):
        for clash in getattr(section, method, tuple)():
            keys = [prefix + key for key in clash.keys]
            if failed.isdisjoint(keys):
                problems.add(f"{', '.join(keys)}: {clash.message}")


def _value(leaf: Leaf, setting: Setting) -> Any:
    """Return the value of a leaf as the type of its setting, else raise ValueError."""
    if "${" in str(leaf.value) or "???" in str(leaf.value):  # a config must not read the environment
        raise ValueError("${...} and ??? are not filled in here; write the value itself")
    return converted(leaf.value, setting.hint, setting.metadata)
