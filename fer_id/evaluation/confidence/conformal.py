"""Prediction sets: the classes that a clip may show, such that the true one is among them in nine of ten cases.

Split conformal prediction with the **child** as the unit. Clips of one child are not exchangeable with those of
another, children are: hierarchical conformal prediction (Lee, Barber and Willett 2023, arXiv:2306.06342; Dunn,
Wasserman and Ramdas 2022, doi:10.1080/01621459.2022.2060112) gives every calibration child the same weight. With ``K``
of them the p-value of class ``y`` for a clip ``x`` is

    p(x, y) = (1 + sum over children of the share of the child's clips whose score is at least s(x, y)) / (K + 1)

and the set holds every class with p above ``1 - level``. A clip drawn from a new child then shows a class of its set
with a probability of at least ``level``, on average over children, whatever the model: a child whom it fails is not
helped by that, so coverage is given by child and class too. With one clip a child this is ordinary conformal
prediction, and in general the mean of its p-values over all draws of one clip a child.

The score is 1 - p of the class (Sadinle, Lei and Wasserman 2019, doi:10.1080/01621459.2017.1395341): it gives the
smallest sets, and an empty one says that no class looks as the calibration children's did; adaptive scores (APS) spread
the coverage more evenly but name more classes to a person who has to read them. It takes the raw ``p``: a temperature
was fitted on these very clips, and their scores would not be exchangeable with those of a new child.

Fewer than ``level / (1 - level)`` calibration children, 9 for 90 %, can exclude no class: "insufficient evidence".
Cross-fitted rows come from several models, each of fewer children than the fold's (cross-conformal prediction, Vovk
2015, doi:10.1007/s10472-013-9368-4); coverage then is no theorem, in practice near its level or above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fer_id.evaluation.intervals import UNIT_RANGE, ratio_interval
from fer_id.evaluation.predictions import calibration_rows, probabilities
from fer_id.evaluation.scores import Floats
from fer_id.labels import LabelSpace

LEVEL = 0.9
OK, INSUFFICIENT = "ok", "insufficient evidence"
SEPARATOR = "|"
_FIGURES = ("coverage", "interval", "subject_coverage", "mean_size", "singletons", "empty")


def fewest_subjects(level: float) -> int:
    """Calibration children below which no p-value gets down to ``1 - level``."""
    return math.ceil(level / (1 - level) - 1e-9)


def hierarchical_p_values(scores: Floats, calibration: Floats, subjects: Sequence[str]) -> Floats:
    """p of every score as the module says, the shape of ``scores``.

    Args:
        scores: of any shape; the higher, the less the class fits.
        calibration: (M,) scores of the true classes of the calibration clips.
        subjects: M names, whose clips these are.
    """
    _, codes, sizes = np.unique(np.asarray(subjects, dtype=str), return_inverse=True, return_counts=True)
    order = np.argsort(calibration, kind="stable")
    below = np.concatenate([[0.0], np.cumsum((1 / sizes[codes])[order])])  # weight of the lowest so many scores
    at_least = below[-1] - below[np.searchsorted(calibration[order], scores, side="left")]
    return np.asarray((1 + at_least.clip(0)) / (len(sizes) + 1))


def prediction_sets(
    predictions: pd.DataFrame, labels: LabelSpace, level: float = LEVEL
) -> tuple[pd.DataFrame, dict[str, int], dict[str, str]]:
    """Adds the column ``set`` to predictions: of test clips the classes joined by ``|``, in the order of ``labels``.

    An empty text is the empty set; null is no set: no test clip, no prediction, or too few calibration children.

    Args:
        predictions: the columns of ``predictions.parquet``, checked.
        labels: the classes.
        level: in (0, 1).

    Returns:
        the table; the number of calibration children of each fold; and why a fold has no sets.
    """
    p = probabilities(predictions, labels)
    sets = np.full(len(predictions), None, dtype=object)
    names = np.array(labels.names)
    children: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for name, rows in predictions.groupby("fold").indices.items():
        part = predictions.iloc[rows]
        known = calibration_rows(part)
        subjects = part["subject_id"][known].astype(str)
        children[str(name)] = subjects.nunique()
        if (found := children[str(name)]) < (needed := fewest_subjects(level)):
            people = f"{found} subject{'' if found == 1 else 's'} to calibrate on"
            reasons[str(name)] = f"{people}, sets of level {level:g} need {needed} at least"
            continue
        truth = pd.Categorical(part["label"][known], categories=list(names)).codes
        calibration = 1 - p[rows[known], truth]
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
    seed: int = 0,
) -> tuple[dict[str, Any], dict[str, str]]:
    """``conformal`` of ``metrics.json`` and its reasons, from a table with the column ``set``.

    Speaks of the labelled test clips that have a set, those of all folds together; ``interval`` is that of the coverage
    over subjects, ``subject_coverage`` the mean over subjects, ``per_class`` has the coverage of each class.
    """
    reasons = {f"conformal.n_subjects_calibration.{fold}": reason for fold, reason in why.items()}
    test = predictions[(predictions["split"] == "test") & predictions["label"].notna() & predictions["set"].notna()]
    enough = len(children) > len(why)
    found: dict[str, Any] = {"level": level, "verdict": OK if enough else INSUFFICIENT}
    found |= {"n_subjects_calibration": children, "n_clips": len(test), **dict.fromkeys(_FIGURES), "per_class": None}
    if not len(test):
        reason = "no labelled test clip has a prediction" if enough else next(iter(why.values()), "no prediction")
        return found, reasons | {f"conformal.{name}": reason for name in (*_FIGURES, "per_class")}
    sets = [set(filter(None, text.split(SEPARATOR))) for text in test["set"]]
    size = np.array([len(one) for one in sets])
    holds = np.array([label in one for label, one in zip(test["label"], sets, strict=True)], dtype=np.float64)
    subjects = test["subject_id"].astype(str)
    value, interval = ratio_interval(holds, np.ones(len(holds)), subjects.tolist(), bounds=UNIT_RANGE, seed=seed)
    by_class = {name: holds[(test["label"] == name).to_numpy(np.bool_)] for name in labels.names}
    found |= {
        "coverage": value,
        "interval": interval.as_json(),
        "subject_coverage": float(pd.Series(holds).groupby(subjects.to_numpy()).mean().mean()),
        "mean_size": float(size.mean()),
        "singletons": float((size == 1).mean()),
        "empty": float((size == 0).mean()),
        "per_class": {
            name: {"coverage": float(each.mean()) if len(each) else None, "n_clips": len(each)}
            for name, each in by_class.items()
        },
    }
    absent = {
        f"conformal.per_class.{name}": "no clip of it has a set" for name, each in by_class.items() if not len(each)
    }
    return found, reasons | absent | ({"conformal.interval": interval.reason} if interval.reason else {})
