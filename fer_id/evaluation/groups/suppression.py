"""Disclosure control of tables of counts: primary and complementary suppression of small cells.

A cell with few subjects or clips is hidden, and so are further cells where a hidden count could be derived: from the
total less all other groups, or from a table of pairs and its margins. The reader is assumed to know the exact counts of
all visible cells, and the total. This is the usual complementary suppression of official statistics (Hundepool et al.
2012, Statistical Disclosure Control, chapter 4):

* Where cells add up to a known count, a single cell among them is never hidden alone, and the hidden cells are not
  small together.
* Beyond single sums, a linear programme computes the range of every hidden cell that the known counts leave; where that
  is a single value, a neighbour is hidden too.

Scores are shares of the same clips, so a score is protected where its count is. Not covered: a reader with two versions
of one cohort, and a reader who is a member of the group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

FEWEST_SUBJECTS = 5
"""Fewest subjects of a visible cell; settings can only raise it."""

FEWEST_CLIPS = 10
"""Fewest clips of a visible cell."""

Place = tuple[str, str | None]


@dataclass(frozen=True)
class Cell:
    """Number of clips of a group, and of the subjects in them."""

    clips: int
    subjects: int


@dataclass(frozen=True)
class Table:
    """Counts by group of a column or pair."""

    name: str
    cells: Mapping[str | None, Cell]  # by group; the clips in no group are under None, which is always hidden
    margins: Mapping[Place, Sequence[str]]  # for a pair, the groups of the pair that add up to each (column, group)
    splits_subjects: bool  # True where a subject may be in several groups, so that subjects do not add up


@dataclass(frozen=True)
class _Sum:
    """Cells that add up to another cell (``whole``), or to the known total where ``whole`` is None."""

    cells: tuple[Place, ...]
    whole: Place | None
    splits_subjects: bool


def hidden_groups(tables: Sequence[Table], min_subjects: int = FEWEST_SUBJECTS) -> set[Place]:
    """Return the (table, group) to hide: small cells, and cells that would disclose them.

    Pass all tables of one set of clips to be published; ``min_subjects`` below ``FEWEST_SUBJECTS`` has no effect.
    """
    least = max(min_subjects, FEWEST_SUBJECTS)
    cells = {(table.name, group): cell for table in tables for group, cell in table.cells.items()}
    sums = [equation for table in tables for equation in _sums(table, cells)]
    hidden = {place for place, cell in cells.items() if place[1] is None or _small([cell], least, together=True)}
    while (more := _exposed_by_sum(sums, cells, hidden, least) or _determined(sums, cells, hidden)) is not None:
        hidden.add(more)
    return hidden


def _sums(table: Table, cells: Mapping[Place, Cell]) -> Iterator[_Sum]:
    yield _Sum(tuple((table.name, group) for group in table.cells), None, table.splits_subjects)
    for whole, groups in table.margins.items():
        if whole in cells:
            yield _Sum(tuple((table.name, group) for group in groups), whole, table.splits_subjects)


def _exposed_by_sum(sums: Sequence[_Sum], cells: Mapping[Place, Cell], hidden: set[Place], least: int) -> Place | None:
    """Return a cell to hide because a sum would disclose hidden cells; None where no sum does."""
    for equation in sums:
        unknown = [place for place in equation.cells if place in hidden]
        whole_known = equation.whole is None or equation.whole not in hidden
        if not unknown and whole_known:
            continue
        alone = len(unknown) + (not whole_known) == 1
        few = whole_known and _small([cells[place] for place in unknown], least, together=not equation.splits_subjects)
        if (alone or few) and (more := _smallest(equation, cells, hidden)) is not None:
            return more
    return None


def _determined(sums: Sequence[_Sum], cells: Mapping[Place, Cell], hidden: set[Place]) -> Place | None:
    """Return a cell to hide because all sums together determine a hidden cell; None where they do not."""
    for place in sorted(hidden, key=str):
        low, high = _range(sums, cells, hidden, place)
        if high - low > 0.5:
            continue
        for equation in sums:
            touches = place in equation.cells or place == equation.whole
            if touches and (more := _smallest(equation, cells, hidden)) is not None:
                return more
    return None


def _range(sums: Sequence[_Sum], cells: Mapping[Place, Cell], hidden: set[Place], place: Place) -> tuple[float, float]:
    """Return the fewest and most clips of a hidden cell that are consistent with all known counts."""
    unknown = sorted(hidden, key=str)
    rows, right = [], []
    for equation in sums:
        signs = dict.fromkeys(equation.cells, 1.0) | ({equation.whole: -1.0} if equation.whole else {})
        rows.append([signs.get(cell, 0.0) for cell in unknown])
        right.append(sum(signs[cell] * cells[cell].clips for cell in unknown if cell in signs))
    goal = np.array([float(cell == place) for cell in unknown])
    least, most = (linprog(sign * goal, A_eq=rows, b_eq=right, method="highs") for sign in (1, -1))
    return float(least.fun), float("inf") if most.fun is None else -float(most.fun)


def _small(selected: Sequence[Cell], least: int, *, together: bool) -> bool:
    """Return True where cells are too small in sum; with ``together`` False their subjects may be the same ones."""
    subjects = [cell.subjects for cell in selected]
    return (sum(subjects) if together else max(subjects)) < least or sum(cell.clips for cell in selected) < FEWEST_CLIPS


def _smallest(equation: _Sum, cells: Mapping[Place, Cell], hidden: set[Place]) -> Place | None:
    """Return the smallest visible cell of a sum, else its whole; None where all are hidden."""
    visible = [place for place in equation.cells if place not in hidden]
    if not visible:
        return equation.whole if equation.whole is not None and equation.whole not in hidden else None
    return min(visible, key=lambda place: (cells[place].clips, place))
