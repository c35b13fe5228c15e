"""Content of ``explain.json``: attribution by region, class and group, and the verdicts of the map checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np
import pandas as pd

from fer_id.evaluation.intervals import Interval
from fer_id.evaluation.paired import holm
from fer_id.explain.regions import OUTSIDE, REGIONS, expected
from fer_id.explain.shares import AREA, GROUP, SHARE, group_gap, ratio, ratios
from fer_id.explain.verdicts import DECISIVE, Verdict, verdicts


class Ratio(TypedDict):
    """Ratio of attribution to area with its interval; None where undefined."""

    value: float | None
    low: float | None
    high: float | None
    n_subjects: int
    reason: str | None


class Region(Ratio):
    """Attribution to a region, with the mean shares of attribution and area."""

    share: float | None
    area: float | None


class Expected(TypedDict):
    """Attribution to the regions in which an emotion shows; without an interval for neutral, which shows in none."""

    regions: list[str]
    value: float | None
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    n_subjects: NotRequired[int]
    reason: NotRequired[str | None]


class ByClass(TypedDict):
    """Off-face attribution, expected regions and all regions of the clips that were predicted as a class."""

    n_clips: int
    leakage: Ratio
    expected: Expected
    regions: dict[str, Region]


class Shift(TypedDict):
    """Largest minus smallest ratio among groups, and its p-value before and after correction; None where undefined."""

    gap: float | None
    p: float | None
    p_holm: NotRequired[float | None]


class ByGroup(Shift):
    """Off-face attribution of the groups of a column, and regions of each with their shifts."""

    groups: dict[str, Ratio]
    regions: dict[str, dict[str, Region]]
    shifts: dict[str, Shift]


class Outcome(Ratio):
    """Off-face attribution of so many clips."""

    n_clips: int


class Summary(TypedDict):
    """Numbers of the explanation page; ``leakage`` is the off-face attribution."""

    n_clips: int
    n_with_regions: int
    n_subjects: int
    left_out: dict[str, int]
    leakage: Ratio
    regions: dict[str, Region]
    by_class: dict[str, ByClass]
    by_group: dict[str, ByGroup]
    by_method: dict[str, Ratio]
    by_frame: dict[str, list[float | None]]
    right_and_wrong: dict[str, Outcome]
    checks: dict[str, Verdict]
    failed: list[str]
    undecided: list[str]


def summary(
    rows: pd.DataFrame,
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    checks: pd.DataFrame | None,
    methods: Mapping[str, pd.DataFrame],
    seed: int = 0,
) -> Summary:
    """Return the numbers of the explanation page.

    ``rows`` are those of ``fer_id.explain.clips``, with ``label`` and ``group <name>`` for every group column;
    ``checks`` those of ``fer_id.explain.checks``; ``methods`` are the shares of the checked clips by method.
    """
    classes = {labels[code]: rows[rows["target"] == code] for code in sorted(set(rows["target"].tolist()) - {-1})}
    judged = {} if checks is None else verdicts(checks)
    return {
        "n_clips": len(rows),
        "n_with_regions": int(rows["reason"].isna().sum()),
        "n_subjects": int(rows["subject_id"].nunique()),
        "left_out": {str(reason): int(count) for reason, count in rows["reason"].value_counts().items()},
        "leakage": attribution_ratio(rows, OUTSIDE),
        "regions": _regions(rows),
        "by_class": {
            name: {
                "n_clips": len(classes[name]),
                "leakage": attribution_ratio(classes[name], OUTSIDE),
                "expected": _expected(classes[name], name),
                "regions": _regions(classes[name]),
            }
            for name in labels
            if name in classes
        },
        "by_group": _by_group(rows, groups, seed),
        "by_method": {name: attribution_ratio(table, OUTSIDE) for name, table in methods.items()},
        "by_frame": _by_frame(rows),
        "right_and_wrong": _right_and_wrong(rows, labels),
        "checks": judged,
        "failed": [name for name, verdict in judged.items() if verdict["passed"] is False],
        "undecided": [name for name in judged if name in DECISIVE and judged[name]["passed"] is None],
    }


def attribution_ratio(table: pd.DataFrame, regions: Sequence[str]) -> Ratio:
    """Return the ratio of attribution to area with its interval, for JSON."""
    return _as_json(*ratio(table, regions))


def _as_json(value: float, interval: Interval) -> Ratio:
    return {
        "value": None if np.isnan(value) else value,
        "low": interval.low,
        "high": interval.high,
        "n_subjects": interval.n_subjects,
        "reason": interval.reason,
    }


def _regions(table: pd.DataFrame) -> dict[str, Region]:
    known = table[table[f"{SHARE}{REGIONS[0]}"].notna()]
    values = ratios(table, {name: (name,) for name in REGIONS})
    return {
        name: {
            **_as_json(*values[name]),
            "share": float(known[f"{SHARE}{name}"].mean()) if len(known) else None,
            "area": float(known[f"{AREA}{name}"].mean()) if len(known) else None,
        }
        for name in REGIONS
    }


def _expected(table: pd.DataFrame, label: str) -> Expected:
    if not (regions := expected(label)):
        return {"regions": [], "value": None}
    return {"regions": list(regions), **attribution_ratio(table, regions)}


def _by_group(rows: pd.DataFrame, groups: Sequence[str], seed: int) -> dict[str, ByGroup]:
    """Return by column: off-face attribution and regions of each group, and the tested shifts between groups.

    Off-face attribution over the columns is one family of tests; the regions, ten per column, are another.
    """
    columns: dict[str, ByGroup] = {}
    for group in groups:
        column = f"{GROUP}{group}"
        present = rows[rows[column].notna()]
        if present[column].nunique() < 2:
            continue
        parts = {str(name): clips for name, clips in present.groupby(column)}
        columns[group] = {
            **_shift(rows, column, OUTSIDE, seed),
            "groups": {name: attribution_ratio(clips, OUTSIDE) for name, clips in parts.items()},
            "regions": {name: _regions(clips) for name, clips in parts.items()},
            "shifts": {name: _shift(rows, column, (name,), seed) for name in REGIONS},
        }
    _correct(columns)
    _correct({f"{column} {name}": shift for column in columns for name, shift in columns[column]["shifts"].items()})
    return columns


def _shift(rows: pd.DataFrame, column: str, regions: Sequence[str], seed: int) -> Shift:
    """Return the largest minus the smallest ratio among the groups, and its p-value; None where undefined."""
    gap, p = group_gap(rows, column, regions, seed=seed)
    return {"gap": None if np.isnan(gap) else gap, "p": None if np.isnan(p) else p}


def _correct(family: Mapping[str, Shift]) -> None:
    """Add the p-value corrected by Holm to every member of a family of tests."""
    corrected = holm({name: np.nan if test["p"] is None else test["p"] for name, test in family.items()})
    for name, test in family.items():
        test["p_holm"] = None if np.isnan(corrected[name]) else corrected[name]


def _by_frame(rows: pd.DataFrame) -> dict[str, list[float | None]]:
    """Return means over the clips frame by frame; empty where clips differ in length or are stills."""
    lengths = {len(values) for values in rows["importance"].dropna()}
    if len(lengths) != 1 or lengths == {1}:
        return {}
    means: dict[str, list[float | None]] = {}
    for name in ("importance", "occlusion"):
        table = pd.DataFrame(rows[name].dropna().tolist())
        means[name] = [None if np.isnan(value) else float(value) for value in table.mean()]
    return means


def _right_and_wrong(rows: pd.DataFrame, labels: Sequence[str]) -> dict[str, Outcome]:
    """Return the off-face attribution of correctly and of wrongly classified clips."""
    names = np.array([*labels, ""], dtype=object)  # "" for a clip without a face
    right = names[rows["target"].to_numpy(int)] == rows["label"].to_numpy(object)
    known = rows["label"].notna() & (rows["target"] >= 0)
    return {
        name: {"n_clips": int(which.sum()), **attribution_ratio(rows[which], OUTSIDE)}
        for name, which in (("right", known & right), ("wrong", known & ~right))
    }
