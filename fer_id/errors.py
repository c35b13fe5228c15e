"""One tree of errors that the user can mend, and a collector that reports all problems of one input together."""

from __future__ import annotations

SHOWN = 20


class FerIdError(Exception):
    """Something the user can mend: the CLI prints the message without a traceback and exits with 2."""


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


class Problems:
    """Collects what is wrong with one input, so that it is mended in one round instead of ten.

    >>> problems = Problems("votes.csv")
    >>> problems.add("row 3, column happiness: 'x' is no number")
    >>> len(problems)
    1
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[str] = []

    def __len__(self) -> int:
        return len(self.found)

    def add(self, problem: str) -> None:
        """Notes one problem: where (row, key), what was found, what was expected."""
        self.found.append(problem)

    def raise_if_any(self, error: type[FerIdError], hint: str = "") -> None:
        """Raises ``error`` with every problem listed (the first 20, then a count), or does nothing.

        Args:
            error: the class to raise.
            hint: what to do about it, as the last line.
        """
        if not self.found:
            return
        lines = [f"{self.where}: {len(self.found)} problem{'s' if len(self.found) > 1 else ''}"]
        lines += [f"  - {problem}" for problem in self.found[:SHOWN]]
        if len(self.found) > SHOWN:
            lines.append(f"  ... and {len(self.found) - SHOWN} more")
        if hint:
            lines.append(hint)
        raise error("\n".join(lines))
