"""Computation of ``metrics.json`` from predictions alone, for one split or for pooled folds.

Scores are those of the test clips that have a label and a prediction; ``coverage`` is their share of the labelled test
clips, and ``accuracy_with_missing`` counts the other labelled ones as errors. Under cross-validation the rows of all
folds are pooled; the AUC then compares probabilities of different models, as is usual and worth knowing.
"""

from __future__ import annotations

from typing import TypedDict, cast, get_args

import numpy as np
import pandas as pd

from fer_id.errors import DataError
from fer_id.evaluation import scores
from fer_id.evaluation.auc import auc_by_class, auc_without_each, macro_auc
from fer_id.evaluation.confidence.calibration import BINS, calibration_scores
from fer_id.evaluation.confidence.intervals import Scored, calibration_intervals, selective_intervals
from fer_id.evaluation.confidence.selective import selective_scores
from fer_id.evaluation.intervals import Interval, count_intervals, jackknife
from fer_id.evaluation.predictions import Judged, check_predictions, judged_clips
from fer_id.evaluation.scores import Bools, Floats
from fer_id.files import plain
from fer_id.labels import LabelSpace
from fer_id.runs.metrics import Calibrated, Calibration, ClassScores, Metrics, Selective, SubjectScores
from fer_id.runs.records import Intervals, Provenance

Reasons = dict[str, str]
"""Dotted name of an undefined value in ``metrics.json`` -> the reason."""


class Errors(TypedDict):
    """Calibration errors of one kind of probabilities, with their intervals."""

    ece: float | None
    adaptive_ece: float | None
    brier: float | None
    nll: float | None
    overconfidence: float | None
    intervals: Intervals


def compute_metrics(predictions: pd.DataFrame, labels: LabelSpace, provenance: str, *, seed: int = 0) -> Metrics:
    """Compute the content of ``metrics.json``.

    Args:
        predictions: the columns of ``predictions.parquet``.
        labels: the classes, in the order of the confusion matrix.
        provenance: ``real``, ``simulated`` or ``synthetic``.
        seed: seed of the cluster bootstrap.

    Returns:
        ``provenance labels n_clips n_unlabelled n_missing n_subjects coverage accuracy accuracy_with_missing
        macro_precision macro_recall macro_f1 auc specificity calibration selective per_class confusion_matrix
        per_subject intervals reasons``. Shares lie in [0, 1]. ``n_clips`` counts the labelled test clips. The confusion
        matrix has the true class in rows and counts only clips with a prediction. ``intervals`` holds the scores by
        name, and ``per_class.<label>.recall`` and ``.f1``; ``calibration``, its ``calibrated`` and ``selective`` hold
        their own. An undefined value is None, and ``reasons`` says why under its dotted name.

    Raises:
        DataError: the predictions contradict their contract, or the provenance is unknown.
    """
    check_predictions(predictions, labels)
    return score(predictions, labels, provenance, seed=seed)


def score(predictions: pd.DataFrame, labels: LabelSpace, provenance: str, *, seed: int = 0) -> Metrics:
    """Compute the metrics as :func:`compute_metrics` does, of predictions that were checked before.

    Raises:
        DataError: the provenance is unknown.
    """
    if provenance not in get_args(Provenance):
        raise DataError(
            f"provenance {provenance!r} is none of {', '.join(get_args(Provenance))}; it comes from the store's card"
        )
    judged = judged_clips(predictions, labels)
    counts = scores.count_clips(judged.truth, judged.predicted, judged.subjects, len(judged.subject_ids), len(labels))
    total = counts.sum(0)
    covered = judged.covered
    auc = auc_by_class(judged.probabilities[covered], judged.truth[covered])
    calibration, why_calibration = _calibration(judged, predictions, labels)
    selective, why_selective = _selective(judged)
    overall = headline_scores(judged, labels)
    intervals = {**_count_intervals(counts, labels, seed), "auc": _auc_interval(judged, auc)}
    metrics = Metrics(
        provenance=cast("Provenance", provenance),
        labels=list(labels.names),
        n_clips=len(judged.truth),
        n_unlabelled=judged.n_unlabelled,
        n_missing=int((~covered).sum()),
        n_subjects=len(judged.subject_ids),
        coverage=float(covered.mean()) if len(covered) else None,
        accuracy=overall["accuracy"],
        accuracy_with_missing=overall["accuracy_with_missing"],
        macro_precision=overall["macro_precision"],
        macro_recall=overall["macro_recall"],
        macro_f1=overall["macro_f1"],
        auc=overall["auc"],
        specificity=overall["specificity"],
        calibration=calibration,
        selective=selective,
        per_class=_per_class(total, auc, labels),
        confusion_matrix=total[:, :-1].astype(int).tolist(),
        per_subject=_per_subject(counts, judged),
        intervals={name: interval.as_record() for name, interval in intervals.items()},
    )
    return metrics.with_reasons(_reasons(metrics, total, intervals) | why_calibration | why_selective)


