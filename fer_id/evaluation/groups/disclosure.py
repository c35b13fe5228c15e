"""Public view of subgroup scores: the part of a real cohort's breakdown that may leave the machine.

Small groups are hidden, and with them the groups that would disclose them
(:mod:`fer_id.evaluation.groups.suppression`). A visible group has its scores, their intervals and a lower bound of its
number of subjects; nothing by class, which has fewer subjects than the group. Gaps are taken among the visible groups,
so that they disclose no hidden score.
"""

from __future__ import annotations

from collections.abc import Mapping

from fer_id.evaluation.confidence import calibration
from fer_id.evaluation.groups.gaps import TESTED
from fer_id.evaluation.groups.subgroups import WITHIN
from fer_id.evaluation.groups.suppression import FEWEST_CLIPS, FEWEST_SUBJECTS, Cell, Place, Table, hidden_groups
from fer_id.runs.metrics import Column, GroupScores, Subgroups

NOT_SHOWN = "a group that was compared is not shown"

_SCORES = (*TESTED, *calibration.SCORES, "abstention")
_GAP = ("gap", "ratio", "worst", "best", "p", "p_holm", "verdict")


def public_view(subgroups: Subgroups) -> dict[str, object]:
    """Return the publishable part of the entry ``subgroups`` of ``metrics.json``.

    ``at_least_subjects`` of a group is in steps of ``min_subjects``, its ``intervals`` are those of the tested scores,
    and ``hidden`` is the number of hidden groups of a column.
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


def _group(group: GroupScores, step: int) -> dict[str, object]:
    intervals = {name: group.intervals[name] for name in TESTED}
    limits = {name: each and {key: each[key] for key in ("low", "high", "level")} for name, each in intervals.items()}
    scores = {name: group[name] for name in _SCORES}
    return {"at_least_subjects": group.n_subjects // step * step, **scores, "intervals": limits}


def _gap(column: Column, groups: Mapping[str, GroupScores], score: str, min_subjects: int) -> dict[str, object]:
    """Return the gap among the visible groups, with its test where no compared group is hidden."""
    compared = [value for value, group in column.groups.items() if group.n_subjects >= min_subjects]
    visible = {value: groups[value][score] for value in compared if value in groups}
    if len(visible) == len(compared):
        return {key: column.gaps[score][key] for key in _GAP} | {"reason": None}
    result: dict[str, object] = dict.fromkeys(_GAP) | {"reason": NOT_SHOWN}
    if len(visible) < 2 or None in visible.values():
        return result
    worst, best = min(visible, key=visible.__getitem__), max(visible, key=visible.__getitem__)
    ratio = visible[worst] / visible[best] if visible[best] > 0 else None
    return result | {"gap": visible[best] - visible[worst], "ratio": ratio, "worst": worst, "best": best}
