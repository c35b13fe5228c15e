"""Names of a package that are imported when they are used, so that importing the package loads no torch, and what other
installed packages offer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module, metadata
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package: ``modules`` maps each exported name to the module that defines it."""

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it exports {', '.join(modules)}")
        return getattr(import_module(modules[name]), name)

    return get


def entry_points(group: str) -> metadata.EntryPoints:
    """Return the entry points of a group in the installed packages, read once for each ``sys.path``: that takes tens
    of milliseconds, and a command asks several times."""
    return _entry_points(group, tuple(sys.path))


@lru_cache(maxsize=8)
def _entry_points(group: str, path: tuple[str, ...]) -> metadata.EntryPoints:
    """Return the entry points of a group; ``path`` is the ``sys.path`` on which their packages are looked for."""
    return metadata.entry_points(group=group)


def imported(target: str) -> Any:
    """Import and return the object named ``module:name``."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
