"""Settings as dataclass fields with help text and limits; pydantic converts values to their types and checks limits.

YAML guesses types from text: ``1042`` becomes a number and ``off`` a boolean. Here a value is text until pydantic
converts it to the type of its field.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, fields
from functools import cache, partial
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from fer_id.csv_text import is_formula
from fer_id.errors import ConfigError
from fer_id.inputs import is_file_name
from fer_id.yaml_text import compose

T = TypeVar("T")

_WORDS = {str: "a single text", int: "a whole number", float: "a number such as 0.01 or 1e-4", bool: "true or false"}
_LIMITS = {"min": ("ge", "at least"), "above": ("gt", "above"), "max": ("le", "at most"), "below": ("lt", "below")}
"""Limits -> pydantic's names, and words. A field has its own names, or pydantic would compare a list with a number."""

_OF_LIMITS = ("value_error", "greater_than", "greater_than_equal", "less_than", "less_than_equal")
"""pydantic's errors for a value of the right type."""

WORD, PATH = "a name without / \\ # ? % :", "a name such as study/run"
"""Kinds of a setting that is a name: one word, or words separated by slashes."""

SELECTOR, REST = "selector", "rest"
"""Kinds of a setting: a value that chooses a group of settings of the setting's own name; a list that takes every
``key=value`` of the command line whose key the config does not know."""

MOST_BYTES = 200
"""Bytes of a word of a name in UTF-8; disks take 255."""

RESERVED = ("folds", "crossfit", "on", "checkpoints", "figures", "wandb")
"""Folders in a run, which are no valid names of runs or studies; a trial of a sweep is ``study/folds/FOLD/TRIAL``."""


class Clash(NamedTuple):
    """Conflict between settings, which a config dataclass reports from its method ``clashes()``: the settings involved
    (dotted, relative to that dataclass), and the problem with its remedy."""

    keys: tuple[str, ...]
    message: str


def setting(
    default: T,
    help: str = "",
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] | None = None,
    required: bool = False,
    kind: str = "",
) -> T:
    """Return a dataclass field with its help text and limits; a mutable default is copied for each instance.

    Args:
        default, help: the default value; its meaning and unit, one line of ``fer-id VERB --help``.
        min, max, above, below: inclusive and exclusive limits, of a list for every item; ``choices``: allowed values.
        required: an empty value is an error.
        kind: :data:`WORD` or :data:`PATH` where the value names a run, a group, a tag; :data:`SELECTOR`, whose default
            chooses the default group; :data:`REST`; empty: any value.
    """
    limits = {"min": min, "above": above, "max": max, "below": below, "choices": choices and tuple(choices)}
    kinds = {"name" if kind in (WORD, PATH) else kind: default if kind == SELECTOR else kind} if kind else {}
    metadata = {name: limit for name, limit in limits.items() if limit is not None} | kinds
    metadata |= {"help": help, "required": required}
    made: Any = (
        field(default_factory=partial(copy.deepcopy, default), metadata=metadata)
        if isinstance(default, list | dict)
        else field(default=default, metadata=metadata)
    )
    return made  # type: ignore[no-any-return]  # as dataclasses.field itself is typed


def is_name(text: str, kind: str) -> bool:
    """Return whether a text is a name of the kind :data:`WORD` or :data:`PATH`.

    Such a name becomes a folder, a cell of a table, a line on a terminal and a name in W&B.
    """
    words = text.split("/")
    separated = kind == WORD and set(text) & set("/\\#?%:")
    return not (separated or any(word.casefold() in RESERVED for word in words[-2:])) and all(
        is_file_name(word)
        and word.strip() == word
        and len(word.encode(errors="replace")) <= MOST_BYTES
        and "\\" not in word
        and not word.startswith((".", "-"))  # a leading - would be read as an option
        and not is_formula(word)
        for word in words
    )


def converted(value: object, hint: Any, metadata: Mapping[str, object], *, strict: bool = False) -> Any:
    """Return a value as the type of its setting; raise ValueError with what is expected for one of another type, or
    outside the limits in ``metadata``, which are those that :func:`setting` makes.

    Args:
        value: of the type, or text, or a list of text. ``null`` is None, and so is empty text where no text is due.
            For a list, text in brackets is parsed, and other text is the only item: ``data.store=data/fer2013``; for a
            dict, text in braces is.
        hint: str, int, float, bool, Literal, a list, tuple or dict of these, or one of all these ``| None``.
        strict: ``value`` is of the type already; text is not converted, nor bool to int.
    """
    from pydantic import ValidationError

    try:
        return _adapter(hint, frozenset(metadata.items()), strict).validate_python(value, strict=strict)
    except ValidationError as error:
        limited = any(fault["type"] in _OF_LIMITS for fault in error.errors())
        raise ValueError(f"expected {(limited and limits_text(metadata)) or expected(hint)}") from None


