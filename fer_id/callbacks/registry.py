"""Registry of callbacks by name: fer_id's own, callbacks registered in Python, and entry points of packages.

A package offers its callbacks as entry points of the group ``fer_id.callbacks``. A name in a configuration, checkpoint
or downloaded file never becomes an import path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

from fer_id.errors import ConfigError, cut
from fer_id.exports import entry_points

if TYPE_CHECKING:
    from pytorch_lightning import Callback

GROUP = "fer_id.callbacks"
"""Group of entry points: name -> a callable without arguments that returns a Lightning callback."""

OWN = {"class_metrics": "ClassMetrics", "subgroup_fairness": "SubgroupFairness", "grad_cam_panel": "GradCamPanel"}
"""Name -> class of a callback of fer_id."""

_registered: dict[str, Callable[[], Callback]] = {}
_checked: dict[str, Callback] = {}
"""Callbacks that :func:`callback_problems` made and :func:`make_callbacks` has not taken yet."""


def register_callback(name: str, make: Callable[[], Callback]) -> None:
    """Let ``"trainer.callbacks=[name]"`` add a callback to every training of this process. ``make`` returns a new
    callback, for instance its class. Raises ConfigError where another callback has the name."""
    if name in known_callbacks():
        raise ConfigError(f"register_callback({name!r}): the name is taken. Known: {', '.join(known_callbacks())}")
    _registered[name] = make


def known_callbacks() -> list[str]:
    """Return the sorted names of all callbacks that a configuration may name; no package is imported for it."""
    return sorted({*OWN, *_registered, *entry_points(group=GROUP).names})


def unknown_callback(name: str) -> str:
    """Return the message for an unknown name, with the nearest known ones: a class may stand for its callback."""
    known, last = known_callbacks(), name.rpartition(".")[2]
    classes = {entry.value.rpartition(":")[2]: entry.name for entry in entry_points(group=GROUP)}
    spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).lower()
    near = [classes[last]] if last in classes else get_close_matches(spelled, known)
    meant = f", did you mean {' or '.join(near)}?" if near else "."
    return (
        f"{cut(name)!r} is unknown{meant} Known: {', '.join(known)}. An installed package offers others as entry "
        f"points of the group {GROUP}, see docs/LIBRARY.md"
    )


def callback_problems(names: Sequence[str]) -> list[str]:
    """Return a line for each of somebody's own callbacks that cannot be made. One that can is made here, once:
    :func:`make_callbacks` returns it, since a constructor may open a file or a connection."""
    problems = []
    for name in dict.fromkeys(names):
        if name in OWN or name in _checked:
            continue
        try:
            _checked[name] = _make(name)
        except ConfigError as problem:
            problems.append(str(problem))
    return problems


def make_callbacks(names: Sequence[str]) -> list[Callback]:
    """Return a callback for each name, in their order, that no other caller has; raise ConfigError for an unknown name,
    or one whose maker cannot be imported, raises, or makes no Lightning callback."""
    return [_checked.pop(name) if name in _checked else _make(name) for name in names]


def _make(name: str) -> Callback:
    if name in OWN:
        callback: Callback = getattr(import_module("fer_id.callbacks"), OWN[name])()
        return callback
    if name in _registered:
        return _own(name, "register_callback", _registered[name])
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return _own(name, f"entry point {entry.value}", partial(_loaded, entry))
    raise ConfigError(f"trainer.callbacks: {unknown_callback(name)}")


def _loaded(entry: EntryPoint) -> object:
    return entry.load()()


def _own(name: str, origin: str, make: Callable[[], object]) -> Callback:
    """Return what somebody's own maker returns; raise ConfigError, with its ``origin``, where that is no callback."""
    from pytorch_lightning import Callback

    where, expected = f"trainer.callbacks: {name} ({origin})", "a Lightning callback, made without arguments"
    try:
        made = make()
    except Exception as error:
        raise ConfigError(f"{where} raises {type(error).__name__}: {error}; expected {expected}") from error
    if not isinstance(made, Callback):
        raise ConfigError(f"{where} makes a {type(made).__name__}, expected {expected}")
    return made
