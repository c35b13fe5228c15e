"""Aleatoric and epistemic uncertainty of ensembles and of Monte-Carlo dropout.

Several members predict each clip: trainings with different seeds (deep ensemble, Lakshminarayanan et al. 2017,
arXiv:1612.01474), or passes of one model with active dropout (Gal and Ghahramani 2016, arXiv:1506.02142). The entropy
of their mean prediction is a sum of two parts (Depeweg et al. 2018, arXiv:1710.07283):

* *aleatoric*, the mean entropy of the members' predictions: high where all members are undecided, an ambiguous clip;
* *epistemic*, the rest, the mutual information of prediction and member: high where confident members disagree, a clip
  unlike the training data; more data of its kind would help.

Both are in nats, 0 to ln K. Members that are similar for another reason (dropout in one layer, seeds from the same
pretrained encoder) differ less than models could: a small epistemic part is no proof that a clip is familiar.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from fer_id.errors import DataError
from fer_id.evaluation.auc import auc_by_class, auc_without_each
from fer_id.evaluation.intervals import Interval, jackknife
from fer_id.evaluation.scores import Bools, Floats, Ints
from fer_id.labels import SUM_TOLERANCE
from fer_id.runs.metrics import Uncertainty

MEASURES = ("total", "aleatoric", "epistemic", "confidence")
"""Columns of the table; ``confidence`` is the probability of the prediction: low where uncertainty is high."""


class Doubt(NamedTuple):
    """Entropies of N clips in nats, each (N,): ``total`` = ``aleatoric`` + ``epistemic``."""

    total: Floats
    aleatoric: Floats
    epistemic: Floats


def decompose(members: Floats) -> Doubt:
    """Decompose the entropy of the mean of M members' probabilities, (M, N, K); raise DataError where they are none."""
    if members.ndim != 3 or len(members) < 2:
        raise DataError(f"{len(members)} members: their difference is the measure, expected at least 2")
    if not np.isfinite(members).all() or (members < 0).any() or (members > 1 + SUM_TOLERANCE).any():
        raise DataError("a member's probability is NaN or outside [0, 1]")
    sums = members.sum(-1, keepdims=True)
    if (np.abs(sums - 1) > SUM_TOLERANCE).any():
        raise DataError("a member's probabilities do not sum to 1")
    members = members / sums
    aleatoric = special.entr(members).sum(-1).mean(0)
    total = special.entr(members.mean(0)).sum(-1)
    epistemic = (total - aleatoric).clip(0)  # Jensen: below zero by rounding only
    return Doubt(aleatoric + epistemic, aleatoric, epistemic)


def uncertainty_table(members: Floats, clips: pd.DataFrame, classes: tuple[str, ...], provenance: str) -> pd.DataFrame:
    """Tabulate each clip: ``clip_id subject_id fold label predicted right``, the ``MEASURES``, ``provenance``.

    ``clips`` (N,) has the first four; the probabilities are those of M members, (M, N, K).
    """
    doubt, mean = decompose(members), members.mean(0)
    table = clips[["clip_id", "subject_id", "fold", "label"]].reset_index(drop=True)
    predicted = np.array(classes, dtype=object)[mean.argmax(-1)]
    right = pd.Series(predicted == table["label"].to_numpy(object), dtype="boolean").where(table["label"].notna())
    table = table.assign(predicted=predicted, right=right, **doubt._asdict())
    return table.assign(confidence=mean.max(-1), provenance=provenance)


def error_auroc(doubt: Floats, right: Bools, subjects: Ints) -> tuple[float, Interval]:
    """Compute the AUROC of errors by the uncertainty ``doubt`` of clips (N,), and its interval over subjects.

    It is the probability that an error has a higher value than a correct prediction, ties one half; NaN, and the
    interval undefined, without both errors and correct predictions. Subjects are indices from 0, without gaps.
    """
    scores, wrong = np.stack([-doubt, doubt], axis=1), (~right).astype(np.int64)
    auroc = float(auc_by_class(scores, wrong)[1])
    without = auc_without_each(scores, wrong, subjects, int(subjects.max(initial=-1)) + 1)[:, 1]
    return auroc, jackknife(auroc, without)


def uncertainty_scores(table: pd.DataFrame, method: str, members: int) -> Uncertainty:
    """Compute ``uncertainty`` of ``metrics.json``.

    It has means in nats, and ``auroc_error`` of each measure on labelled clips, with ``intervals`` over subjects. An
    AUROC is None, with ``reason``, where no prediction is wrong, or none is right. An interval is None with one
    subject, or where one subject has all wrong, or all right, predictions.
    """
    known = table[table["right"].notna()]
    right = known["right"].to_numpy(np.bool_)
    subjects = pd.factorize(known["subject_id"])[0].astype(np.int64)
    doubts = known.assign(confidence=-known["confidence"])
    auroc = {name: error_auroc(doubts[name].to_numpy(np.float64), right, subjects) for name in MEASURES}
    defined = 0 < right.sum() < len(right)
    return Uncertainty(
        method=method,
        members=members,
        n_clips=len(table),
        aleatoric=float(table["aleatoric"].mean()),
        epistemic=float(table["epistemic"].mean()),
        accuracy=float(right.mean()) if len(right) else None,
        auroc_error={name: value if defined else None for name, (value, _) in auroc.items()},
        intervals={name: interval.as_record() for name, (_, interval) in auroc.items()},
        reason=None if defined else "the labelled clips are all right or all wrong, or there are none",
    )
