"""Which cells of tables of counts may be shown, so that none of the others can be worked out from them.

A cell with few subjects or clips is hidden. So are others, where a hidden one could be worked out: from the total (what
is left when all other groups are known), or from a table of pairs and its margins. What a reader knows is taken to be
everything that could be known: the exact counts of all cells that are shown, and the total. This is the usual
complementary suppression of official statistics (Hundepool et al. 2012, Statistical Disclosure Control, chapter 4):

* Where cells add up to something known, those hidden among them are never a single one, and together are no small cell
  themselves.
* Beyond single sums, a linear programme asks of every hidden cell whether all that is known leaves it one value only;
  as long as it does, a neighbour is hidden too.

Scores are shares of the same clips, so what does not give a count away does not give its score away either. What this
does not cover: two versions of one cohort, of which a reader has both, and a reader who is one of the group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

FEWEST_SUBJECTS = 5
"""Subjects below which a cell is never shown outside, whatever smaller number is asked for."""

FEWEST_CLIPS = 10
"""Clips below which it is not."""

Place = tuple[str, str | None]


@dataclass(frozen=True)
class Cell:
    """How many clips a group has, and of how many subjects."""

    clips: int
    subjects: int


@dataclass(frozen=True)
class Table:
    """Counts by group.

    Attributes:
        name: of the column or pair.
        cells: group -> counts; the clips that are in no group stand under None and are never shown.
        margins: for a pair, what its cells add up to: (column, group) -> groups of the pair.
        splits_subjects: whether a subject may be in several groups, so that subjects do not add up.
    """

    name: str
    cells: Mapping[str | None, Cell]
    margins: Mapping[Place, Sequence[str]]
    splits_subjects: bool


@dataclass(frozen=True)
class _Sum:
    """Cells that add up to another cell, or to the known total where there is no such cell."""

    cells: tuple[Place, ...]
    whole: Place | None
    splits_subjects: bool


def hidden_groups(tables: Sequence[Table], min_subjects: int = FEWEST_SUBJECTS) -> set[Place]:
    """The (table, group) that must not be shown; small ones, and those that would give them away.

    Args:
        tables: all that is to be shown of one set of clips.
        min_subjects: subjects that a cell needs; never less than ``FEWEST_SUBJECTS``.
    """
    least = max(min_subjects, FEWEST_SUBJECTS)
    cells = {(table.name, group): cell for table in tables for group, cell in table.cells.items()}
    sums = [one for table in tables for one in _sums(table, cells)]
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
    """A cell to hide because some sum would give hidden ones away; None where none does."""
    for one in sums:
        unknown = [place for place in one.cells if place in hidden]
        whole_known = one.whole is None or one.whole not in hidden
        if not unknown and whole_known:
            continue
        alone = len(unknown) + (not whole_known) == 1
        few = whole_known and _small([cells[place] for place in unknown], least, together=not one.splits_subjects)
        if (alone or few) and (more := _smallest(one, cells, hidden)) is not None:
            return more
    return None


def _determined(sums: Sequence[_Sum], cells: Mapping[Place, Cell], hidden: set[Place]) -> Place | None:
    """A cell to hide because all sums together leave a hidden one a single value; None where they do not."""
    for place in sorted(hidden, key=str):
        low, high = _range(sums, cells, hidden, place)
        if high - low > 0.5:
            continue
        near = [one for one in sums if place in one.cells or place == one.whole]
        found = [more for one in near if (more := _smallest(one, cells, hidden)) is not None]
        if found:
            return found[0]
    return None


def _range(sums: Sequence[_Sum], cells: Mapping[Place, Cell], hidden: set[Place], place: Place) -> tuple[float, float]:
    """Fewest and most clips that a hidden cell can have, for all that is known."""
    unknown = sorted(hidden, key=str)
    rows, right = [], []
    for one in sums:
        signs = dict.fromkeys(one.cells, 1.0) | ({one.whole: -1.0} if one.whole else {})
        rows.append([signs.get(cell, 0.0) for cell in unknown])
        right.append(sum(signs[cell] * cells[cell].clips for cell in unknown if cell in signs))
    goal = np.array([float(cell == place) for cell in unknown])
    least, most = (linprog(sign * goal, A_eq=rows, b_eq=right, method="highs") for sign in (1, -1))
    return float(least.fun), float("inf") if most.fun is None else -float(most.fun)


def _small(some: Sequence[Cell], least: int, *, together: bool) -> bool:
    """Whether cells are too small to be known as one; where subjects do not add up, they may all be the same ones."""
    subjects = [cell.subjects for cell in some]
    return (sum(subjects) if together else max(subjects)) < least or sum(cell.clips for cell in some) < FEWEST_CLIPS


def _smallest(one: _Sum, cells: Mapping[Place, Cell], hidden: set[Place]) -> Place | None:
    """The smallest cell of a sum that is still shown, its whole last of all."""
    shown = [place for place in one.cells if place not in hidden]
    if not shown:
        return one.whole if one.whole is not None and one.whole not in hidden else None
    return min(shown, key=lambda place: (cells[place].clips, place))
