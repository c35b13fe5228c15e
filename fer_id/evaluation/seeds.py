"""Mean scores of a model trained with several seeds, with intervals over subjects, and the contrast with another model.

The seeds are a sample of trainings, the subjects a sample of children. The interval is over children, for the mean of
these trainings: a subject is left out of, or drawn for, all of them at once. The spread between trainings is given
beside it as a standard deviation. With one seed all values equal those of that run's ``metrics.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_id.evaluation import scores
from fer_id.evaluation.auc import auc_of, macro_auc
from fer_id.evaluation.intervals import DIFFERENCE_RANGE, Interval, count_intervals, jackknife
from fer_id.evaluation.paired import Difference, minus, sign_flip
from fer_id.evaluation.predictions import Judged
from fer_id.evaluation.scores import Floats, Statistic

OVERALL = ("accuracy", "accuracy_with_missing", "macro_precision", "macro_recall", "macro_f1")


@dataclass(frozen=True)
class Estimate:
    """Mean of a score in [0, 1] over seeds, NaN where that of a seed is undefined, and its interval over subjects."""

    value: float
    interval: Interval
    spread: float | None
    """Standard deviation over seeds; None with one seed."""


@dataclass(frozen=True)
class Contrast(Difference):
    """Difference in accuracy between two models on the same clips; a clip without a prediction is an error."""

    p: float
    """p of :func:`fer_id.evaluation.paired.sign_flip`; NaN with fewer than two subjects."""


def mean_scores(runs: Sequence[Judged], classes: int) -> dict[str, Estimate]:
    """Compute the scores of ``OVERALL``, ``auc``, and the recall of each class as ``recall.<index>``.

    The runs are one per seed, on the same clips.
    """
    counts = seed_counts(runs, classes)
    chosen = {name: statistic for name, statistic in scores.overall_statistics(classes).items() if name in OVERALL}
    of_class = scores.class_statistics(classes)
    chosen |= {f"recall.{index}": statistic for (index, score), statistic in of_class.items() if score == "recall"}
    means = {name: Statistic(_mean(statistic.value), statistic.reads) for name, statistic in chosen.items()}
    intervals = count_intervals(counts, means)
    by_seed = {name: np.asarray(statistic.value(counts.sum(0))) for name, statistic in chosen.items()}
    estimates = {name: _estimate(by_seed[name], intervals[name]) for name in chosen}
    return estimates | {"auc": _auc(runs)}


def contrast(runs: Sequence[Judged], reference: Sequence[Judged], classes: int) -> Contrast:
    """Compute the accuracy of ``runs`` minus that of ``reference``, means over their seeds, all on the same clips."""
    ours, theirs = (seed_counts(judged, classes).mean(1) for judged in (runs, reference))
    return contrast_counts(ours, theirs)


def contrast_counts(ours: Floats, theirs: Floats) -> Contrast:
    """Compute :func:`contrast` from tables of counts (S, K, K + 1), which may be means over trainings or draws."""
    pair = np.stack([ours, theirs], axis=1)
    statistic = Statistic(minus(scores.accuracy_with_missing), np.ones(pair.shape[-2:], np.bool_))
    interval = count_intervals(pair, {"accuracy": statistic}, bounds=DIFFERENCE_RANGE)["accuracy"]
    return Contrast(float(statistic.value(pair.sum(0))), interval, sign_flip(*scores.correct(pair).T))


def seed_counts(runs: Sequence[Judged], classes: int) -> Floats:
    """Count the clips by subject and seed, (S, R, K, K + 1); the subjects in the order of their names."""
    return np.stack([run.counts(classes) for run in runs], axis=1)


def _auc(runs: Sequence[Judged]) -> Estimate:
    by_class, without = zip(*map(auc_of, runs), strict=True)
    by_seed = np.array([float(macro_auc(auc)) for auc in by_class])
    if len({len(scores) for scores in without}) > 1:
        interval = Interval.undefined("a subject has predictions in some of the trainings only", len(without[0]))
    else:
        interval = jackknife(float(np.mean(by_seed)), np.mean(without, axis=0))
    return _estimate(by_seed, interval)


def _estimate(by_seed: Floats, interval: Interval) -> Estimate:
    spread = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
    return Estimate(float(by_seed.mean()), interval, spread)


def _mean(score: scores.Score) -> scores.Score:
    """Return the score averaged over the axis of seeds: (..., R, K, K + 1) -> (...)."""
    return lambda counts: np.asarray(score(counts).mean(-1))
