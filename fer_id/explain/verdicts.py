"""Whether maps pass their checks (``fer_id.explain.checks``), from what each check found of each clip."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fer_id.evaluation.intervals import ratio_interval

MOST_ALIKE_WHEN_RANDOM = 0.5
"""Rank correlation with the map of a model of random weights above which a map is too much the picture's own."""

LEAST_ALIKE_UNDER_NOISE = 0.7
"""Rank correlation with the map of the same clip under noise below which a map is too much chance's."""

DECISIVE = {
    "random everything": "the map of a model of random weights is much like it",
    "stability": "a little noise in the picture changes it",
    "deletion": "blurring what it marks costs the class no more than blurring anything",
    "insertion": "showing what it marks gives the class no more than showing anything",
}
"""The checks that maps must pass, and what a failed one means."""


def verdicts(rows: pd.DataFrame) -> dict[str, dict[str, object]]:
    """What each check found over all clips and whether the maps pass it; None where that cannot be told.

    Args:
        rows: of :func:`check_clips`, of one fold or of several.
    """
    subjects, ones = rows["subject_id"].astype(str).tolist(), np.ones(len(rows))
    found: dict[str, dict[str, object]] = {}
    for name in map(str, rows.columns.drop(["clip_id", "subject_id"])):
        mean, interval = ratio_interval(rows[name].to_numpy(float), ones, subjects, bounds=(-1.0, 1.0))
        told = {"value": None if np.isnan(mean) else mean, "low": interval.low, "high": interval.high}
        found[name] = {**told, "passed": _passed(name, mean, interval.low)}
    return found


def _passed(name: str, mean: float, low: float | None) -> bool | None:
    if name not in DECISIVE or np.isnan(mean):
        return None
    if name == "random everything":
        return mean <= MOST_ALIKE_WHEN_RANDOM
    if name == "stability":
        return mean >= LEAST_ALIKE_UNDER_NOISE
    if low is not None and low > 0:
        return True
    return False if mean <= 0 else None  # better than chance in these clips, and not shown in other subjects