def headline_scores(judged: Judged, labels: LabelSpace) -> dict[str, float | None]:
    """Return accuracy, macro scores, AUC and specificity as ``metrics.json`` has them; None where undefined.

    Args:
        judged: the labelled test clips.
        labels: the K classes.
    """
    one_group = np.zeros(len(judged.truth), np.int64)
    total = scores.count_clips(judged.truth, judged.predicted, one_group, 1, len(labels))[0]
    auc = auc_by_class(judged.probabilities[judged.covered], judged.truth[judged.covered])
    overall = {name: _number(each.value(total)) for name, each in scores.overall_statistics(len(labels)).items()}
    return overall | {"auc": _number(macro_auc(auc))}


def _count_intervals(counts: Floats, labels: LabelSpace, seed: int) -> dict[str, Interval]:
    by_class = {
        f"per_class.{labels.names[index]}.{score}": statistic
        for (index, score), statistic in scores.class_statistics(len(labels)).items()
    }
    return count_intervals(counts, scores.overall_statistics(len(labels)) | by_class, seed=seed)


def _auc_interval(judged: Judged, auc: Floats) -> Interval:
    rows = judged.covered
    codes, subjects = np.unique(judged.subjects[rows], return_inverse=True)
    without_each = auc_without_each(judged.probabilities[rows], judged.truth[rows], subjects, len(codes))
    return jackknife(float(macro_auc(auc)), macro_auc(without_each))


def _per_class(total: Floats, auc: Floats, labels: LabelSpace) -> dict[str, ClassScores]:
    support = scores.support(total)
    columns = {
        "precision": scores.precision(total),
        "recall": scores.recall(total),
        "f1": scores.f1(total),
        "specificity": scores.specificity(total),
        "auc": auc,
    }
    return {
        name: ClassScores(
            **{score: _number(values[index]) for score, values in columns.items()}, support=int(support[index])
        )
        for index, name in enumerate(labels.names)
    }


def _per_subject(counts: Floats, judged: Judged) -> dict[str, SubjectScores]:
    clips, missing = counts.sum((1, 2)), counts[..., -1].sum(1)
    accuracy, recall, f1 = scores.accuracy(counts), scores.macro_recall(counts), scores.macro_f1(counts)
    return {
        subject: SubjectScores(
            n_clips=int(clips[i]),
            n_missing=int(missing[i]),
            accuracy=_number(accuracy[i]),
            macro_recall=_number(recall[i]),
            macro_f1=_number(f1[i]),
        )
        for i, subject in enumerate(judged.subject_ids)
    }


