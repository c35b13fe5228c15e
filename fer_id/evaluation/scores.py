"""Classification scores as vectorised functions of tables of counts (confusion matrices with a missing column).

Everything but the AUC is a function of one table of *counts*, ``(..., K, K + 1)``: ``counts[..., t, p]`` clips of class
``t`` are predicted as class ``p``, and the last column counts the clips without a prediction (no face was found). The
leading axes are free: subjects, folds, resamples. So one function gives the score of a run, of each child, and of two
thousand resamples.

Conventions (those of scikit-learn with ``zero_division=0`` over the classes that occur): a macro score is the mean over
the classes with support, in which a class that was never predicted has precision and F1 0. An undefined score is NaN
here, and null with its reason in ``metrics.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Score = Callable[[Floats], Floats]  # (..., K, K + 1) counts -> (...)


def count_clips(truth: Ints, predicted: Ints, groups: Ints, n_groups: int, classes: int) -> Floats:
    """Count clips by group, true class and predicted class into (n_groups, classes, classes + 1) floats.

    All inputs are (N,) indices from 0; ``predicted`` is -1 where there is no prediction, which the last column counts.
    """
    column = np.where(predicted < 0, classes, predicted)
    cell = (groups * classes + truth) * (classes + 1) + column
    counts = np.bincount(cell, minlength=n_groups * classes * (classes + 1))
    return counts.reshape(n_groups, classes, classes + 1).astype(np.float64)


def correct(counts: Floats) -> Floats:
    """Number of clips predicted as their class."""
    return np.asarray(np.trace(counts[..., :-1], axis1=-2, axis2=-1))


def accuracy(counts: Floats) -> Floats:
    """Share of the clips with a prediction that are right; NaN where there are none."""
    return ratio(correct(counts), counts[..., :-1].sum((-2, -1)))


def accuracy_with_missing(counts: Floats) -> Floats:
    """Accuracy over all labelled clips, those without a prediction counted as errors."""
    return ratio(correct(counts), counts.sum((-2, -1)))


def support(counts: Floats) -> Floats:
    """Clips of each class that have a prediction, (..., K)."""
    return np.asarray(counts[..., :-1].sum(-1))


def recall(counts: Floats) -> Floats:
    """TP / (TP + FN) by class, (..., K); NaN for a class without support."""
    return ratio(_true_positives(counts), support(counts))


def precision(counts: Floats) -> Floats:
    """TP / (TP + FP) by class, (..., K); NaN for a class that was never predicted."""
    return ratio(_true_positives(counts), counts[..., :-1].sum(-2))


def f1(counts: Floats) -> Floats:
    """2 TP / (2 TP + FP + FN) by class, (..., K); NaN for a class without support, 0 for one never predicted."""
    size = support(counts)
    score = ratio(2 * _true_positives(counts), size + counts[..., :-1].sum(-2))
    return np.where(size > 0, score, np.nan)


def specificity(counts: Floats) -> Floats:
    """TN / (TN + FP) by class, (..., K); NaN where every clip is of that class."""
    confusion = counts[..., :-1]
    negatives = confusion.sum((-2, -1))[..., None] - support(counts)
    false_positives = confusion.sum(-2) - _true_positives(counts)
    return ratio(negatives - false_positives, negatives)


def macro_precision(counts: Floats) -> Floats:
    """Mean precision over the classes with support; one never predicted counts as 0."""
    return _macro(np.nan_to_num(precision(counts)), counts)


def macro_recall(counts: Floats) -> Floats:
    """Mean recall over the classes with support (balanced accuracy)."""
    return _macro(recall(counts), counts)


def macro_f1(counts: Floats) -> Floats:
    """Mean F1 over the classes with support."""
    return _macro(f1(counts), counts)


def macro_specificity(counts: Floats) -> Floats:
    """Mean specificity over the classes with support; NaN where only one class occurs."""
    return _macro(specificity(counts), counts)


class Statistic(NamedTuple):
    """A score of a table of counts, and the cells it reads: a subject without counts there does not contribute."""

    value: Score
    reads: Bools  # (K, K + 1)


def overall_statistics(classes: int) -> dict[str, Statistic]:
    """Return the headline scores under their names in ``metrics.json``, without the AUC, which needs probabilities."""
    everything = np.ones((classes, classes + 1), dtype=np.bool_)
    predicted = everything.copy()
    predicted[:, -1] = False
    return {
        "accuracy": Statistic(accuracy, predicted),
        "accuracy_with_missing": Statistic(accuracy_with_missing, everything),
        "macro_precision": Statistic(macro_precision, predicted),
        "macro_recall": Statistic(macro_recall, predicted),
        "macro_f1": Statistic(macro_f1, predicted),
        "specificity": Statistic(macro_specificity, predicted),
    }


def class_statistics(classes: int) -> dict[tuple[int, str], Statistic]:
    """Return recall and F1 of each class, keyed by (class index, score)."""
    statistics: dict[tuple[int, str], Statistic] = {}
    for index in range(classes):
        row = np.zeros((classes, classes + 1), dtype=np.bool_)
        row[index, :-1] = True
        cross = row.copy()
        cross[:, index] = True
        statistics[index, "recall"] = Statistic(_of_class(recall, index), row)
        statistics[index, "f1"] = Statistic(_of_class(f1, index), cross)
    return statistics


def _of_class(score: Score, index: int) -> Score:
    return lambda counts: score(counts)[..., index]


def _true_positives(counts: Floats) -> Floats:
    return np.asarray(np.diagonal(counts[..., :-1], axis1=-2, axis2=-1))


def _macro(scores: Floats, counts: Floats) -> Floats:
    used = (support(counts) > 0) & ~np.isnan(scores)
    return ratio(np.where(used, scores, 0.0).sum(-1), used.sum(-1))


def ratio(numerator: Floats | float, denominator: Floats | Ints | float) -> Floats:
    """Divide; NaN where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.asarray(np.divide(numerator, denominator, out=out, where=denominator > 0))
