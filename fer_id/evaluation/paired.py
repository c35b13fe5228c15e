"""Paired comparison of two runs on the same clips: differences with intervals, effect sizes, a sign-flip test, Holm.

Pairing by subject cancels the difficulty of each subject. The difference of the pooled scores has a subject-level
interval in which a subject is left out of, or drawn for, both runs at once. Accuracy counts clips without a prediction
as errors, so that both runs are judged on the same clips.

The test flips the sign of whole subjects: under the null hypothesis the two runs' predictions for a subject are
exchangeable (Fisher's randomisation test of paired samples; exact for whole counts of clips). It is the only test here:
Wilcoxon's signed ranks drop tied subjects, have many ties where children have few clips, and test another quantity than
the difference reported; and two p for one question invite a choice between them. Over several runs the p are corrected
by Holm's method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from fer_id.evaluation import scores
from fer_id.evaluation.intervals import DIFFERENCE_RANGE, LEVEL, Interval, count_intervals
from fer_id.evaluation.predictions import Judged
from fer_id.evaluation.scores import Floats, Ints, Statistic

FEWEST = 3
"""Fewest subjects for g: its small-sample correction is zero at two."""


MOST_MEANT = 100
"""Trainings, or pairs of them, over which counts of correct predictions may be averaged for an exact test."""


@dataclass(frozen=True)
class Effect:
    """Effect sizes of ``run - reference`` over S subjects, however many clips each of them has.

    They complement the difference in points with its interval and p: they relate it to the spread between children,
    and count the children who gain. With few clips per child, chance within children is part of the spread.

    * ``better``, ``worse`` and ``alike`` count subjects by the sign of their difference.
    * ``superiority``, in [0, 1]: the share of subjects for whom one model is better, ties counted half (Grissom and Kim
      2012, chapter 6); NaN without a subject. Its limits are those of Clopper and Pearson (1934), whose coverage is at
      least nominal.
    * ``g``, Hedges' g_av: the mean difference in units of the spread between children, the root of the mean of both
      variances, corrected for few subjects by the gamma function (Cumming 2012; Lakens 2013,
      doi:10.3389/fpsyg.2013.00863, who recommends it for paired samples: unlike d_z it does not grow with the
      correlation of the two models' scores). NaN where undefined, with the reason in its interval. The limits invert
      the noncentral t (Algina and Keselman 2003, doi:10.1177/0013164403256358), assuming normal differences; they are
      those of the uncorrected effect, whose estimate the correction draws towards zero.
    """

    better: int
    worse: int
    alike: int
    superiority: float
    superiority_interval: Interval
    g: float
    g_interval: Interval


@dataclass(frozen=True)
class Difference:
    """``run - reference`` of one score, in [-1, 1], with its interval; NaN where a score is undefined."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Comparison:
    """Comparison of a run with the reference."""

    differences: dict[str, Difference]
    """Differences in the scores of ``PAIRED``, by name."""
    effect: Effect
    """Effect sizes of the accuracies by subject; clips without a prediction count as errors."""
    p: float
    """p of :func:`sign_flip` for that accuracy; NaN with fewer than two subjects."""


@dataclass(frozen=True)
class Contrast(Difference):
    """Difference in accuracy between two models on the same clips; a clip without a prediction is an error."""

    p: float
    """p of :func:`sign_flip`; NaN with fewer than two subjects."""


PAIRED = {"accuracy_with_missing": scores.accuracy_with_missing, "macro_f1": scores.macro_f1}


def why_not_paired(run: Judged, reference: Judged) -> str | None:
    """Return None where both runs have the same clips, subjects and labels, otherwise the difference in words."""
    ours, theirs = _clips(run), _clips(reference)
    if len(ours) != len(run.clip_ids) or len(theirs) != len(reference.clip_ids):
        return "a clip was tested in more than one fold"
    common = ours.keys() & theirs.keys()
    if len(common) < max(len(ours), len(theirs)):
        return f"other test clips: {len(common):,} in common of {len(ours):,} and {len(theirs):,}"
    if differ := sum(ours[clip] != theirs[clip] for clip in common):
        return f"{differ:,} clips have another label or subject"
    if not ours:
        return "no labelled test clip"
    return None


def compare_runs(run: Judged, reference: Judged, classes: int) -> Comparison:
    """Compute differences, effect sizes and the test; :func:`why_not_paired` must return None for these runs."""
    pair = np.stack([judged.counts(classes) for judged in (run, reference)], axis=1)
    by_subject, right = scores.accuracy_with_missing(pair).T, scores.correct(pair).T
    return Comparison(difference_intervals(pair), effect(*by_subject), sign_flip(*right))


def contrast_counts(ours: Floats, theirs: Floats) -> Contrast:
    """Compute the accuracy of one model minus another's from counts (S, K, K + 1), which may be means over draws."""
    pair = np.stack([ours, theirs], axis=1)
    statistic = Statistic(minus(scores.accuracy_with_missing), np.ones(pair.shape[-2:], np.bool_))
    interval = count_intervals(pair, {"accuracy": statistic}, bounds=DIFFERENCE_RANGE)["accuracy"]
    return Contrast(float(statistic.value(pair.sum(0))), interval, sign_flip(*scores.correct(pair).T))


def difference_intervals(counts: Floats) -> dict[str, Difference]:
    """Compute differences in the scores of ``PAIRED`` from counts (S, 2, K, K + 1): the run, then the reference."""
    reads = np.ones(counts.shape[-2:], dtype=np.bool_)
    statistics = {name: Statistic(minus(score), reads) for name, score in PAIRED.items()}
    intervals = count_intervals(counts, statistics, bounds=DIFFERENCE_RANGE)
    total = counts.sum(0)
    return {name: Difference(float(statistics[name].value(total)), intervals[name]) for name in statistics}


def effect(run: Floats, reference: Floats) -> Effect:
    """Compute the effect sizes of paired scores: (S,) of the same subjects in the same order."""
    difference = run - reference
    better, worse = int((difference > 1e-12).sum()), int((difference < -1e-12).sum())
    alike = len(difference) - better - worse
    share, share_interval = superiority(better + alike / 2, len(difference))
    return Effect(better, worse, alike, share, share_interval, *hedges_g(run, reference))


def superiority(wins: float, subjects: int) -> tuple[float, Interval]:
    """Compute the share of ``subjects`` won, a tie being half a win, and its Clopper-Pearson interval."""
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


def sign_flip(right: Floats, reference: Floats) -> float:
    """Compute the two-sided p of the sign-flip test from the number of correct predictions of each subject.

    Counts (S,) rather than shares: subjects with more clips weigh more, as in the accuracy compared. They are whole, or
    means over up to ``MOST_MEANT`` trainings, so that a multiple of them is whole; p is then exact with any number of
    subjects, and can be small enough for many tests at once. For other values 9,999 flips are drawn with more than 13
    subjects. NaN with fewer than two subjects.
    """
    difference = right - reference
    if len(difference) < 2:
        return float("nan")
    for times in range(1, MOST_MEANT + 1):
        whole = np.rint(times * difference)
        if np.allclose(whole, times * difference, rtol=0, atol=1e-6):
            return _flip_whole(whole.astype(np.int64))
    test = stats.permutation_test(
        (difference,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=9_999,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def _flip_whole(difference: Ints) -> float:
    """Compute the exact p over all sign flips from the distribution of their sum, which is built up subject by subject
    (Pagano and Tritchler 1983, JASA 78:435)."""
    sizes = np.abs(difference[difference != 0])
    chance = np.zeros(int(sizes.sum()) + 1)  # probability of each sum of the positive differences
    chance[0] = 1.0
    for size in sizes.tolist():
        moved = np.zeros_like(chance)
        moved[size:] = chance[:-size]
        chance = (chance + moved) / 2
    least = (len(chance) - 1 + abs(int(difference.sum()))) // 2  # always whole: a sum has the parity of its parts
    return min(1.0, 2 * float(chance[least:].sum()))


def holm(values: Mapping[str, float], size: int = 0) -> dict[str, float]:
    """Adjust the p of a family of tests to control its family-wise error rate (Holm, 1979).

    NaN stays NaN and does not count as a test; a ``size`` above the number of tests counts further ones.
    """
    tests = sorted((p, name) for name, p in values.items() if not np.isnan(p))
    adjusted, highest, size = dict.fromkeys(values, float("nan")), 0.0, max(size, len(tests))
    for place, (p, name) in enumerate(tests):
        highest = max(highest, min(1.0, (size - place) * p))
        adjusted[name] = highest
    return adjusted


def _clips(judged: Judged) -> dict[str, tuple[int, str]]:
    subjects = [judged.subject_ids[code] for code in judged.subjects.tolist()]
    return dict(zip(judged.clip_ids, zip(judged.truth.tolist(), subjects, strict=True), strict=True))


def minus(score: scores.Score) -> scores.Score:
    """Return the score of the first minus that of the second table: (..., 2, K, K + 1) -> (...)."""
    return lambda counts: score(counts[..., 0, :, :]) - score(counts[..., 1, :, :])
