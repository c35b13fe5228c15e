"""Computation of ``metrics.json`` from predictions alone, for one split or for pooled folds.

Scores are those of the test clips that have a label and a prediction; ``coverage`` is their share of the labelled test
clips, and ``accuracy_with_missing`` counts the other labelled ones as errors. Under cross-validation the rows of all
folds are pooled; the AUC then compares probabilities of different models, as is usual and worth knowing.
"""

from __future__ import annotations

from typing import cast, get_args

import numpy as np
import pandas as pd

from fer_id.errors import DataError
from fer_id.evaluation import scores
from fer_id.evaluation.affect import affect_scores, has_affect, undefined_reason
from fer_id.evaluation.auc import auc_by_class, auc_of, macro_auc
from fer_id.evaluation.confidence.calibration import BINS, calibration_intervals, calibration_scores
from fer_id.evaluation.confidence.selective import selective_intervals, selective_scores
from fer_id.evaluation.intervals import as_records, count_intervals, jackknife
from fer_id.evaluation.predictions import (
    NO_BASELINE,
    Judged,
    check_predictions,
    class_columns,
    judged_clips,
    judged_rows,
)
from fer_id.evaluation.scores import Bools, Floats
from fer_id.files import plain
from fer_id.labels import LabelSpace
from fer_id.runs.metrics import Calibrated, Calibration, ClassScores, Metrics, Selective, SubjectScores
from fer_id.runs.records import Provenance

Reasons = dict[str, str]
"""Dotted name of an undefined value in ``metrics.json`` -> the reason."""


def compute_metrics(predictions: pd.DataFrame, labels: LabelSpace, provenance: str) -> Metrics:
    """Compute the content of ``metrics.json`` from the columns of ``predictions.parquet``.

    ``n_clips`` counts the labelled test clips, ``n_no_baseline`` those whose head had no own baseline to subtract.
    ``intervals`` holds the scores by name, and ``per_class.<label>.recall`` and ``.f1``; ``calibration``, its
    ``calibrated`` and ``selective`` hold their own. An undefined value is None, and ``reasons`` says why under its
    dotted name. Raise DataError where the predictions contradict their contract, or the provenance is unknown.
    """
    check_predictions(predictions, labels)
    return score(predictions, labels, provenance)


def score(predictions: pd.DataFrame, labels: LabelSpace, provenance: str) -> Metrics:
    """Compute the metrics of predictions that were checked before; raise DataError where the provenance is unknown."""
    if provenance not in get_args(Provenance):
        raise DataError(
            f"provenance {provenance!r} is none of {', '.join(get_args(Provenance))}; it comes from the store's card"
        )
    judged = judged_clips(predictions, labels)
    covered, counts = judged.covered, judged.counts(len(labels))
    total = counts.sum(0)
    auc, without_each = auc_of(judged)
    calibration, why_calibration = _calibration(judged, predictions, labels)
    selective, why_selective = _selective(judged)
    overall = headline_scores(judged, labels)
    intervals = count_intervals(counts, _statistics(labels))
    intervals["auc"] = jackknife(float(macro_auc(auc)), without_each)
    limits, why_intervals = as_records(intervals)
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
        intervals=limits,
    )
    reasons = _reasons(metrics) | why_intervals | why_calibration | why_selective
    if has_affect(predictions):
        metrics, why_affect = _with_affect(metrics, predictions)
        reasons |= why_affect
    if NO_BASELINE in predictions:
        without = judged_rows(predictions)[NO_BASELINE].eq(True).to_numpy(np.bool_)
        metrics = metrics.model_copy(update={"n_no_baseline": int((without & covered).sum())})
    return metrics.model_copy(update={"reasons": reasons})


def _with_affect(metrics: Metrics, predictions: pd.DataFrame) -> tuple[Metrics, Reasons]:
    """Return the metrics with the CCC of valence and arousal and their intervals, and the reasons of undefined ones."""
    values, intervals, counts = affect_scores(predictions)
    limits, reasons = as_records(intervals)
    reasons |= {name: undefined_reason(name, counts) for name, value in values.items() if np.isnan(value)}
    update = {**plain(values), **counts, "intervals": metrics.intervals | limits}
    return metrics.model_copy(update=update), reasons


def headline_scores(judged: Judged, labels: LabelSpace) -> dict[str, float | None]:
    """Return accuracy, macro scores, AUC and specificity as ``metrics.json`` has them; None where undefined."""
    total = judged.counts(len(labels)).sum(0)
    auc = auc_by_class(judged.probabilities[judged.covered], judged.truth[judged.covered])
    overall = {name: each.value(total) for name, each in scores.overall_statistics(len(labels)).items()}
    numbers: dict[str, float | None] = plain(overall | {"auc": macro_auc(auc)})
    return numbers


