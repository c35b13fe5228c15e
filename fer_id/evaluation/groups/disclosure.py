"""Public view of subgroup scores: the part of a real cohort's breakdown that may leave the machine.

Small groups are hidden, and with them the groups that would disclose them
(:mod:`fer_id.evaluation.groups.suppression`). A visible group has its scores, their intervals and a lower bound of its
number of subjects; nothing by class, which has fewer subjects than the group. Gaps are taken among the visible groups,
so that they disclose no hidden score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fer_id.evaluation.confidence import calibration
from fer_id.evaluation.groups.gaps import TESTED
from fer_id.evaluation.groups.subgroups import WITHIN
from fer_id.evaluation.groups.suppression import FEWEST_CLIPS, FEWEST_SUBJECTS, Cell, Place, Table, hidden_groups
from fer_id.runs.metrics import Column, GroupScores, Subgroups

Json = dict[str, Any]

NOT_SHOWN = "a group that was compared is not shown"

_SCORES = (*TESTED, *calibration.SCORES, "abstention")


def public_view(subgroups: Subgroups) -> Json:
    """Return the publishable part of the entry ``subgroups`` of ``metrics.json``.

    Returns:
        ``min_subjects``, ``min_clips``, and for every column: ``groups`` by value (``at_least_subjects`` in steps of
        ``min_subjects``, scores, ``intervals`` of the tested ones), ``hidden`` (the number of hidden groups) and
        ``gaps``.
    """
    least, columns = max(FEWEST_SUBJECTS, subgroups.min_subjects), subgroups.columns
    hidden = hidden_groups([_table(name, column, columns) for name, column in columns.items()], least)
    visible = {}
    for name, column in columns.items():
        groups = {value: group for value, group in column.groups.items() if (name, value) not in hidden}
        visible[name] = {
            "groups": {value: _group(group, least) for value, group in groups.items()},
            "hidden": len(column.groups) - len(groups),
            "gaps": {score: _gap(column, groups, score, subgroups.min_subjects) for score in TESTED},
        }
    return {"min_subjects": least, "min_clips": FEWEST_CLIPS, "columns": visible}


def _table(name: str, column: Column, columns: Mapping[str, Column]) -> Table:
    cells: dict[str | None, Cell] = {
        value: Cell(group.n_clips, group.n_subjects) for value, group in column.groups.items()
    }
    without = column.in_no_group
    if without.n_clips:
        cells[None] = Cell(without.n_clips, without.n_subjects)
    margins: dict[Place, list[str]] = {}
    known = {part: list(columns[part].groups) for part in column.of if part in columns}
    if len(column.of) > 1 and known:
        first, second = column.of
        wide = len(known[second]) if second in known else len(column.groups) // len(known[first])
        for place, pair in enumerate(column.groups):
            for part, index in ((first, place // wide), (second, place % wide)):
                if part in known:
                    margins.setdefault((part, known[part][index]), []).append(pair)
    return Table(name, cells, margins, splits_subjects=column.varies == WITHIN)


def _group(group: GroupScores, step: int) -> Json:
    intervals = {name: group.intervals[name] for name in TESTED}
    return {
        "at_least_subjects": group.n_subjects // step * step,
        **{name: group[name] for name in _SCORES},
        "intervals": {
            name: None if interval is None else {key: interval[key] for key in ("low", "high", "level")}
            for name, interval in intervals.items()
        },
    }


def _gap(column: Column, groups: Mapping[str, GroupScores], score: str, min_subjects: int) -> Json:
    """Return the gap among the visible groups, with its test where no compared group is hidden."""
    result: Json = {"gap": None, "ratio": None, "worst": None, "best": None}
    result |= {"p": None, "p_holm": None, "verdict": None, "reason": None}
    compared = [value for value, group in column.groups.items() if group.n_subjects >= min_subjects]
    if any(value not in groups for value in compared):
        result["reason"] = NOT_SHOWN
        values = {value: groups[value][score] for value in compared if value in groups}
        if len(values) < 2 or None in values.values():
            return result
        worst, best = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
        ratio = values[worst] / values[best] if values[best] > 0 else None
        return result | {"gap": values[best] - values[worst], "ratio": ratio, "worst": worst, "best": best}
    gap = column.gaps[score]
    return result | {key: gap[key] for key in result if key != "reason"}
