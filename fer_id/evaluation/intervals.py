"""Subject-level confidence intervals: the delete-one-subject jackknife.

Clips of one child resemble each other, so whole subjects are left out: copying every clip ten times must not narrow an
interval. All intervals are conditional on the fitted models. With fewer than 2 subjects there is none, and the reason
is given. The jackknife takes Student's t, and for a share in [0, 1] the logit scale, where both limits miss equally
often and stay within the range. It is exact for scores that are not functions of counts too (the AUC, calibration, risk
at a coverage), see :mod:`fer_id.evaluation.auc` and :mod:`fer_id.evaluation.confidence.calibration`.

Measured coverage of nominal 95 %, lowest and highest of accuracy, macro-F1, macro recall and the recall of a rare
class, in 2,000 cohorts of simulated children per size
(``python -m experiments.measure.interval_coverage``; Monte-Carlo error half a point), beside that of the percentile
bootstrap over subjects (2,000 resamples), which earlier versions took from 40 subjects on:

    subjects       6           12          20          40          80
    jackknife   .942-.954   .942-.962   .941-.954   .946-.950   .945-.953
    bootstrap   .826-.842   .891-.901   .903-.912   .922-.938   .934-.950

The simulated model is right on 71 % of the clips; for a model right on
97 % (``easier=2.4``, 1,000 cohorts) the coverage of accuracy, where it has an interval at all, is

    subjects       6      12      20      40      80     160
    jackknife    .914    .928    .958    .962    .951    .944
    bootstrap    .841    .812    .840    .889    .917    .915

so the jackknife is nearer at every size. The coverage of other scores is in ``HELD``; the report states it.

Where every subject has the same score (all perfect, say), leaving one out changes nothing, which would claim certainty;
there is no interval then either. Reference: Efron and Tibshirani (1993), chapter 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import special, stats

from fer_id.evaluation.scores import Floats, Statistic, ratio
from fer_id.runs import records

LEVEL = 0.95
UNIT_RANGE = (0.0, 1.0)
DIFFERENCE_RANGE = (-1.0, 1.0)

_SIZES = (6, 12, 20, 40)
_HELD = {
    "accuracy": (0.942, 0.942, 0.941, 0.948),
    "macro_f1": (0.950, 0.949, 0.947, 0.950),
    "macro_recall": (0.949, 0.946, 0.944, 0.948),
    "recall of a rare class": (0.954, 0.962, 0.954, 0.946),
    "difference in accuracy_with_missing": (0.945, 0.947, 0.942, 0.952),
    "difference in macro_f1": (0.947, 0.942, 0.950, 0.951),
    "auc": (0.935, 0.946, 0.946, 0.947),
    "brier": (0.937, 0.940, 0.937, 0.951),
    "nll": (0.925, 0.934, 0.932, 0.947),
    "overconfidence": (0.887, 0.904, 0.916, 0.935),
    "ece": (0.885, 0.949, 0.975, 0.967),
    "aurc": (0.945, 0.947, 0.944, 0.953),
    "risk_at_coverage.0.5": (0.892, 0.923, 0.947, 0.954),
    "risk_at_coverage.0.8": (0.946, 0.955, 0.947, 0.956),
    "risk_at_coverage.0.9": (0.947, 0.950, 0.947, 0.952),
    "g": (0.935, 0.948, 0.947, 0.949),
    "superiority": (0.996, 0.995, 0.988, 0.983),
}
HELD = {size: {score: shares[place] for score, shares in _HELD.items()} for place, size in enumerate(_SIZES)}
"""Number of subjects -> score -> measured coverage of the nominal 95 % interval of this module in simulated cohorts."""

HEADLINE = ("accuracy", "macro_f1", "macro_recall", "recall of a rare class", "auc")
"""Scores of ``HELD`` in the report's table."""

_ALIKE = "every subject scores alike, so the spread between subjects is unknown"


@dataclass(frozen=True)
class Interval:
    """A two-sided interval, or the reason why there is none.

    ``low`` and ``high`` are None together, exactly when ``reason`` is set. ``n_subjects`` counts the subjects that
    contribute to the statistic: for the recall of a class, the children with a clip of it.
    """

    low: float | None
    high: float | None
    method: str | None
    n_subjects: int
    reason: str | None = None

    @staticmethod
    def undefined(reason: str, n_subjects: int) -> Interval:
        return Interval(None, None, None, n_subjects, reason)

    def as_record(self) -> records.Interval | None:
        """Return the entry of ``metrics.json``; None where undefined (its ``reasons`` say why)."""
        if self.low is None or self.high is None:
            return None
        return records.Interval(
            low=self.low, high=self.high, level=LEVEL, method=self.method, n_subjects=self.n_subjects
        )


Scored = dict[str, tuple[float, Interval]]
"""Name of a score -> its value (NaN without a clip) and its interval."""


def as_records(intervals: Mapping[str, Interval]) -> tuple[records.Intervals, dict[str, str]]:
    """Return ``intervals`` of ``metrics.json`` by score, and the reason of each undefined one under its dotted name."""
    reasons = {f"intervals.{name}": interval.reason for name, interval in intervals.items() if interval.reason}
    return {name: interval.as_record() for name, interval in intervals.items()}, reasons


