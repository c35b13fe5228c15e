"""One tree of errors that the user can mend, and a collector that reports all problems of one input together."""

from __future__ import annotations

import re
from collections.abc import Iterator

SHOWN = 20
"""Problems of one input that are listed; the others are counted."""

MOST_CHARACTERS = 1900
"""Length of a message, so that a screen holds it."""

MOST_QUOTED = 60
"""Characters of an input that a message quotes."""

_VARIABLE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+")
_WIDTHS = (MOST_CHARACTERS, 300, 150)  # characters of a problem, tried in this order until the message is short enough


class FerIdError(Exception):
    """Something the user can mend: the CLI prints the message without a traceback and exits with 2.

    Attributes:
        whole: the message is printed whole, however long: it is a list that must not be cut.
    """

    whole = False


class ConfigError(FerIdError):
    """A key, value or combination of the configuration is wrong."""


class DataError(FerIdError):
    """Raw input (an image, a CSV row, an annotation) is not what was expected."""


class StoreError(FerIdError):
    """A ClipStore on disk disagrees with itself or with what was asked of it."""


class RunError(FerIdError):
    """A RunDir is unfinished, damaged, in use, or of another kind."""


class LeakageError(FerIdError):
    """Train, validation and test share a subject."""


class CheckpointError(FerIdError):
    """A file of weights is damaged, of another model, or more than weights."""


def cut(text: object, most: int = MOST_QUOTED) -> str:
    """The beginning of a text as a terminal may show it: at most ``most`` characters, control characters escaped.

    >>> cut("a" * 100, most=10)
    'aaaaaaa...'
    """
    beginning = str(text)[: most + 1]
    shown = beginning if beginning.isprintable() else repr(beginning)[1:-1]
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def quoted(value: object) -> str:
    """``repr`` of a value that was found in an input, cut after :data:`MOST_QUOTED` characters of it.

    >>> quoted("a" * 100) == "'" + "a" * 57 + "...'"
    True
    """
    if isinstance(value, str):
        return repr(value if len(value) <= MOST_QUOTED else f"{value[: MOST_QUOTED - 3]}...")
    return cut(repr(value))


def brief(message: str, most: int = MOST_CHARACTERS) -> str:
    """A message whose middle is left out where it is longer than ``most`` characters."""
    if len(message) <= most:
        return message
    return f"{message[: most * 2 // 3]}\n... ({len(message):,} characters) ...\n{message[-most // 4 :]}"


class Problems:
    """Collects what is wrong with one input, so that it is mended in one round instead of ten.

    Problems of one kind are shown by examples and a count, so that many trivial ones hide no other kind.

    >>> problems = Problems("votes.csv")
    >>> problems.add("row 3, column happiness: 'x' is no number")
    >>> len(problems)
    1
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[str] = []
        self._kinds: dict[str, str] = {}
        self._grave: set[str] = set()

    def __len__(self) -> int:
        return len(self.found)

    def add(self, problem: str, *, kind: str = "", grave: bool = False) -> None:
        """Notes one problem: where (row, key), what was found, what was expected.

        Args:
            problem: ``place: what is wrong``.
            kind: what it has in common with others; empty: what follows the place, numbers and quotations aside.
            grave: listed before all that are not.
        """
        self.found.append(problem)
        if kind:
            self._kinds[problem] = kind
        if grave:
            self._grave.add(problem)

    def include(self, other: Problems, prefix: str) -> None:
        """Notes every problem of another input, with its name before it."""
        for problem in other.found:
            self.add(f"{prefix}: {problem}", kind=other.kind(problem), grave=problem in other._grave)

    def kind(self, problem: str) -> str:
        """What a problem has in common with others of its kind."""
        return self._kinds.get(problem) or _VARIABLE.sub("#", problem.partition(": ")[2] or problem)

    def raise_if_any(self, error: type[FerIdError], hint: str = "") -> None:
        """Raises ``error`` with the problems (of each kind some, and a count), or does nothing.

        Args:
            error: the class to raise.
            hint: what to do about it, as the last line.
        """
        if not self.found:
            return
        first = f"{self.where}: {len(self.found)} problem{'s' if len(self.found) > 1 else ''}"
        lines = [first, *self._lines(max(MOST_CHARACTERS - len(first) - len(hint), MOST_CHARACTERS // 3))]
        raise error("\n".join([*lines, hint] if hint else lines))

    def _lines(self, most: int) -> list[str]:
        """The problems, the grave ones first, in at most ``most`` characters."""
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
    """Of each kind at most so many problems, each at most ``width`` characters, and how many more there are."""
    for problems in kinds.values():
        for problem in problems[:examples]:
            yield f"  - {problem if len(problem) <= width else problem[: width - 3] + '...'}"
        if len(problems) > examples:
            yield f"    ... and {len(problems) - examples} more like this"


def _first_kinds(kinds: dict[str, list[str]], most: int) -> Iterator[str]:
    """An example of each kind as far as they fit, then how many problems of other kinds there are."""
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
