"""Conformal prediction sets of classes with the child as the unit of calibration.

Split conformal prediction with **children** as exchangeable units, which their clips are not: hierarchical conformal
prediction (Lee, Barber and Willett 2023, arXiv:2306.06342; Dunn, Wasserman and Ramdas 2022,
doi:10.1080/01621459.2022.2060112) gives every calibration child the same weight. With ``K`` children the p-value of
class ``y`` for a clip ``x`` is

    p(x, y) = (1 + sum over children of the share of the child's clips whose score is at least s(x, y)) / (K + 1)

and the set holds every class with p above ``1 - level``. The true class of a clip drawn from a new child is in its set
with a probability of at least ``level``, on average over children, whatever the model; a child on whom the model fails
may have less, so coverage by child and by class is reported too. With one clip per child this is ordinary conformal
prediction, and in general the mean of its p-values over all draws of one clip per child.

The score is 1 - p of the class (Sadinle, Lei and Wasserman 2019, doi:10.1080/01621459.2017.1395341): it gives the
smallest sets, and an empty set where no class fits as in the calibration children; adaptive scores (APS) spread the
coverage more evenly but in larger sets, which a person has to read. It uses the raw ``p``: a temperature is fitted on
these very clips, so their calibrated scores would not be exchangeable with those of a new child.

Fewer than ``level / (1 - level)`` calibration children, 9 for 90 %, can exclude no class: "insufficient evidence".
Cross-fitted rows come from several models, each trained on fewer children than the fold's (cross-conformal prediction,
Vovk 2015, doi:10.1007/s10472-013-9368-4); coverage is then not guaranteed, in practice near its level or above.
Without cross-fitting the rows are those of inner validation, which also chose the epoch, so their scores are slightly
better than a new child's and the sets slightly too small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fer_id.evaluation.intervals import UNIT_RANGE, ratio_interval
from fer_id.evaluation.predictions import (
    by_fold,
    calibration_rows,
    class_columns,
    class_indices,
    counted_units,
    judged_rows,
)
from fer_id.evaluation.scores import Floats
from fer_id.labels import LabelSpace
from fer_id.runs.metrics import ClassCoverage, Conformal

LEVEL = 0.9
OK, INSUFFICIENT = "ok", "insufficient evidence"
SEPARATOR = "|"
_FIGURES = ("coverage", "interval", "subject_coverage", "mean_size", "singletons", "empty", "per_class")


def fewest_subjects(level: float) -> int:
    """Return the fewest calibration children with which a p-value can be as small as ``1 - level``."""
    return math.ceil(level / (1 - level) - 1e-9)


def hierarchical_p_values(scores: Floats, calibration: Floats, subjects: Sequence[str]) -> Floats:
    """Compute the p-value of every nonconformity score (higher: a worse fit of the class), in the shape of ``scores``.

    ``calibration`` (M,) are the scores of the true classes of the calibration clips; see the module for the formula.
    """
    _, codes, sizes = np.unique(np.asarray(subjects, dtype=str), return_inverse=True, return_counts=True)
    order = np.argsort(calibration, kind="stable")
    below = np.concatenate([[0.0], np.cumsum((1 / sizes[codes])[order])])  # total weight of the lowest 0 to M scores
    at_least = below[-1] - below[np.searchsorted(calibration[order], scores, side="left")]
    return np.asarray((1 + at_least.clip(0)) / (len(sizes) + 1))


def prediction_sets(
    predictions: pd.DataFrame, labels: LabelSpace, level: float = LEVEL, unit: str = "subject_id"
) -> tuple[pd.DataFrame, dict[str, int], dict[str, str]]:
    """Add the column ``set`` to predictions: for test clips the classes joined by ``|``, in the order of ``labels``.

    An empty text is the empty set; null means no set: not a test clip, no prediction, or too few calibration children.
    ``unit`` is the column whose groups are exchangeable with new ones; with another than ``subject_id`` its groups
    take the place of the children. Return the table, the number of calibration children of each fold, and the reason
    where a fold has no sets.
    """
    p = class_columns(predictions, labels)
    sets = np.full(len(predictions), None, dtype=object)
    names = np.array(labels.names)
    children: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for fold, rows, part in by_fold(predictions):
        known = calibration_rows(part)
        subjects = part[unit][known].astype(str)
        children[fold] = number = subjects.nunique()
        if number < (needed := fewest_subjects(level)):
            people = counted_units(number, unit)
            reasons[fold] = f"{people} to calibrate on, sets of level {level:g} need {needed} at least"
            continue
        calibration = 1 - p[rows[known], class_indices(part["label"][known], labels)]
        tested = rows[((part["split"] == "test") & part["predicted"].notna()).to_numpy(np.bool_)]
        within = hierarchical_p_values(1 - p[tested], calibration, subjects.tolist()) > 1 - level + 1e-9
        sets[tested] = [SEPARATOR.join(names[row]) for row in within]
    return predictions.assign(set=pd.Series(sets, index=predictions.index, dtype=object)), children, reasons


def conformal_scores(
    predictions: pd.DataFrame,
    labels: LabelSpace,
    children: dict[str, int],
    why: dict[str, str],
    level: float = LEVEL,
) -> tuple[Conformal, dict[str, str]]:
    """Compute ``conformal`` of ``metrics.json`` and its reasons, from a table with the column ``set``.

    Values are those of the labelled test clips with a set, of all folds together; ``interval`` is the interval of the
    coverage over subjects, ``subject_coverage`` the mean over subjects, ``per_class`` the coverage of each class.
    """
    reasons = {f"conformal.n_subjects_calibration.{fold}": reason for fold, reason in why.items()}
    test = judged_rows(predictions[predictions["set"].notna()])
    enough = len(children) > len(why)
    known = {"level": level, "n_subjects_calibration": children, "n_clips": len(test)}
    entry = known | {"verdict": OK if enough else INSUFFICIENT} | dict.fromkeys(_FIGURES)
    if not len(test):
        reason = "no labelled test clip has a prediction" if enough else next(iter(why.values()), "no prediction")
        reasons |= {f"conformal.{name}": reason for name in _FIGURES}
        return Conformal.model_validate(entry), reasons
    sets = [set(filter(None, text.split(SEPARATOR))) for text in test["set"]]
    sizes = np.array([len(classes) for classes in sets])
    holds = np.array([label in classes for label, classes in zip(test["label"], sets, strict=True)], dtype=np.float64)
    subjects = test["subject_id"].astype(str)
    value, interval = ratio_interval(holds, np.ones(len(holds)), subjects.tolist(), bounds=UNIT_RANGE)
    per_class = {}
    for name in labels.names:
        covered = holds[(test["label"] == name).to_numpy(np.bool_)]
        per_class[name] = ClassCoverage(coverage=float(covered.mean()) if len(covered) else None, n_clips=len(covered))
        if not len(covered):
            reasons[f"conformal.per_class.{name}"] = "no clip of it has a set"
    if interval.reason:
        reasons["conformal.interval"] = interval.reason
    figures = {
        "coverage": value,
        "interval": interval.as_record(),
        "subject_coverage": float(pd.Series(holds).groupby(subjects.to_numpy()).mean().mean()),
        "mean_size": float(sizes.mean()),
        "singletons": float((sizes == 1).mean()),
        "empty": float((sizes == 0).mean()),
        "per_class": per_class,
    }
    return Conformal.model_validate(entry | figures), reasons
