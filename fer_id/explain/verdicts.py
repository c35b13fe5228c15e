"""Whether maps pass their checks (``fer_id.explain.checks``), from what each check found of each clip."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fer_id.evaluation.intervals import ratio_intervals

MOST_ALIKE_WHEN_RANDOM = 0.5
"""Rank correlation with the map of a model of random weights above which a map is too much the picture's own."""

LEAST_ALIKE_UNDER_NOISE = 0.7
"""Rank correlation with the map of the same clip under noise below which a map is too much chance's."""

LEAST_EFFECT = 0.02
"""Mean change of the probability when everything is blurred, below which deletion and insertion say nothing."""

_ALIKE = 1e-9

RANDOM_WEIGHTS = "random weights"
"""Name of the leakage of the same model with weights drawn anew: what its build, not its learning, looks at."""

DECISIVE = {
    "random everything": "the map of a model of random weights is much like it",
    "stability": "a little noise in the picture changes it",
    "deletion": "blurring what it marks costs the class no more than blurring anything",
    "insertion": "showing what it marks gives the class no more than showing anything",
}
"""The checks that maps must pass, and what a failed one means."""


def verdicts(rows: pd.DataFrame) -> dict[str, dict[str, object]]:
    """What each check found over all clips and whether the maps pass it; None where the subjects cannot tell.

    Args:
        rows: of ``fer_id.explain.checks.check_clips``, of one fold or of several.
    """
    subjects, ones = rows["subject_id"].astype(str).tolist(), np.ones(len(rows))
    columns = {str(name): rows[name].to_numpy(float) for name in rows.columns.drop(["clip_id", "subject_id"])}
    told = ratio_intervals({name: (one, ones) for name, one in columns.items()}, subjects, bounds=(-1.0, 1.0))
    moved = told["effect"][0] >= LEAST_EFFECT if "effect" in told else True
    found: dict[str, dict[str, object]] = {}
    for name, (mean, interval) in told.items():
        low, high = interval.low, interval.high
        if low is None and interval.n_subjects > 1 and np.ptp(columns[name][~np.isnan(columns[name])]) < _ALIKE:
            low = high = mean  # all clips say the same: no interval can be had, and none is needed
        value = None if np.isnan(mean) else mean
        found[name] = {"value": value, "low": low, "high": high, "passed": _passed(name, low, high, moved)}
    return found


def _passed(name: str, low: float | None, high: float | None, moved: bool) -> bool | None:
    if name not in DECISIVE or low is None or high is None or (name in ("deletion", "insertion") and not moved):
        return None
    if name == "random everything":
        return True if high <= MOST_ALIKE_WHEN_RANDOM else False if low > MOST_ALIKE_WHEN_RANDOM else None
    if name == "stability":
        return True if low >= LEAST_ALIKE_UNDER_NOISE else False if high < LEAST_ALIKE_UNDER_NOISE else None
    return True if low > 0 else False if high <= 0 else None
