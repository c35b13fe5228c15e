"""Names of a package that are imported when they are used, so that importing the package loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package: ``modules`` maps each exported name to the module that defines it."""

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it exports {', '.join(modules)}")
        return getattr(import_module(modules[name]), name)

    return get


def imported(target: str) -> Any:
    """Import and return the object named ``module:name``."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
