"""Share of a clip's attribution on each facial region, relative to the region's area.

A share alone is not informative: a large region gets much of any map. So every share is divided by the region's area,
its share under a uniform map; the ratio is 1 where attribution is no higher than by chance. **Off-face attribution** is
that ratio for hairline and background together (``leakage`` in ``explain.json``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.evaluation.intervals import Interval, ratio_intervals
from fer_id.explain.regions import OUTSIDE

Floats = NDArray[np.floating]

SHARE, AREA = "share ", "area "
"""Column prefixes: share of the attribution, and share of the pixels, weighted by each frame's attribution."""

GROUP = "group "  # prefix of the group columns, whose own names may clash with other columns

NO_LANDMARKS = "no frame has landmarks"
NO_ATTRIBUTION = "nothing spoke for the class"
NO_FACE = "no frame shows a face"

_DEALS = 1_999


def region_shares(maps: Floats, masks: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64], str | None]:
    """Return the shares of a clip's attribution, and the shares that a map uniform within each frame would have.

    From maps (T, 64, 64), at least 0, and ``regions.region_masks`` (T, R, 64, 64), of which NaN frames are left out.
    Returns shares (R,) and areas (R,), each summing to 1, NaN where undefined, and the reason in that case. A frame's
    area is weighted by its attribution, so that a map uniform within every frame gives shares equal to areas.
    """
    undefined = np.full(masks.shape[1], np.nan)
    known = np.isfinite(masks[:, 0, 0, 0])
    if not known.any():
        return undefined, undefined, NO_LANDMARKS
    mass = maps[known].sum(axis=(1, 2), dtype=np.float64)
    if not mass.sum() > 0:
        return undefined, undefined, NO_ATTRIBUTION
    shares = np.einsum("thw,trhw->r", maps[known], masks[known], dtype=np.float64) / mass.sum()
    areas = (mass[:, None] * masks[known].mean(axis=(2, 3), dtype=np.float64)).sum(axis=0) / mass.sum()
    return shares, areas, None


def ratio(table: pd.DataFrame, regions: Sequence[str]) -> tuple[float, Interval]:
    """Return attribution on regions relative to their area over all clips, with its interval over subjects.

    Clips without shares are left out; NaN where no clip is left.
    """
    return ratios(table, {"": regions})[""]


def ratios(table: pd.DataFrame, regions: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, Interval]]:
    """Return :func:`ratio` for several sets of regions by name."""
    subjects = table["subject_id"].astype(str).tolist()
    pairs = {}
    for name, subset in regions.items():
        above, below = (column.to_numpy().astype(np.float64) for column in _sums(table, subset))
        pairs[name] = above, below
    return ratio_intervals(pairs, subjects, bounds=(0.0, np.inf))


def off_face_attribution(table: pd.DataFrame) -> pd.Series[float]:
    """Return each clip's attribution on hairline and background relative to their area; NaN where undefined."""
    share, area = _sums(table, OUTSIDE)
    return share / area.where(area > 0)


def group_gap(table: pd.DataFrame, column: str, regions: Sequence[str], *, seed: int = 0) -> tuple[float, float]:
    """Return the largest minus the smallest :func:`ratio` among the groups of a column, and its p-value.

    A permutation test of the groups across subjects: a largest minus smallest value is never below zero, so an interval
    of it could not show whether it differs from zero. The gap is NaN with fewer than two groups; p in (0, 1] also where
    subjects belong to several groups or a group has fewer than two subjects.
    """
    share, area = _sums(table, regions)
    known = share.notna() & table[column].notna()
    rows = pd.DataFrame({"subject": table["subject_id"], "group": table[column], "share": share, "area": area})[known]
    by_group = rows.groupby("group")[["share", "area"]].sum()
    if len(by_group) < 2 or not (by_group["area"] > 0).all():
        return float("nan"), float("nan")
    gap = float(np.ptp(by_group["share"] / by_group["area"]))
    subjects = rows.groupby("subject").agg({"group": ["nunique", "first"], "share": "sum", "area": "sum"})
    groups = subjects["group", "first"]
    if (subjects["group", "nunique"] > 1).any() or groups.value_counts().min() < 2:
        return gap, float("nan")
    codes, sums = pd.factorize(groups)[0], subjects[[("share", "sum"), ("area", "sum")]].to_numpy()
    member, generator = np.eye(len(by_group)), np.random.default_rng(seed)
    reached = 0
    for _ in range(_DEALS):
        above, below = (member[generator.permutation(codes)].T @ sums).T
        reached += not (below > 0).all() or bool(np.ptp(above / below) >= gap - 1e-12)
    return gap, (reached + 1) / (_DEALS + 1)


def _sums(table: pd.DataFrame, regions: Sequence[str]) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return share and area of several regions together, per clip; NaN where undefined."""
    share, area = (table[[start + name for name in regions]].sum(axis=1, skipna=False) for start in (SHARE, AREA))
    return share, area
