"""How large a difference between two models is, child by child and free of its unit.

A difference in points says what is gained, an interval and a p how sure that is; neither says how it compares with the
spread between children, nor how many of them gain. Both effects here are about accuracies *by subject*, each subject
counting once, with as many clips as each has: with few clips a child, chance within children is part of the spread.

* **Hedges' g_av**: the mean difference in units of the children's own spread, the root of the mean of both variances,
  corrected for few subjects by the gamma function (Cumming 2012; Lakens 2013, doi:10.3389/fpsyg.2013.00863, who advises
  it for paired samples: unlike d_z it does not grow with how alike the two models' rankings of the children are). The
  limits invert the noncentral t (Algina and Keselman 2003, doi:10.1177/0013164403256358) and take differences for
  normal; they speak of the uncorrected effect, whose estimate the correction only draws towards zero.
* **Probability of superiority**: the share of subjects for whom one model is better, those served alike counted half
  (Grissom and Kim 2012, chapter 6). Limits of Clopper and Pearson (1934), which hold at least their level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from fer_id.evaluation.intervals import LEVEL, Interval
from fer_id.evaluation.scores import Floats

FEWEST = 3
"""Subjects below which there is no g: its correction for few subjects is zero at two."""


@dataclass(frozen=True)
class Effect:
    """Of ``run - reference``, over S subjects.

    Attributes:
        better, worse, alike: subjects by sign of their difference; they add up to S.
        superiority: in [0, 1]; NaN without a subject.
        superiority_interval: its limits.
        g: Hedges' g_av; NaN where it is undefined, with the reason in its interval.
        g_interval: its limits.
    """

    better: int
    worse: int
    alike: int
    superiority: float
    superiority_interval: Interval
    g: float
    g_interval: Interval


def effect(run: Floats, reference: Floats) -> Effect:
    """The effect sizes of paired scores.

    Args:
        run, reference: (S,) scores of the same subjects in the same order.
    """
    difference = run - reference
    better, worse = int((difference > 1e-12).sum()), int((difference < -1e-12).sum())
    alike = len(difference) - better - worse
    share, share_interval = superiority(better + alike / 2, len(difference))
    return Effect(better, worse, alike, share, share_interval, *hedges_g(run, reference))


def superiority(wins: float, subjects: int) -> tuple[float, Interval]:
    """Share of subjects won and its Clopper-Pearson interval.

    Args:
        wins: a subject served alike is half a win.
        subjects: S.
    """
    if not subjects:
        return float("nan"), Interval.undefined("no subject", 0)
    lost, tail = subjects - wins, (1 - LEVEL) / 2
    low = float(special.betaincinv(wins, lost + 1, tail)) if wins else 0.0
    high = float(special.betaincinv(wins + 1, lost, 1 - tail)) if lost else 1.0
    return wins / subjects, Interval(low, high, "Clopper-Pearson", subjects)


def hedges_g(run: Floats, reference: Floats) -> tuple[float, Interval]:
    """Hedges' g_av of paired scores (S,) and its interval; NaN with the reason where it is undefined."""
    subjects, nan = len(run), float("nan")
    if subjects < FEWEST:
        return nan, Interval.undefined(f"needs at least {FEWEST} subjects", subjects)
    difference, freedom = run - reference, subjects - 1
    spread = float(np.sqrt((run.var(ddof=1) + reference.var(ddof=1)) / 2))
    if spread < 1e-12:
        return nan, Interval.undefined("every subject scores alike, so there is no spread to measure by", subjects)
    correction = np.exp(special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2)
    value = float(correction * difference.mean() / spread)
    error = float(stats.sem(difference))
    if error <= 1e-3 * abs(difference.mean()) or error < 1e-12:
        return value, Interval.undefined("every subject differs alike, so how sure it is is unknown", subjects)
    tails = np.array([(1 + LEVEL) / 2, (1 - LEVEL) / 2])
    low, high = special.nctdtrinc(freedom, tails, difference.mean() / error) * error / spread
    return value, Interval(float(low), float(high), "noncentral t", subjects)
