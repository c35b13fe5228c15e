"""Folders of the user outside of any project: the configuration, the cache, and what figures need."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fer_id.errors import ConfigError


def user_folder(variable: str, below_home: str, remedy: str) -> Path:
    """Return the folder that ``$variable`` names, else ``below_home`` in the home folder.

    Args:
        variable: of the XDG Base Directory Specification, such as ``XDG_CACHE_HOME``.
        below_home: where it lies in the home folder, such as ``.cache``.
        remedy: what to say where no home folder is known, as for a user of a container whom no table lists.

    Raises:
        ConfigError: neither the variable nor a home folder is known.
    """
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home() / below_home
    except RuntimeError:
        raise ConfigError(f"HOME is not set, and this user has no home folder: {remedy}") from None


def expanded(path: str) -> Path:
    """Return a path that somebody typed, with ``~`` as the home folder.

    Raises:
        ConfigError: it begins with ``~``, and there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{path}: no home folder is known; write the folder out") from None


def figure_cache() -> Path:
    """Return a folder for matplotlib's list of fonts outside of the home folder, for this user alone.

    It lies in the folder for temporary files, and is used again; one that somebody else made there is not.
    """
    path = Path(tempfile.gettempdir()) / f"fer_id-figures-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        if path.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022:
            return Path(tempfile.mkdtemp(prefix="fer_id-figures-"))
    except OSError:  # a full or read-only disk: matplotlib then works without its list
        pass
    return path