def _statistics(labels: LabelSpace) -> dict[str, scores.Statistic]:
    by_class = {
        f"per_class.{labels.names[index]}.{score}": statistic
        for (index, score), statistic in scores.class_statistics(len(labels)).items()
    }
    return scores.overall_statistics(len(labels)) | by_class


def _per_class(total: Floats, auc: Floats, labels: LabelSpace) -> dict[str, ClassScores]:
    columns = {"precision": scores.precision(total), "recall": scores.recall(total), "f1": scores.f1(total)}
    columns |= {"specificity": scores.specificity(total), "auc": auc, "support": scores.support(total).astype(int)}
    rows = pd.DataFrame(columns, index=labels.names).to_dict("index")
    return {str(name): ClassScores(**plain(row)) for name, row in rows.items()}


def _per_subject(counts: Floats, judged: Judged) -> dict[str, SubjectScores]:
    sizes = {"n_clips": counts.sum((1, 2)).astype(int), "n_missing": counts[..., -1].sum(1).astype(int)}
    shares = {"accuracy": scores.accuracy(counts), "macro_recall": scores.macro_recall(counts)}
    shares["macro_f1"] = scores.macro_f1(counts)
    rows = pd.DataFrame(sizes | shares, index=judged.subject_ids).to_dict("index")
    return {str(subject): SubjectScores(**plain(row)) for subject, row in rows.items()}


def _calibration(judged: Judged, predictions: pd.DataFrame, labels: LabelSpace) -> tuple[Calibration, Reasons]:
    """Score the raw probabilities, and the calibrated ones on the clips that have them."""
    raw, reasons = _calibration_of(judged, judged.probabilities, judged.covered)
    after, q = None, class_columns(judged_rows(predictions), labels, "q")
    calibrated_rows = judged.covered & np.isfinite(q).all(axis=1)
    if calibrated_rows.any():
        calibrated, why_calibrated = _calibration_of(judged, q, calibrated_rows)
        after = Calibrated.model_validate(calibrated | {"n_clips": int(calibrated_rows.sum())})
        reasons |= {f"calibrated.{name}": reason for name, reason in why_calibrated.items()}
    section = Calibration.model_validate({"bins": BINS, **raw, "calibrated": after})
    return section, {f"calibration.{name}": reason for name, reason in reasons.items()}


def _calibration_of(judged: Judged, p: Floats, rows: Bools) -> tuple[dict[str, object], Reasons]:
    """Compute the calibration errors of one kind of probabilities, with their intervals."""
    scored = calibration_intervals(p[rows], judged.truth[rows], judged.subjects[rows])
    values = calibration_scores(p[rows], judged.truth[rows]) | {"overconfidence": scored["overconfidence"][0]}
    intervals, reasons = as_records({name: interval for name, (_, interval) in scored.items()})
    return {**plain(values), "intervals": intervals}, reasons


def _selective(judged: Judged) -> tuple[Selective, Reasons]:
    """Compute risk against coverage of the raw confidence, whose order within a fold no temperature changes."""
    confidence, rows = confidences(judged), judged.covered
    right = judged.truth[rows] == judged.predicted[rows]
    scored = selective_intervals(confidence, right, judged.subjects[rows])
    intervals, reasons = as_records({name: interval for name, (_, interval) in scored.items()})
    section = Selective(**plain(selective_scores(confidence, right)), intervals=intervals)
    return section, {f"selective.{name}": reason for name, reason in reasons.items()}


def confidences(judged: Judged) -> Floats:
    """Return the probability of the predicted class, (M,), of the clips that have a prediction."""
    rows = np.flatnonzero(judged.covered)
    return np.asarray(judged.probabilities[rows, judged.predicted[rows]])


def _reasons(metrics: Metrics) -> Reasons:
    nothing = "no labelled test clip has a prediction" if metrics.n_clips else "no labelled test clip"
    one_class = "all test clips are of one class" if metrics.n_judged else nothing
    reasons = {name: nothing for name in _HEADLINE if metrics[name] is None}
    reasons |= {"ece": nothing} if metrics.calibration.ece is None else {}
    reasons |= {name: one_class for name in ("auc", "specificity") if metrics[name] is None}
    for label, row in metrics.per_class.items():
        why = _class_reasons(label, present=bool(row.support), one_class=one_class)
        reasons |= {f"per_class.{label}.{score}": why[score] for score, value in row if value is None}
    unseen = [subject for subject, row in metrics.per_subject.items() if row.accuracy is None]
    return reasons | {f"per_subject.{subject}": "no clip with a prediction" for subject in unseen}


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
