"""``explain.json``: what the maps of a run's clips say, by class and by group, and whether they can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fer_id.evaluation.intervals import Interval
from fer_id.evaluation.paired import holm
from fer_id.explain.regions import OUTSIDE, REGIONS, expected
from fer_id.explain.shares import AREA, GROUP, SHARE, group_gap, ratio, ratios
from fer_id.explain.verdicts import DECISIVE, verdicts


def summary(
    rows: pd.DataFrame,
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    checks: pd.DataFrame | None,
    methods: Mapping[str, pd.DataFrame],
    seed: int = 0,
) -> dict[str, Any]:
    """Everything that the page shows in numbers.

    Args:
        rows: as ``fer_id.explain.clips`` makes them, with ``label`` and ``group <name>`` for every group column.
        labels: names of the classes by index.
        groups: names of the group columns.
        checks: of ``fer_id.explain.checks.check_clips``; None where none was asked for.
        methods: method -> the shares of the clips that were checked.
    """
    classes = {labels[code]: rows[rows["target"] == code] for code in sorted(set(rows["target"].tolist()) - {-1})}
    judged = {} if checks is None else verdicts(checks)
    return {
        "n_clips": len(rows),
        "n_with_regions": int(rows["reason"].isna().sum()),
        "n_subjects": int(rows["subject_id"].nunique()),
        "left_out": rows["reason"].value_counts().to_dict(),
        "leakage": told(rows, OUTSIDE, seed),
        "regions": _regions(rows, seed),
        "by_class": {
            name: {
                "n_clips": len(classes[name]),
                "leakage": told(classes[name], OUTSIDE, seed),
                "expected": _expected(classes[name], name, seed),
                "regions": _regions(classes[name], seed),
            }
            for name in labels
            if name in classes
        },
        "by_group": _by_group(rows, groups, seed),
        "by_method": {name: told(table, OUTSIDE, seed) for name, table in methods.items()},
        "by_frame": _by_frame(rows),
        "right_and_wrong": _right_and_wrong(rows, labels, seed),
        "checks": judged,
        "failed": [name for name, one in judged.items() if one["passed"] is False],
        "undecided": [name for name in judged if name in DECISIVE and judged[name]["passed"] is None],
    }


def told(table: pd.DataFrame, regions: Sequence[str], seed: int) -> dict[str, Any]:
    """A ratio of attribution to area with its interval, for JSON."""
    return _as_json(*ratio(table, regions, seed=seed))


def _as_json(value: float, interval: Interval) -> dict[str, Any]:
    return {
        "value": None if np.isnan(value) else value,
        "low": interval.low,
        "high": interval.high,
        "n_subjects": interval.n_subjects,
        "reason": interval.reason,
    }


def _regions(table: pd.DataFrame, seed: int) -> dict[str, dict[str, Any]]:
    known = table[table[f"{SHARE}{REGIONS[0]}"].notna()]
    found = ratios(table, {name: (name,) for name in REGIONS}, seed=seed)
    return {
        name: {
            **_as_json(*found[name]),
            "share": float(known[f"{SHARE}{name}"].mean()) if len(known) else None,
            "area": float(known[f"{AREA}{name}"].mean()) if len(known) else None,
        }
        for name in REGIONS
    }


def _expected(table: pd.DataFrame, label: str, seed: int) -> dict[str, Any]:
    regions = expected(label)
    return {"regions": list(regions), **(told(table, regions, seed) if regions else {"value": None})}


def _by_group(rows: pd.DataFrame, groups: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
    """By column: leakage and regions of each group, and the shift between groups of each, tested.

    Leakage is one family of tests over the columns; the regions, of which there are ten a column, are another.
    """
    found: dict[str, dict[str, Any]] = {}
    for group in groups:
        column = f"{GROUP}{group}"
        present = rows[rows[column].notna()]
        if present[column].nunique() < 2:
            continue
        parts = {str(name): clips for name, clips in present.groupby(column)}
        found[group] = {
            **_shift(rows, column, OUTSIDE, seed),
            "groups": {name: told(clips, OUTSIDE, seed) for name, clips in parts.items()},
            "regions": {name: _regions(clips, seed) for name, clips in parts.items()},
            "shifts": {name: _shift(rows, column, (name,), seed) for name in REGIONS},
        }
    _correct(found)
    _correct({f"{column} {name}": one for column in found for name, one in found[column]["shifts"].items()})
    return found


def _shift(rows: pd.DataFrame, column: str, regions: Sequence[str], seed: int) -> dict[str, Any]:
    """Largest minus smallest ratio among the groups, and its p; None where undefined."""
    gap, p = group_gap(rows, column, regions, seed=seed)
    return {"gap": None if np.isnan(gap) else gap, "p": None if np.isnan(p) else p}


def _correct(family: Mapping[str, dict[str, Any]]) -> None:
    """Gives every member of a family of tests its p by Holm."""
    corrected = holm({name: np.nan if one["p"] is None else one["p"] for name, one in family.items()})
    for name, one in family.items():
        one["p_holm"] = None if np.isnan(corrected[name]) else corrected[name]


def _by_frame(rows: pd.DataFrame) -> dict[str, list[float | None]]:
    """Means over the clips, frame by frame; empty where clips differ in length or are stills."""
    lengths = {len(values) for values in rows["importance"].dropna()}
    if len(lengths) != 1 or lengths == {1}:
        return {}
    means: dict[str, list[float | None]] = {}
    for name in ("importance", "occlusion"):
        table = pd.DataFrame(rows[name].dropna().tolist())
        means[name] = [None if np.isnan(value) else float(value) for value in table.mean()]
    return means


def _right_and_wrong(rows: pd.DataFrame, labels: Sequence[str], seed: int) -> dict[str, Any]:
    """Leakage where the model was right and where it was wrong."""
    names = np.array([*labels, ""], dtype=object)  # the last for a clip without a face
    right = names[rows["target"].to_numpy(int)] == rows["label"].to_numpy(object)
    known = rows["label"].notna() & (rows["target"] >= 0)
    return {
        name: {"n_clips": int(which.sum()), **told(rows[which], OUTSIDE, seed)}
        for name, which in (("right", known & right), ("wrong", known & ~right))
    }
