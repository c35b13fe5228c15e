"""Cells, columns and column groups of a comparison table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fer_id.evaluation.intervals import Interval
from fer_id.reporting.comparison.compared_run import Compared

NONE = "–"


@dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Attributes:
        text: main text.
        small: small text below it.
        value: sort key; None sorts last.
        tooltip: shown under the pointer.
        css: further CSS classes.
        share: darkness of its shade, in [0, 1]; None: no shade.
        strip: value and interval to draw, each in [0, 1].
    """

    text: str = NONE
    small: str = ""
    value: float | str | None = None
    tooltip: str = ""
    css: str = ""
    share: float | None = None
    strip: tuple[float, Mapping[str, float] | None] | None = None


@dataclass(frozen=True)
class Column:
    """A column: title, function from a run to its cell, and meaning."""

    title: str
    cell: Callable[[Compared], Cell]
    meaning: str = ""
    numeric: bool = True
    sortable: bool = True


@dataclass(frozen=True)
class Group:
    """Columns that are shown or hidden together.

    Attributes:
        key: key of its checkbox on the page.
        title: title of its checkbox and above its columns.
        columns: columns from left to right.
        visible: whether the group is there before a checkbox is used.
    """

    key: str
    title: str
    columns: list[Column]
    visible: bool = True


def counted_cell(number: float | None) -> Cell:
    """Return a cell with a number and thousands separators."""
    return Cell() if number is None else Cell(f"{number:,}", value=number)


def signed_cell(scale: float, value: float, interval: Interval, digits: int, css: str = "") -> Cell:
    """Return a cell with a signed difference and its interval, or the reason why there is none."""
    if math.isnan(value):
        return Cell(tooltip=interval.reason or "", css=css)
    if interval.low is None or interval.high is None:
        return Cell(_with_sign(scale * value, digits), "no interval", value, tooltip=interval.reason or "", css=css)
    extent = f"{_with_sign(scale * interval.low, digits)} to {_with_sign(scale * interval.high, digits)}"
    return Cell(_with_sign(scale * value, digits), extent, value, css=css)


def _with_sign(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
