"""Errors that the user can correct, and a collector that reports all problems of one input together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

SHOWN = 20  # largest number of listed problems of one input; the others are counted
MOST_CHARACTERS = 1900  # largest length of a message, which fits a screen
MOST_QUOTED = 60  # largest number of characters of an input that a message quotes
_VARIABLE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+")
_WIDTHS = (MOST_CHARACTERS, 300, 150)  # characters of a problem, tried in this order until the message is short enough


class FerIdError(Exception):
    """Error that the user can correct: the CLI prints the message without a traceback and exits with 2.

    Attributes:
        whole: print the message without shortening it, since it is a list that must be complete.
    """

    whole = False


class ConfigError(FerIdError):
    """Wrong key, value or combination in the configuration."""


class DataError(FerIdError):
    """Invalid raw input (an image, a CSV row, an annotation)."""


class StoreError(FerIdError):
    """Inconsistent ClipStore on disk, or one that does not fit its use."""


class RunError(FerIdError):
    """Unfinished or damaged RunDir, or one that is in use or of another kind."""


class LeakageError(FerIdError):
    """Train, validation and test share a subject."""


class CheckpointError(FerIdError):
    """Damaged file of weights, or one of another model or with more than weights."""


def cut(text: object, most: int = MOST_QUOTED) -> str:
    """Return the beginning of a text for a terminal: at most ``most`` characters, control characters escaped.

    >>> cut("a" * 100, most=10)
    'aaaaaaa...'
    """
    beginning = str(text)[: most + 1]
    escaped = beginning if beginning.isprintable() else repr(beginning)[1:-1]
    return escaped if len(escaped) <= most else f"{escaped[: most - 3]}..."


def first_line(error: BaseException, otherwise: str = "") -> str:
    """Return the first line of an error's message, at most 300 characters; of an empty one ``otherwise`` or its class.

    >>> first_line(ValueError("no such layer\\nTraceback"))
    'no such layer'
    """
    return (str(error).strip() or otherwise or type(error).__name__).splitlines()[0][:300]


def quoted(value: object) -> str:
    """Return the ``repr`` of an input's value, cut after :data:`MOST_QUOTED` characters.

    >>> quoted("a" * 100) == "'" + "a" * 57 + "...'"
    True
    """
    if isinstance(value, str):
        return repr(value if len(value) <= MOST_QUOTED else f"{value[: MOST_QUOTED - 3]}...")
    return cut(repr(value))


def brief(message: str, most: int = MOST_CHARACTERS) -> str:
    """Return a message, without its middle where it is longer than ``most`` characters."""
    if len(message) <= most:
        return message
    return f"{message[: most * 2 // 3]}\n... ({len(message):,} characters) ...\n{message[-most // 4 :]}"


class Problems:
    """Collector of all problems of one input, so that the user can correct them in one round.

    Problems of one kind are listed by examples and a count, so that many trivial problems hide no other kind.

    >>> problems = Problems("votes.csv")
    >>> problems.add("row 3, column happiness: 'x' is no number")
    >>> len(problems)
    1
    """

    def __init__(self, where: str, found: Iterable[str] = ()) -> None:
        self.where, self.found = where, list(found)
        self._kinds: dict[str, str] = {}
        self._grave: set[str] = set()

    def __len__(self) -> int:
        return len(self.found)

    def add(self, problem: str, *, kind: str = "", grave: bool = False) -> None:
        """Add one problem as ``place: what is wrong``: place (row, key), actual value, expected value.

        ``kind`` groups similar problems; empty: the text after the place, without numbers and quotations. A ``grave``
        problem is listed before all others.
        """
        self.found.append(problem)
        if kind:
            self._kinds[problem] = kind
        if grave:
            self._grave.add(problem)

    def include(self, other: Problems, prefix: str) -> None:
        """Add every problem of another input, prefixed by that input's name."""
        for problem in other.found:
            self.add(f"{prefix}: {problem}", kind=other.kind(problem), grave=problem in other._grave)

    def kind(self, problem: str) -> str:
        """Return the kind of a problem, by which similar problems are grouped."""
        return self._kinds.get(problem) or _VARIABLE.sub("#", problem.partition(": ")[2] or problem)

    def raise_if_any(self, error: type[FerIdError], hint: str = "") -> None:
        """Raise ``error`` with the problems, if any (examples of each kind, and a count); ``hint`` is the last line."""
        if not self.found:
            return
        first = f"{self.where}: {len(self.found)} problem{'s' if len(self.found) > 1 else ''}"
        lines = [first, *self._lines(max(MOST_CHARACTERS - len(first) - len(hint), MOST_CHARACTERS // 3))]
        raise error("\n".join([*lines, hint] if hint else lines))

    def _lines(self, most: int) -> list[str]:
        """Return the lines of the problems, grave problems first, in at most ``most`` characters."""
        ordered = sorted(self.found, key=lambda problem: problem not in self._grave)
        whole = [f"  - {problem}" for problem in ordered]
        if len(whole) <= SHOWN and _length(whole) <= most:
            return whole
        kinds: dict[str, list[str]] = {}
        for problem in ordered:
            kinds.setdefault(self.kind(problem), []).append(problem)
        for width in _WIDTHS:
            for examples in range(SHOWN, 0, -1):
                lines = list(_grouped(kinds, examples, width))
                if sum(line.startswith("  - ") for line in lines) <= SHOWN and _length(lines) <= most:
                    return lines
        return list(_first_kinds(kinds, most))


def _grouped(kinds: dict[str, list[str]], examples: int, width: int) -> Iterator[str]:
    """Yield at most ``examples`` problems of each kind, at most ``width`` characters long, and the number left out."""
    for problems in kinds.values():
        for problem in problems[:examples]:
            yield f"  - {problem if len(problem) <= width else problem[: width - 3] + '...'}"
        if len(problems) > examples:
            yield f"    ... and {len(problems) - examples} more like this"


def _first_kinds(kinds: dict[str, list[str]], most: int) -> Iterator[str]:
    """Yield an example of each kind within ``most`` characters, then the number of problems of other kinds."""
    rest, names = dict(kinds), list(kinds)
    for name in names[: SHOWN - 1]:
        lines = list(_grouped({name: rest[name]}, 1, _WIDTHS[-1]))
        most -= _length(lines)
        if most < MOST_QUOTED:
            break
        yield from lines
        del rest[name]
    yield f"  ... and {sum(map(len, rest.values()))} more, of {len(rest)} other kinds"


def _length(lines: list[str]) -> int:
    return sum(map(len, lines)) + len(lines)
