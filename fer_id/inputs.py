"""Safe reading of input files: regular files only, bounded in size, growth and nesting."""

from __future__ import annotations

import errno
import json
import os
import stat
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fer_id.errors import FerIdError, cut, quoted

MB = 2**20
MOST_JSON = 64 * MB
MOST_YAML = MB
MOST_ANNOTATIONS = 64 * MB  # bytes of a file of ELAN or BORIS
MOST_NESTING = 100  # deepest nesting of lists and mappings in JSON and YAML
MOST_GROWTH = 200  # largest ratio of unpacked size to size of a gzip file, beyond the first FREE_GROWTH bytes
FREE_GROWTH = 10 * MB
MOST_ZIP_GROWTH = 4  # largest ratio of claimed content to size of a zip of weights, beyond FREE_ZIP_GROWTH bytes

FREE_ZIP_GROWTH = 64 * MB
MOST_ZIP_ENTRIES = 100_000

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
_KINDS |= {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
_REASONS = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.ELOOP: "a link that leads to itself",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EACCES: "permission denied",
    errno.ENXIO: "a socket, expected a file",
}
_DIGITS = "integer string conversion"  # of Python's message for a number of more digits than it reads (4,300)


@contextmanager
def opened(path: Path, error: type[FerIdError], *, most: int) -> Iterator[BinaryIO]:
    """Open a regular file of at most ``most`` bytes, without blocking on a pipe or reading a device; follow links.

    Raise ``error`` where it is no regular file, not readable, or too large; the message names the file, and an existing
    one whose name differs only in capitals or in the composition of its accents.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:  # a name with a null character
        raise error(f"{cut(path)}: no file can have that name") from None
    except OSError as problem:
        reason = _REASONS.get(problem.errno or 0) or f"cannot be read ({(problem.strerror or 'unknown').lower()})"
        letters = len(str(path))
        name = path if len(path.name) <= 255 and letters < 1024 else f"{cut(path)} ({letters:,} letters)"
        raise error(f"{name}: {reason}{look_alike(path)}") from None
    if refusal := _refusal(os.fstat(handle), most):
        os.close(handle)
        raise error(f"{path}: {refusal}")
    with os.fdopen(handle, "rb") as file:
        yield file


def _refusal(facts: os.stat_result, most: int) -> str:
    """Return the reason not to read an opened file; empty for a regular file within the limit."""
    if not stat.S_ISREG(facts.st_mode):
        return f"{_KINDS.get(stat.S_IFMT(facts.st_mode), 'no file')}, expected a file"
    return f"{byte_words(facts.st_size)}, expected at most {byte_words(most)}" if facts.st_size > most else ""


def read_bytes(path: Path, error: type[FerIdError], *, most: int) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes; raise ``error`` as :func:`opened` does."""
    with opened(path, error, most=most) as file:
        try:
            content = file.read(most + 1)
        except OSError as problem:
            raise error(f"{path}: cannot be read ({problem.strerror})") from None
    if len(content) > most:  # the file grew meanwhile, or has no stated size, as in /proc
        raise error(f"{path}: more than {byte_words(most)}")
    return content


def read_text(path: Path, error: type[FerIdError], *, most: int) -> str:
    """Return the text of a regular UTF-8 file without byte-order mark; raise ``error`` as :func:`opened`, or for no
    UTF-8."""
    content = read_bytes(path, error, most=most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        raise error(
            f"{path}: not a text file in UTF-8 (line {line}); it was damaged or written by something else"
        ) from None


def parse_json(text: str | bytes, where: object, error: type[FerIdError]) -> Any:
    """Parse a JSON text; ``where`` is the file, or the file and line, for the message.

    Raise ``error`` for no JSON, a key twice in an object, nesting deeper than :data:`MOST_NESTING`, or a whole number
    of more digits than Python reads.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise error(f"{where}: {TOO_DEEP}") from None
    except ValueError as problem:  # a JSONDecodeError is one, a UnicodeDecodeError too
        if _DIGITS in str(problem):
            raise error(f"{where}: holds a number of too many digits; {_DAMAGED}") from None
        raise error(f"{where}: not JSON ({problem}); it was damaged or written by something else") from None
    if _is_deep(value):
        raise error(f"{where}: {TOO_DEEP}")
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; raise ValueError for a repeated key, one of whose values would be lost."""
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"{quoted(twice)} is given twice, so that one of its values would be lost")
    return value


_DAMAGED = "damaged or not written by fer_id"
TOO_DEEP = f"nested too deeply; {_DAMAGED}"


def _is_deep(value: Any) -> bool:
    """Return whether lists and objects are nested more than :data:`MOST_NESTING` deep."""
    level = [value]
    for _ in range(MOST_NESTING + 1):
        level = [
            item
            for branch in level
            if isinstance(branch, (dict, list))
            for item in (branch.values() if isinstance(branch, dict) else branch)
        ]
        if not level:
            return False
    return True


def check_zip(path: Path, error: type[FerIdError]) -> None:
    """Raise ``error`` where a zip's directory claims much more content than the zip's size; nothing is unpacked. A
    damaged directory raises BadZipFile."""
    with zipfile.ZipFile(path) as parts:
        entries = parts.infolist()
    claimed, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if len(entries) > MOST_ZIP_ENTRIES or claimed > max(FREE_ZIP_GROWTH, MOST_ZIP_GROWTH * size):
        raise error(
            f"{path}: {byte_words(size)} that claim to hold {byte_words(claimed)} in {len(entries):,} parts; weights "
            "do not shrink so much, so nothing of it was read"
        )


def look_alike(path: Path) -> str:
    """Return ``; there is NAME, ...`` where an existing name reads like a missing part of the path; else empty."""
    try:
        while not path.parent.exists():
            path = path.parent
        same = [entry.name for entry in path.parent.iterdir() if _folded(entry.name) == _folded(path.name)]
    except (OSError, ValueError):
        return ""
    if not same or path.name in same:
        return ""
    name = same[0]
    composed = unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", path.name)
    how = "how its accents are composed" if composed else "capitals"
    return f"; there is {cut(name, 120)!r}, whose name differs only in {how}: give the name as it is there"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_file_name(name: str) -> bool:
    """Return whether a text is a printable name of a file in a folder, not a path."""
    return name not in ("", ".", "..") and "/" not in name and name.isprintable()


def byte_words(size: float) -> str:
    """Format a number of bytes in powers of 1024: ``64 kB``, ``8.1 MB``."""
    for unit, power in (("GB", 2**30), ("MB", MB), ("kB", 2**10)):
        if size >= power:
            amount = size / power
            return f"{amount:.{'3g' if amount < 1000 else '0f'}} {unit}"
    return f"{size:.0f} bytes"