def _calibration(judged: Judged, predictions: pd.DataFrame, labels: LabelSpace) -> tuple[Calibration, Reasons]:
    """Score the raw probabilities, and the calibrated ones on the clips that have them."""
    raw, reasons = _calibration_of(judged, judged.probabilities, judged.covered)
    after = None
    if all(f"q_{name}" in predictions for name in labels.names):
        q = judged_clips(predictions, labels, probabilities="q").probabilities
        calibrated_rows = judged.covered & np.isfinite(q).all(axis=1)
        if calibrated_rows.any():
            calibrated, why_calibrated = _calibration_of(judged, q, calibrated_rows)
            after = Calibrated.model_validate(calibrated | {"n_clips": int(calibrated_rows.sum())})
            reasons |= {f"calibrated.{name}": reason for name, reason in why_calibrated.items()}
    section = Calibration(bins=BINS, **raw, calibrated=after)
    return section, {f"calibration.{name}": reason for name, reason in reasons.items()}


def _calibration_of(judged: Judged, p: Floats, rows: Bools) -> tuple[Errors, Reasons]:
    scored = calibration_intervals(p[rows], judged.truth[rows], judged.subjects[rows])
    values = calibration_scores(p[rows], judged.truth[rows]) | {"overconfidence": scored["overconfidence"][0]}
    intervals, reasons = _intervals(scored)
    numbers = {name: _number(value) for name, value in values.items()}
    return cast("Errors", numbers | {"intervals": intervals}), reasons


def _selective(judged: Judged) -> tuple[Selective, Reasons]:
    """Compute risk against coverage of the raw confidence, whose order within a fold no temperature changes."""
    confidence, rows = confidences(judged), judged.covered
    right = judged.truth[rows] == judged.predicted[rows]
    intervals, reasons = _intervals(selective_intervals(confidence, right, judged.subjects[rows]))
    section = Selective(**plain(selective_scores(confidence, right)), intervals=intervals)
    return section, {f"selective.{name}": reason for name, reason in reasons.items()}


def _intervals(scored: Scored) -> tuple[Intervals, Reasons]:
    """Return ``intervals`` by score, and the reason of each undefined one under its dotted name."""
    named = {name: interval for name, (_, interval) in scored.items()}
    reasons = {f"intervals.{name}": interval.reason for name, interval in named.items() if interval.reason}
    return {name: interval.as_record() for name, interval in named.items()}, reasons


def confidences(judged: Judged) -> Floats:
    """Return the probability of the predicted class, (M,), of the clips that have a prediction."""
    rows = np.flatnonzero(judged.covered)
    return np.asarray(judged.probabilities[rows, judged.predicted[rows]])


def _reasons(metrics: Metrics, total: Floats, intervals: dict[str, Interval]) -> Reasons:
    judged = bool(total[:, :-1].sum())
    nothing = "no labelled test clip has a prediction" if metrics.n_clips else "no labelled test clip"
    one_class = "all test clips are of one class" if judged else nothing
    reasons = {name: nothing for name in _HEADLINE if metrics[name] is None}
    reasons |= {"ece": nothing} if metrics.calibration.ece is None else {}
    reasons |= {name: one_class for name in ("auc", "specificity") if metrics[name] is None}
    for label, row in metrics.per_class.items():
        why = _class_reasons(label, present=bool(row.support), one_class=one_class)
        reasons |= {f"per_class.{label}.{score}": why[score] for score, value in row if value is None}
    unseen = [subject for subject, row in metrics.per_subject.items() if row.accuracy is None]
    reasons |= {f"per_subject.{subject}": "no clip with a prediction" for subject in unseen}
    return reasons | {f"intervals.{name}": interval.reason for name, interval in intervals.items() if interval.reason}


_HEADLINE = ("coverage", "accuracy", "accuracy_with_missing", "macro_precision", "macro_recall", "macro_f1")


def _class_reasons(label: str, *, present: bool, one_class: str) -> dict[str, str]:
    """Return the reason for which each score of a class would be undefined."""
    absent = f"no test clip of class {label} has a prediction"
    never = f"{label} was never predicted" + ("; counts as 0 in the macro mean" if present else "")
    return {
        "precision": never,
        "recall": absent,
        "f1": absent,
        "specificity": one_class,
        "auc": one_class if present else absent,
    }


def _number(value: Floats | float) -> float | None:
    number = float(value)
    return None if np.isnan(number) else number