def count_intervals(
    counts: Floats, statistics: Mapping[str, Statistic], *, bounds: tuple[float, float] = UNIT_RANGE
) -> dict[str, Interval]:
    """Compute subject-level intervals of several statistics, in the range ``bounds``, of the pooled counts.

    The counts are (S, ..., K, K + 1), one table per subject, or several for a difference between runs; the value of a
    statistic maps (..., K, K + 1), or the shape of one subject's tables, to (...).
    """
    total, intervals = counts.sum(0), {}
    for name, statistic in statistics.items():
        contributes = (counts[..., statistic.reads] > 0).any(axis=tuple(range(1, counts.ndim - 1)))
        without_each = statistic.value(total - counts[contributes])
        intervals[name] = jackknife(float(statistic.value(total)), without_each, bounds=bounds)
    return intervals


def ratio_interval(
    above: Floats, below: Floats, subjects: Sequence[str], *, bounds: tuple[float, float]
) -> tuple[float, Interval]:
    """Compute a ratio of sums (a mean, for example) over clips, and its subject-level interval.

    ``above`` and ``below`` (N,) are the summands; those of the denominator are above 0, ones for a mean. A row with NaN
    in ``above`` is left out; the ratio is NaN, with the reason in its interval, where no row is defined.
    """
    return ratio_intervals({"ratio": (above, below)}, subjects, bounds=bounds)["ratio"]


def ratio_intervals(
    ratios: Mapping[str, tuple[Floats, Floats]], subjects: Sequence[str], *, bounds: tuple[float, float]
) -> dict[str, tuple[float, Interval]]:
    """Compute :func:`ratio_interval` of several ratios of the same rows."""
    results: dict[str, tuple[float, Interval]] = {}
    _, codes = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    sums = np.zeros((codes.max(initial=-1) + 1, len(ratios), 2))
    statistics = {}
    for place, (name, (above, below)) in enumerate(ratios.items()):
        known = ~np.isnan(above)
        for side, values in enumerate((above, below)):
            sums[:, place, side] = np.bincount(codes, weights=np.where(known, values, 0.0), minlength=len(sums))
        if not known.any():
            results[name] = (float("nan"), Interval.undefined("defined for no clip", 0))
            continue
        reads = np.zeros((len(ratios), 2), np.bool_)
        reads[place] = True
        statistics[name] = Statistic(partial(_first_over_second, place), reads)
    intervals = count_intervals(sums, statistics, bounds=bounds)
    results |= {name: (float(statistic.value(sums.sum(0))), intervals[name]) for name, statistic in statistics.items()}
    return results


def _first_over_second(place: int, sums: Floats) -> Floats:
    """Divide the two sums of a ratio, (..., R, 2) -> (...); NaN where the denominator is 0."""
    return ratio(sums[..., place, 0], sums[..., place, 1])


def jackknife(
    estimate: float, without_each: Floats, *, bounds: tuple[float, float] = UNIT_RANGE, scale: str | None = None
) -> Interval:
    """Compute the delete-one-subject jackknife interval with Student's t on S - 1 degrees of freedom.

    ``z +- t * sqrt((S - 1) / S * sum((z_i - mean)^2))``, z_i the transformed statistic without subject i; untransformed
    where the transform is infinite, as the logit of 0 or 1. Limits are clipped to ``bounds``. The scale is ``logit``,
    ``log``, ``fisher`` (Fisher's z of a correlation) or ``plain``; None: the logit of a share in [0, 1], and plain for
    any other range.
    """
    n_subjects = len(without_each)
    if n_subjects < 2:
        few = "only one subject" if n_subjects else "no subject"
        return Interval.undefined(f"{few}, and an interval over subjects needs at least 2", n_subjects)
    if np.isnan(estimate) or np.isnan(without_each).any():
        return Interval.undefined("undefined when one of the subjects is left out", n_subjects)
    if _jackknife_error(without_each) < 1e-12:
        return Interval.undefined(_ALIKE, n_subjects)
    forth, back = _SCALES[scale or ("logit" if bounds == UNIT_RANGE else "plain")]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = forth(np.append(without_each, estimate))
    if not np.isfinite(z).all():
        z, back = np.append(without_each, estimate), np.asarray
    margin = float(stats.t.ppf((1 + LEVEL) / 2, n_subjects - 1)) * _jackknife_error(z[:-1])
    low, high = np.clip(back(z[-1] + np.array([-margin, margin])), *bounds)
    return Interval(float(low), float(high), "jackknife", n_subjects)


_SCALES: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "logit": (special.logit, special.expit),
    "log": (np.log, np.exp),
    "fisher": (np.arctanh, np.tanh),
    "plain": (np.asarray, np.asarray),
}


def _jackknife_error(without_each: Floats) -> float:
    n_subjects = len(without_each)
    return float(np.sqrt((n_subjects - 1) / n_subjects * np.sum((without_each - without_each.mean()) ** 2)))
