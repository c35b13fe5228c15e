"""Effect sizes of paired differences between two models: Hedges' g_av and the probability of superiority.

They complement the difference in points with its interval and p: they relate it to the spread between children, and
count the children who gain. Both take the accuracy of each *subject*, however many clips it has; with few clips per
child, chance within children is part of the spread.

* **Hedges' g_av**: the mean difference in units of the spread between children, the root of the mean of both variances,
  corrected for few subjects by the gamma function (Cumming 2012; Lakens 2013, doi:10.3389/fpsyg.2013.00863, who
  recommends it for paired samples: unlike d_z it does not grow with the correlation of the two models' scores). Its
  limits invert the noncentral t (Algina and Keselman 2003, doi:10.1177/0013164403256358), assuming normal differences;
  they are those of the uncorrected effect, whose estimate the correction draws towards zero.
* **Probability of superiority**: the share of subjects for whom one model is better, ties counted half (Grissom and Kim
  2012, chapter 6). Its limits are those of Clopper and Pearson (1934), whose coverage is at least nominal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from fer_id.evaluation.intervals import LEVEL, Interval
from fer_id.evaluation.scores import Floats

FEWEST = 3
"""Fewest subjects for g: its small-sample correction is zero at two."""


@dataclass(frozen=True)
class Effect:
    """Effect sizes of ``run - reference`` over S subjects.

    Attributes:
        better, worse, alike: subjects by sign of their difference; they add up to S.
        superiority: in [0, 1]; NaN without a subject.
        superiority_interval: its limits.
        g: Hedges' g_av; NaN where it is undefined; its interval has the reason.
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
    """Compute the effect sizes of paired scores.

    Args:
        run, reference: (S,) scores of the same subjects in the same order.
    """
    difference = run - reference
    better, worse = int((difference > 1e-12).sum()), int((difference < -1e-12).sum())
    alike = len(difference) - better - worse
    share, share_interval = superiority(better + alike / 2, len(difference))
    return Effect(better, worse, alike, share, share_interval, *hedges_g(run, reference))


def superiority(wins: float, subjects: int) -> tuple[float, Interval]:
    """Compute the share of subjects won and its Clopper-Pearson interval.

    Args:
        wins: subjects for whom the run is better; a tie is half a win.
        subjects: S.
    """
    if not subjects:
        return float("nan"), Interval.undefined("no subject", 0)
    lost, tail = subjects - wins, (1 - LEVEL) / 2
    low = float(special.betaincinv(wins, lost + 1, tail)) if wins else 0.0
    high = float(special.betaincinv(wins + 1, lost, 1 - tail)) if lost else 1.0
    return wins / subjects, Interval(low, high, "Clopper-Pearson", subjects)


def hedges_g(run: Floats, reference: Floats) -> tuple[float, Interval]:
    """Compute Hedges' g_av of paired scores (S,) and its interval; NaN with the reason where it is undefined."""
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
