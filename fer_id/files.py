"""Files that are whole or not there: everything is written beside its place and renamed onto it."""

from __future__ import annotations

import errno
import fcntl
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
"""How a disk says that it has no locks, as some network disks have none."""

_RETRY_S = 0.1

_HELD: set[IO[str]] = set()
"""Lock files of this process, see :func:`locked`."""


def atomic_write_bytes(path: Path, content: bytes | memoryview, *, mode: int | None = None) -> None:
    """Writes a file at once or not at all; on the disk before the rename, so that a power cut keeps the old one.

    Args:
        path: the file; an older one is replaced.
        content: of the whole file.
        mode: permissions such as 0o600; None keeps those of the older file, else 0o644.

    Raises:
        OSError: it cannot be written; ``filename`` is the file that was meant.
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
        os.replace(name, path)
        _settle(path.parent)
    except BaseException as problem:
        if name is not None:
            with suppress(FileNotFoundError):
                os.unlink(name)
        if isinstance(problem, OSError) and problem.errno is not None:
            problem.filename, problem.filename2 = str(path), None  # not the one it was to be renamed from
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError of the block that names no file name this one: a write to a full disk names none."""
    try:
        yield
    except OSError as problem:
        if problem.errno is not None and problem.filename is None:
            problem.filename = str(path)
        raise


def _settle(folder: Path) -> None:
    """Waits until the names in a folder are on the disk: a rename alone may be undone by a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # a disk that has no such thing
            raise
    finally:
        os.close(handle)


def put_in_place(draft: Path, path: Path) -> None:
    """Renames a whole file onto another, for good."""
    os.replace(draft, path)
    _settle(path.parent)


def sweep(folder: Path) -> None:
    """Removes what killed processes left half-written in a folder; nobody else may be writing there."""
    for draft in folder.glob(".*.????????"):
        if draft.is_file():
            draft.unlink(missing_ok=True)


def atomic_write_text(path: Path, content: str, *, mode: int | None = None) -> None:
    """:func:`atomic_write_bytes` for UTF-8 text."""
    atomic_write_bytes(path, content.encode(), mode=mode)


def plain(value: Any) -> Any:
    """Numpy scalars and arrays as plain Python, NaN and infinities as None: what strict JSON can hold."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def write_json(path: Path, value: Any) -> None:
    """Strict JSON, keys in the given order, readable by people; see :func:`plain`."""
    atomic_write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, error: type[FerIdError]) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        FerIdError: of class ``error``, where the file is missing, damaged or no regular file, or holds no JSON object.
    """
    value = parse_json(read_text(path, error, most=MOST_JSON), path, error)
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def read_json_lines(path: Path, error: type[FerIdError]) -> list[dict[str, Any]]:
    """The JSON objects of a file that grows by lines; none where it is not there.

    What a crash leaves is dropped: a last line without its end.

    Raises:
        FerIdError: of class ``error``, where the file cannot be read or another line holds no JSON object.
    """
    if not os.path.lexists(path):
        return []
    text = read_text(path, error, most=MOST_JSON)
    lines, values = text.splitlines(), list[dict[str, Any]]()
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
    """A folder that appears complete under its name, or not at all.

    Args:
        path: the name it gets.
        replaces: a file that marks an older folder of the same kind; one that holds it may be replaced, nothing else.

    Yields:
        a temporary sibling folder to fill, readable by its owner only (it may hold faces); renamed onto ``path`` when
        the block ends well, removed when it raises.

    Raises:
        FerIdError: ``path`` exists and may not be replaced.
    """
    _check_free(path, replaces)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield draft
        _check_free(path, replaces)  # filling takes long: somebody else may have made the folder meanwhile
        _put(draft, path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _check_free(path: Path, replaces: str | None) -> None:
    if path.exists() and (replaces is None or not (path / replaces).is_file()):
        kind = "overwrite=true replaces it" if replaces is None else f"it holds no {replaces}, so it is not replaced"
        raise FerIdError(f"{path} exists already: choose another folder ({kind})")


def _put(draft: Path, path: Path) -> None:
    """Renames ``draft`` onto ``path``; an older folder there is put back where that fails, else removed."""
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
    """Keeps other processes out of a folder for as long as this one works there, however it ends.

    The kernel frees the lock when the process dies. On a network disk it is seen by other machines only where the
    disk's own locking says so (NFS does, unless mounted with ``nolock`` or ``local_lock``).

    Args:
        folder: whose lock file ``.lock`` is taken.
        error: the class to raise.
        patience_s: seconds to wait for another process that is there.

    Raises:
        FerIdError: of class ``error``, where another process is there already.
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
    """Locks a file, trying again until a moment of the monotonic clock.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(_RETRY_S)


def _let_go() -> None:
    """A forked process, such as one that loads batches, may outlive its parent, but must not hold its locks."""
    for handle in _HELD:
        handle.close()
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)
