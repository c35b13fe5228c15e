"""Patterns of file names that hold a dataset's facts: ``{subject}-{label}-{age_group}.jpg``.

A pattern is compared with the whole path of a file below the source, folders separated by ``/``, upper and lower case
alike. ``{name}`` is a field: one or more characters up to the character that follows the field in the pattern, never a
``/``. ``*`` stands for any characters but ``/``, ``**/`` for any folders, and everything else for itself. A field that
stands twice has the same value both times. For ids that consist of other fields, a regular expression with named groups
is a pattern, too: ``(?P<subject>(?P<gender>[FM])-\\d+)_(?P<label>\\w+)\\.jpg``.

``label`` is the class, ``subject`` the person, ``split`` a split; any other field is a group column.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from fer_id.errors import ConfigError, DataError, cut, quoted
from fer_id.progress import say
from fer_id.store.format import CLIP_COLUMNS

FACTS = ("label", "subject", "split")
"""Fields with a meaning of their own."""

TAKEN = {*CLIP_COLUMNS, "published", "fold", "predicted", "flagged", "set", "store", "row", "picture"} - {*FACTS}
"""Names that no group column may have: other columns of stores and predictions."""

MOST_NAMED = 5
"""Files that a message names."""

_TOKEN = re.compile(r"(\*\*/|\*|\{[^{}]*\})")
_FIELD = re.compile(r"[a-z][a-z0-9_]*")


def compile_pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern for ``fullmatch``; ConfigError for a malformed one, or one without a field ``label``.

    >>> compile_pattern("**/{subject}-{label}.jpg").fullmatch("a/b/s01-happy.JPG")["subject"]
    's01'
    """
    regex = text if "(?P<" in text else "".join(_translated(text))
    try:
        pattern = re.compile(regex, re.IGNORECASE)
    except re.error as problem:
        raise ConfigError(f"{cut(text, 200)}: no regular expression ({problem})") from None
    if "label" not in pattern.groupindex:
        raise ConfigError(f"{cut(text, 200)}: has no field {{label}}, so no file would have a class")
    if taken := sorted(TAKEN.intersection(pattern.groupindex)):
        raise ConfigError(f"{cut(text, 200)}: the fields {', '.join(taken)} mean something else; rename them")
    return pattern


def _translated(text: str) -> Iterator[str]:
    """Yield the parts of a regular expression for a pattern in braces."""
    tokens, seen = [token for token in _TOKEN.split(text) if token], set[str]()
    for token, after in zip(tokens, [*tokens[1:], ""], strict=True):
        name = token[1:-1] if token.startswith("{") and token.endswith("}") else None
        if token == "**/":
            yield "(?:[^/]+/)*?"
        elif token == "*":
            yield "[^/]*?"
        elif name is None:
            if set(token) & set("{}"):
                raise ConfigError(f"{cut(text, 200)}: a brace is not closed or not opened at {quoted(token)}")
            yield re.escape(token)
        elif not _FIELD.fullmatch(name):
            raise ConfigError(f"{cut(text, 200)}: {quoted(name)} is no field; expected letters such as subject or age")
        elif after.startswith(("{", "*")):
            raise ConfigError(
                f"{cut(text, 200)}: nothing separates {token} from {after}, so nobody knows where it ends"
            )
        elif name in seen:
            yield f"(?P={name})"
        else:
            seen.add(name)
            yield f"(?P<{name}>[^/{re.escape(after[:1])}]+)"


def group_fields(pattern: re.Pattern[str]) -> list[str]:
    """Return the fields of a compiled pattern that are group columns, in their order."""
    return [name for name in pattern.groupindex if name not in FACTS]


def matched_files(
    root: Path, pattern: re.Pattern[str], suffixes: Collection[str], left_out: Counter[str]
) -> list[tuple[str, dict[str, str | None]]]:
    """Return path below ``root`` and fields of every file that matches, in the order of the paths.

    Files with another suffix, and those that the pattern does not match, are counted in ``left_out``; the latter are
    also named on stderr. DataError: no such folder, or no file matches.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    places = list(_places(root))
    of_kind = [place for place in places if Path(place).suffix.lower() in suffixes]
    matches = [(place, match) for place in of_kind if (match := pattern.fullmatch(place))]
    others = sorted({*of_kind}.difference(place for place, _ in matches))
    named = ", ".join(cut(place, 80) for place in others[:MOST_NAMED]) + (", ..." if others[MOST_NAMED:] else "")
    if not matches:
        kinds = " ".join(sorted(suffixes))
        present = f"; there are {named}" if others else f"; none ends in one of {kinds}"
        raise DataError(f"{root}: data.pattern matches none of {len(places)} files{present}")
    if others:
        left_out["name without the pattern"] += len(others)
        say(f"{root.name}: data.pattern does not match {len(others)} of {len(of_kind)} files: {named}")
    if unread := len(places) - len(of_kind):
        left_out["file of another kind"] += unread
    return [(place, match.groupdict()) for place, match in matches]


def _places(root: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, sorted, without the hidden files of operating systems."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name != "Thumbs.db":
                yield (Path(folder) / name).relative_to(root).as_posix()
