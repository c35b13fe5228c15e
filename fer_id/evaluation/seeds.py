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
from fer_id.evaluation.auc import auc_by_class, auc_without_each, macro_auc
from fer_id.evaluation.intervals import DIFFERENCE_RANGE, Interval, count_intervals, jackknife
from fer_id.evaluation.paired import sign_flip
from fer_id.evaluation.predictions import Judged
from fer_id.evaluation.scores import Floats, Statistic

OVERALL = ("accuracy", "accuracy_with_missing", "macro_precision", "macro_recall", "macro_f1")


@dataclass(frozen=True)
class Estimate:
    """Mean of a score in [0, 1] over seeds; NaN where the score of a seed is undefined.

    Attributes:
        value: the mean.
        interval: over subjects.
        spread: standard deviation over seeds; None with one seed.
    """

    value: float
    interval: Interval
    spread: float | None


@dataclass(frozen=True)
class Contrast:
    """Difference in accuracy between two models on the same clips; a clip without a prediction is an error.

    Attributes:
        value: in [-1, 1].
        interval: over subjects.
        p: of the test that flips the sign of whole subjects; NaN with fewer than two.
    """

    value: float
    interval: Interval
    p: float


def mean_scores(runs: Sequence[Judged], classes: int) -> dict[str, Estimate]:
    """Compute the scores of ``OVERALL``, ``auc``, and the recall of each class as ``recall.<index>``.

    Args:
        runs: one per seed, on the same clips.
        classes: K.
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
    everything = np.ones(pair.shape[-2:], np.bool_)

    def difference(counts: Floats) -> Floats:
        first, second = (scores.accuracy_with_missing(counts[..., side, :, :]) for side in (0, 1))
        return np.asarray(first - second)

    interval = count_intervals(pair, {"accuracy": Statistic(difference, everything)}, bounds=DIFFERENCE_RANGE)
    right = [np.trace(table[..., :-1], axis1=-2, axis2=-1) for table in (ours, theirs)]
    return Contrast(float(difference(pair.sum(0))), interval["accuracy"], sign_flip(*right))


def seed_counts(runs: Sequence[Judged], classes: int) -> Floats:
    """Count the clips by subject and seed, (S, R, K, K + 1); the subjects in the order of their names."""
    tables = [scores.count_clips(run.truth, run.predicted, run.subjects, len(run.subject_ids), classes) for run in runs]
    return np.stack(tables, axis=1)


def _auc(runs: Sequence[Judged]) -> Estimate:
    by_seed, without = [], []
    for run in runs:
        rows = run.covered
        codes, subjects = np.unique(run.subjects[rows], return_inverse=True)
        args = run.probabilities[rows], run.truth[rows]
        by_seed.append(float(macro_auc(auc_by_class(*args))))
        without.append(macro_auc(auc_without_each(*args, subjects, len(codes))))
    if len({len(scores) for scores in without}) > 1:
        interval = Interval.undefined("a subject has predictions in some of the trainings only", len(without[0]))
    else:
        interval = jackknife(float(np.mean(by_seed)), np.mean(without, axis=0))
    return _estimate(np.array(by_seed), interval)


def _estimate(by_seed: Floats, interval: Interval) -> Estimate:
    spread = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
    return Estimate(float(by_seed.mean()), interval, spread)


def _mean(score: scores.Score) -> scores.Score:
    """Return the score averaged over the axis of seeds: (..., R, K, K + 1) -> (...)."""
    return lambda counts: np.asarray(score(counts).mean(-1))
