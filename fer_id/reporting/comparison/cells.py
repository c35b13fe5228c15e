"""What stands in the table of a comparison: cells, columns, and groups of columns shown or hidden together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fer_id.evaluation.intervals import Interval
from fer_id.reporting.comparison.compared_run import Compared

NONE = "–"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says.
        small: below it.
        value: what it is sorted by; None: last.
        told: the same in a sentence, for who points at it.
        css: further classes.
        share: how dark it is shaded, in [0, 1]; None: not.
        strip: value and interval to draw, each in [0, 1].
    """

    text: str = NONE
    small: str = ""
    value: float | str | None = None
    told: str = ""
    css: str = ""
    share: float | None = None
    strip: tuple[float, Mapping[str, float] | None] | None = None


@dataclass(frozen=True)
class Column:
    """A heading, what it means, and what stands in it for a run."""

    title: str
    cell: Callable[[Compared], Cell]
    meaning: str = ""
    numeric: bool = True
    sortable: bool = True


@dataclass(frozen=True)
class Group:
    """Columns that are shown or hidden together.

    Attributes:
        key: of its box on the page.
        title: of its box and above its columns.
        columns: from left to right.
        shown: whether it is, at first.
    """

    key: str
    title: str
    columns: list[Column]
    shown: bool = True


def counted_cell(number: float | None) -> Cell:
    """A number with its thousands apart."""
    return Cell() if number is None else Cell(f"{number:,}", value=number)


def signed_cell(scale: float, value: float, interval: Interval, digits: int, css: str = "") -> Cell:
    """A difference with its sign and its interval, or why there is none."""
    if math.isnan(value):
        return Cell(told=interval.reason or "", css=css)
    if interval.low is None or interval.high is None:
        return Cell(_with_sign(scale * value, digits), "no interval", value, told=interval.reason or "", css=css)
    extent = f"{_with_sign(scale * interval.low, digits)} to {_with_sign(scale * interval.high, digits)}"
    return Cell(_with_sign(scale * value, digits), extent, value, css=css)


def _with_sign(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
