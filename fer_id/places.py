"""Folders of the user outside of any project: configuration, cache, and matplotlib's cache."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fer_id.errors import ConfigError


def user_folder(variable: str, below_home: str, remedy: str) -> Path:
    """Return the folder that ``$variable`` (XDG Base Directory Specification) names, else ``below_home`` in the home
    folder. Raise ConfigError, ended by ``remedy``, where neither is known, as for an unlisted user of a container."""
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home() / below_home
    except RuntimeError:
        raise ConfigError(f"HOME is not set, and this user has no home folder: {remedy}") from None


def expanded(path: str) -> Path:
    """Return a typed path with ``~`` replaced by the home folder; raise ConfigError where no home folder is known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{path}: no home folder is known; write the folder out") from None


def figure_cache() -> Path:
    """Return a folder for matplotlib's list of fonts outside of the home folder, for this user alone. The folder lies
    among the temporary files and is reused, unless it belongs to another user."""
    path = Path(tempfile.gettempdir()) / f"fer_id-figures-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        if path.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022:
            return Path(tempfile.mkdtemp(prefix="fer_id-figures-"))
    except OSError:  # a full or read-only disk: matplotlib then works without its list
        pass
    return path
