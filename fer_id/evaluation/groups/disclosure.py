"""The public view of subgroups: what may leave the house of a real cohort.

Small groups are hidden, and with them what would give them away (:mod:`fer_id.evaluation.groups.suppression`). What is
shown of a group are its scores and intervals, and of how many subjects at least they are; nothing by class, which has
fewer subjects than the group. Gaps are among the groups that are shown, so that no hidden score can be read from one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fer_id.evaluation.confidence import calibration
from fer_id.evaluation.groups.gaps import TESTED
from fer_id.evaluation.groups.subgroups import WITHIN
from fer_id.evaluation.groups.suppression import FEWEST_CLIPS, FEWEST_SUBJECTS, Cell, Place, Table, hidden_groups

Json = dict[str, Any]

NOT_SHOWN = "a group that was compared is not shown"

_SCORES = (*TESTED, *calibration.SCORES, "abstention")


def public_view(subgroups: Mapping[str, Any]) -> Json:
    """The entry ``subgroups`` of ``metrics.json`` as it may be shown outside.

    Returns:
        ``min_subjects``, ``min_clips``, and of every column: ``groups`` by value (``at_least_subjects`` in steps of
        ``min_subjects``, scores, ``intervals`` of the tested ones), ``hidden`` (how many groups are not shown) and
        ``gaps``.
    """
    least = max(FEWEST_SUBJECTS, int(subgroups["min_subjects"]))
    columns: Mapping[str, Json] = subgroups["columns"]
    hidden = hidden_groups([_table(name, column, columns) for name, column in columns.items()], least)
    shown = {}
    for name, column in columns.items():
        groups = {value: one for value, one in column["groups"].items() if (name, value) not in hidden}
        shown[name] = {
            "groups": {value: _group(one, least) for value, one in groups.items()},
            "hidden": len(column["groups"]) - len(groups),
            "gaps": {score: _gap(column, groups, score, int(subgroups["min_subjects"])) for score in TESTED},
        }
    return {"min_subjects": least, "min_clips": FEWEST_CLIPS, "columns": shown}


def _table(name: str, column: Json, columns: Mapping[str, Json]) -> Table:
    cells: dict[str | None, Cell] = {
        value: Cell(one["n_clips"], one["n_subjects"]) for value, one in column["groups"].items()
    }
    without = column["in_no_group"]
    if without["n_clips"]:
        cells[None] = Cell(without["n_clips"], without["n_subjects"])
    margins: dict[Place, list[str]] = {}
    known = {one: list(columns[one]["groups"]) for one in column["of"] if one in columns}
    if len(column["of"]) > 1 and known:
        first, second = column["of"]
        wide = len(known[second]) if second in known else len(column["groups"]) // len(known[first])
        for place, pair in enumerate(column["groups"]):
            for one, index in ((first, place // wide), (second, place % wide)):
                if one in known:
                    margins.setdefault((one, known[one][index]), []).append(pair)
    return Table(name, cells, margins, splits_subjects=column["varies"] == WITHIN)


def _group(group: Json, step: int) -> Json:
    intervals = {name: group["intervals"][name] for name in TESTED}
    return {
        "at_least_subjects": group["n_subjects"] // step * step,
        **{name: group.get(name) for name in _SCORES},
        "intervals": {
            name: None if one is None else {key: one[key] for key in ("low", "high", "level")}
            for name, one in intervals.items()
        },
    }


def _gap(column: Json, groups: Mapping[str, Json], score: str, min_subjects: int) -> Json:
    """The gap among the groups that are shown; with its test where these are all that were compared."""
    found: Json = {"gap": None, "ratio": None, "worst": None, "best": None}
    found |= {"p": None, "p_holm": None, "verdict": None, "reason": None}
    compared = [value for value, one in column["groups"].items() if one["n_subjects"] >= min_subjects]
    if any(value not in groups for value in compared):
        found["reason"] = NOT_SHOWN
        values = {value: groups[value][score] for value in compared if value in groups}
        if len(values) < 2 or None in values.values():
            return found
        worst, best = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
        ratio = values[worst] / values[best] if values[best] > 0 else None
        return found | {"gap": values[best] - values[worst], "ratio": ratio, "worst": worst, "best": best}
    told = column["gaps"][score]
    return found | {key: told[key] for key in found if key != "reason"}
