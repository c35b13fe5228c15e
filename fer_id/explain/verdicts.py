"""Verdicts on attribution maps, from the results of ``fer_id.explain.checks``."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import pandas as pd

from fer_id.evaluation.intervals import ratio_intervals

MOST_ALIKE_WHEN_RANDOM = 0.5
"""Maximum rank correlation with the map of a random-weights model; above it the map shows mostly the picture."""

LEAST_ALIKE_UNDER_NOISE = 0.7
"""Minimum rank correlation with the map of the same clip under noise; below it the map is mostly chance."""

LEAST_EFFECT = 0.02
"""Minimum mean change of the probability when everything is blurred; below it deletion and insertion are undecided."""

_ALIKE = 1e-9

RANDOM_WEIGHTS = "random weights"
"""Name of the same model with random weights: its off-face attribution comes from architecture, not learning."""

DECISIVE = {
    "random everything": "the map of a model of random weights is much like it",
    "stability": "a little noise in the picture changes it",
    "deletion": "blurring what it marks costs the class no more than blurring anything",
    "insertion": "showing what it marks gives the class no more than showing anything",
}
"""Check that maps must pass -> meaning of a failure."""


class Verdict(TypedDict):
    """Mean of a check with its interval, and whether maps pass; None where undefined or undecided."""

    value: float | None
    low: float | None
    high: float | None
    passed: bool | None


def verdicts(rows: pd.DataFrame) -> dict[str, Verdict]:
    """Return each check's mean over all clips and whether maps pass; None where too few subjects decide.

    ``rows`` are those of ``fer_id.explain.checks.check_clips``, of one fold or of several.
    """
    subjects, ones = rows["subject_id"].astype(str).tolist(), np.ones(len(rows))
    columns = {str(name): rows[name].to_numpy(float) for name in rows.columns.drop(["clip_id", "subject_id"])}
    intervals = ratio_intervals(
        {name: (values, ones) for name, values in columns.items()}, subjects, bounds=(-1.0, 1.0)
    )
    moved = intervals["effect"][0] >= LEAST_EFFECT if "effect" in intervals else True
    results: dict[str, Verdict] = {}
    for name, (mean, interval) in intervals.items():
        low, high = interval.low, interval.high
        if low is None and interval.n_subjects > 1 and np.ptp(columns[name][~np.isnan(columns[name])]) < _ALIKE:
            low = high = mean  # all clips have the same value: no interval is defined, and none is needed
        value = None if np.isnan(mean) else mean
        results[name] = {"value": value, "low": low, "high": high, "passed": _passed(name, low, high, moved)}
    return results


def _passed(name: str, low: float | None, high: float | None, moved: bool) -> bool | None:
    if name not in DECISIVE or low is None or high is None or (name in ("deletion", "insertion") and not moved):
        return None
    if name == "random everything":
        return True if high <= MOST_ALIKE_WHEN_RANDOM else False if low > MOST_ALIKE_WHEN_RANDOM else None
    if name == "stability":
        return True if low >= LEAST_ALIKE_UNDER_NOISE else False if high < LEAST_ALIKE_UNDER_NOISE else None
    return True if low > 0 else False if high <= 0 else None