def faults(config: Any) -> Iterator[tuple[str, str]]:
    """Yield each field of a configuration whose value is not allowed, with the value and what is expected."""
    hints = get_type_hints(type(config))
    for entry in fields(config):
        value = getattr(config, entry.name)
        try:
            converted(value, hints[entry.name], entry.metadata)
        except ValueError as error:
            yield entry.name, f"{value!r}, {error}"


@cache
def _adapter(hint: Any, metadata: frozenset[tuple[str, object]], strict: bool) -> Any:
    from pydantic import TypeAdapter  # here, since `fer-id --help` checks no value

    return TypeAdapter(_annotated(hint, dict(metadata), strict), config={"allow_inf_nan": False})


def _annotated(hint: Any, metadata: Mapping[str, Any], strict: bool) -> Any:
    """Return a type with the limits of a setting, and unless ``strict`` with the meaning of text, for pydantic."""
    from pydantic import AfterValidator, BeforeValidator, Field

    origin, made, check = get_origin(hint), hint, Field()
    if hint in (Ellipsis, type(None)):
        return hint
    if origin in (list, tuple, dict, UnionType):
        kinds = tuple(_annotated(kind, metadata, strict) for kind in get_args(hint))
        made = Union[kinds] if origin is UnionType else origin[kinds]  # noqa: UP007  # types known at run time only
    elif hint in (int, float):
        check = Field(**{name: metadata[key] for key, (name, _) in _LIMITS.items() if key in metadata})
    elif hint is str:
        check = AfterValidator(partial(_allowed, metadata))
    empty = hint is not str and not (origin is UnionType and "name" in metadata)
    return Annotated[made, check, *([] if strict else [BeforeValidator(partial(_meaning, hint, empty))])]


def _allowed(metadata: Mapping[str, Any], text: str) -> str:
    """Return a text that is one of the choices, and a name where a name is expected, else raise ValueError."""
    if text not in metadata.get("choices", (text,)) or ("name" in metadata and not is_name(text, metadata["name"])):
        raise ValueError(text)
    return text


def _meaning(hint: Any, empty: bool, raw: object) -> object:
    """Return what a text stands for where ``hint`` is expected: None (``empty``: empty text too), a list, a dict, or
    itself."""
    if not isinstance(raw, str):
        return raw
    no_integer = hint is int and not re.fullmatch(r"[+-]?\d+", raw)  # pydantic takes 1.0 and 1_0 too
    if raw == "null" or (empty and raw == "") or no_integer:
        return None
    if get_origin(hint) not in (list, tuple, dict):
        return raw
    if not raw.startswith("{" if get_origin(hint) is dict else "["):
        return [raw]  # no dict: refused as one
    with suppress(ConfigError):
        return yaml.BaseLoader("").construct_object(compose(raw, "list", ConfigError, aliases=False), deep=True)
    return None


def limits_text(metadata: Mapping[str, Any]) -> str:
    """Return the limits in words, such as ``above 0, at most 1``; empty without limits."""
    if "choices" in metadata:
        return "one of " + ", ".join(metadata["choices"])
    if "name" in metadata:
        rule = f"printable, at most {MOST_BYTES} bytes a word, begins with no . - or ="
        return f"{metadata['name']}: {rule}, not called {' '.join(RESERVED)}"
    limits = {word: metadata[key] for key, (_, word) in _LIMITS.items() if key in metadata}
    return ", ".join(f"{word} {limit if isinstance(limit, int) else f'{limit:g}'}" for word, limit in limits.items())


def expected(hint: Any) -> str:
    """Return the type in words, for error messages."""
    if get_origin(hint) is UnionType:
        return " or ".join(map(expected, get_args(hint)))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is dict:
        return f"a mapping such as {{a: b}} ({type_text(hint)})"
    return f"a list such as [a, b] ({type_text(hint)})" if get_args(hint) else _WORDS.get(hint) or type_text(hint)


def type_text(hint: Any) -> str:
    """Return the name of the type in ``--help``, such as ``float|null`` or ``list[str]``."""
    kinds = [kind if isinstance(kind, str) else type_text(kind) for kind in get_args(hint)]
    if get_origin(hint) in (Literal, UnionType):
        return "|".join(kinds)
    if kinds:
        return f"{get_origin(hint).__name__}[{', '.join(kinds)}]"
    return {Ellipsis: "...", type(None): "null"}.get(hint) or str(getattr(hint, "__name__", hint))
