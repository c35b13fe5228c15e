"""Atomic writing of files and folders (written to a temporary sibling, then renamed), JSON files, and folder locks."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fer_id.errors import FerIdError
from fer_id.inputs import MOST_JSON, parse_json, read_text
from fer_id.progress import say

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Error numbers of a disk without locks, such as some network disks."""

_RETRY_S = 0.1
_HELD: set[IO[str]] = set()  # lock files of this process, see locked


def atomic_write_bytes(path: Path, content: bytes | memoryview, *, mode: int | None = None) -> None:
    """Write a file whole or not at all; it is synced before the rename, so that a power cut keeps the old file.

    ``mode`` are permissions such as 0o600; None: the existing file's, else 0o644. ``filename`` of an OSError is
    ``path``.
    """
    name = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, mode if mode is not None else path.stat().st_mode & 0o777 if path.exists() else 0o644)
        put_in_place(Path(name), path)
    except BaseException as problem:
        if name is not None:
            with suppress(FileNotFoundError):
                os.unlink(name)
        if isinstance(problem, OSError) and problem.errno is not None:
            problem.filename, problem.filename2 = str(path), None  # not the temporary file
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Set this path as ``filename`` of the block's OSError where it has none, as in a write to a full disk."""
    try:
        yield
    except OSError as problem:
        if problem.errno is not None and problem.filename is None:
            problem.filename = str(path)
        raise


def put_in_place(draft: Path, path: Path) -> None:
    """Rename a complete file onto another, and sync the folder: a power cut may undo a rename that was not synced."""
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # a disk without sync of folders
            raise
    finally:
        os.close(folder)


def sweep(folder: Path) -> None:
    """Remove temporary files of killed processes from a folder, in which no other process may be writing."""
    for draft in folder.glob(".*.????????"):
        if draft.is_file():
            draft.unlink(missing_ok=True)


def atomic_write_text(path: Path, content: str, *, mode: int | None = None) -> None:
    """Write UTF-8 text by :func:`atomic_write_bytes`."""
    atomic_write_bytes(path, content.encode(), mode=mode)


def plain(value: Any) -> Any:
    """Return a value for strict JSON: NumPy scalars and arrays as plain Python, NaN and infinities as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write strict, indented JSON with the keys in their order; see :func:`plain`."""
    atomic_write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, error: type[FerIdError]) -> dict[str, Any]:
    """Read a JSON object from a file; raise ``error`` where it is missing, damaged or irregular, or holds none."""
    value = parse_json(read_text(path, error, most=MOST_JSON), path, error)
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def read_json_lines(path: Path, error: type[FerIdError]) -> list[dict[str, Any]]:
    """Read the JSON objects of a file of JSON lines; an empty list where the file is missing.

    A last line without its end, which a crash leaves, is dropped if it is no JSON. Raise ``error`` where the file
    cannot be read, or another line holds no JSON object.
    """
    if not os.path.lexists(path):
        return []
    text = read_text(path, error, most=MOST_JSON)
    lines, values = text.splitlines(), []
    for number, line in enumerate(lines, start=1):
        try:
            value = parse_json(line, f"{path}, line {number}", error)
        except error:
            if number == len(lines) and not text.endswith("\n"):
                break
            raise
        if not isinstance(value, dict):
            raise error(f"{path}: line {number} is no JSON object; it was damaged or written by something else")
        values.append(value)
    return values


@contextmanager
def atomic_folder(path: Path, *, replaces: str | None = None) -> Iterator[Path]:
    """Create a folder that appears complete under its name, or not at all: yield a temporary sibling to fill.

    The sibling is readable by its owner only (it may hold faces); it is renamed onto ``path`` when the block succeeds,
    and removed when it raises. An existing folder is replaced only where it holds the file named ``replaces``, which
    marks a folder of the same kind; otherwise FerIdError is raised.
    """
    _check_free(path, replaces)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield draft
        _check_free(path, replaces)  # another process may have created the folder meanwhile
        _put(draft, path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _check_free(path: Path, replaces: str | None) -> None:
    if path.exists() and (replaces is None or not (path / replaces).is_file()):
        kind = "overwrite=true replaces it" if replaces is None else f"it holds no {replaces}, so it is not replaced"
        raise FerIdError(f"{path} exists already: choose another folder ({kind})")


def _put(draft: Path, path: Path) -> None:
    """Rename ``draft`` onto ``path``; an existing folder is restored where that fails, else removed."""
    old = draft.with_name(f"{draft.name}.old")
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(draft, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def locked(folder: Path, error: type[FerIdError], *, patience_s: float = 0.0) -> Iterator[None]:
    """Lock a folder by its file ``.lock`` against other processes for the duration of the block, or raise ``error``.

    Another process's lock is awaited for ``patience_s`` seconds. The kernel frees the lock when the process dies. On a
    network disk other machines respect it only where the disk supports it (NFS does, unless mounted with ``nolock`` or
    ``local_lock``).
    """
    with (folder / ".lock").open("a") as handle:
        try:
            _take(handle, time.monotonic() + patience_s)
        except BlockingIOError:
            raise error(f"{folder}: another process is working there; wait until it is done, or stop it") from None
        except OSError as problem:
            if problem.errno not in NO_LOCKS:
                raise
            say(f"{folder}: this disk has no locks, so nothing keeps a second process from working there as well")
        _HELD.add(handle)
        try:
            yield
        finally:
            _HELD.discard(handle)


def _take(handle: IO[str], until: float) -> None:
    """Lock a file, or raise BlockingIOError where another process still holds it at a moment of the monotonic clock."""
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(_RETRY_S)


def _let_go() -> None:
    """Release all locks in a forked process, such as a loader of batches: it may outlive its parent."""
    for handle in _HELD:
        handle.close()
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)
