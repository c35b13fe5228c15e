"""Report of one run as a self-contained page, ``report.html``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from fer_id.errors import FerIdError, RunError, cut
from fer_id.evaluation.confidence.calibration import Reliability, calibrated, reliability
from fer_id.evaluation.confidence.conformal import LEVEL, conformal_scores, prediction_sets
from fer_id.evaluation.confidence.selective import risk_coverage
from fer_id.evaluation.confidence.threshold import RISK, flagged, review_scores
from fer_id.evaluation.config import ALL_GROUPS, LEAST_FACE, Breakdown
from fer_id.evaluation.groups.subgroups import compute_subgroups
from fer_id.evaluation.metrics import compute_metrics, confidences
from fer_id.evaluation.predictions import check_answers, check_predictions, class_names, judge
from fer_id.files import atomic_write_bytes
from fer_id.labels import SPACES, LabelSpace
from fer_id.reporting import doubt, figures, group_figures, words
from fer_id.reporting.audit import Findings, read_audit, reasons_words
from fer_id.reporting.explanation import read_sentences
from fer_id.reporting.group_words import SCORES, gap_sentences, gap_words, small_groups
from fer_id.reporting.jobs import read_metrics, run_name
from fer_id.reporting.page import data_uri, write_page
from fer_id.reporting.style import svg
from fer_id.reporting.uncertainty import read_uncertainty
from fer_id.runs.run_dir import RunDir

Metrics = dict[str, Any]

KEY_NUMBERS = {
    "accuracy": "Accuracy",
    "accuracy_with_missing": "Accuracy, missing as errors",
    "macro_f1": "Macro-F1",
    "macro_recall": "Macro recall",
    "macro_precision": "Macro precision",
    "auc": "AUC, one against rest",
    "specificity": "Specificity",
}
FIGURES = (
    *("confusion_matrix", "per_class", "subjects", "groups", "group_reliability"),
    *("reliability", "risk_coverage", "training"),
)
_MOST_SUBJECTS = 60  # rows of the table of subjects; beyond that the figure shows the rest


def evaluate_run(
    run: RunDir,
    groups: Breakdown = ALL_GROUPS,
    *,
    risk: float = RISK,
    level: float = LEVEL,
    least_face: float = LEAST_FACE,
) -> Metrics:
    """Write calibration, review flags, prediction sets, ``metrics.json``, figures and report again, from
    ``predictions.parquet`` alone; arguments and errors as in :func:`judged_anew`."""
    predictions, metrics = judged_anew(run, groups, risk=risk, level=level, least_face=least_face)
    run.write_predictions(predictions)
    run.write_metrics(metrics)
    write_figures(run)
    write_report(run)
    return metrics


def judged_anew(
    run: RunDir,
    groups: Breakdown = ALL_GROUPS,
    *,
    risk: float = RISK,
    level: float = LEVEL,
    least_face: float = LEAST_FACE,
) -> tuple[pd.DataFrame, Metrics]:
    """Return the content that ``predictions.parquet`` and ``metrics.json`` of a run should have; nothing is written.

    Args:
        run: the run.
        groups: columns to break the scores down by.
        risk: maximum error rate among the unflagged clips, in (0, 1).
        level: nominal coverage of the prediction sets, in (0, 1).
        least_face: share of a clip's frames that must show the face, in [0, 1].

    Raises:
        DataError: the predictions contradict their contract, or have no such group column.
        RunError: a file of the run is missing or damaged.
    """
    predictions = run.predictions()
    labels, provenance = _label_space(class_names(predictions)), _provenance(run)
    check_predictions(predictions, labels, run.path / "predictions.parquet")
    check_answers(predictions, labels, run.path / "predictions.parquet")
    _require_every_subject(run, predictions)
    predictions, temperatures, why = calibrated(predictions, labels)
    predictions, thresholds, unchosen = flagged(predictions, labels, risk, least_face)
    predictions, children, too_few = prediction_sets(predictions, labels, level)
    seed = run.job().seed or 0
    metrics = compute_metrics(predictions, labels, provenance, seed=seed)
    metrics["calibration"]["temperatures"] = temperatures
    metrics["review"], of_review = review_scores(predictions, thresholds, unchosen, risk, seed, least_face)
    metrics["conformal"], of_sets = conformal_scores(predictions, labels, children, too_few, level, seed)
    metrics["reasons"] |= {f"calibration.temperatures.{fold}": reason for fold, reason in why.items()}
    metrics["subgroups"], why = None, {"subgroups": "subjects are groups of images here, not people"}
    if words.subjects_are_people(metrics, run.job().store):
        metrics["subgroups"], why = compute_subgroups(predictions, labels, groups, seed=seed)
    metrics["reasons"] |= why
    metrics["reasons"] |= of_review | of_sets
    if (known := read_uncertainty(run)) is not None:
        metrics["uncertainty"] = known
    return predictions, metrics


def _require_every_subject(run: RunDir, predictions: pd.DataFrame) -> None:
    """Raise RunError where a subject that ``job.json`` tests has no row: scores would leave out children unseen."""
    tested = predictions["subject_id"][predictions["split"] == "test"].astype(str)
    missing = sorted(run.job().tested - {*tested})
    if missing and not run.folds:
        raise RunError(
            f"{run.path / 'predictions.parquet'}: no test clip of {cut(missing[0])} (of {len(missing)} subjects), whom "
            "job.json tests: rows were taken out. Remove the file and DONE, and say the same `fer-id train` command "
            "again: it predicts again, without training"
        )


def draw_figures(run: RunDir) -> dict[str, Figure]:
    """Return the figures of a run by name, in the order of the report; figures without content are left out."""
    metrics, folds = read_metrics(run), run.folds
    labels = LabelSpace("run", tuple(metrics["labels"]))
    judged = judge(run.predictions(), labels)
    covered = judged.covered
    bins = reliability(confidences(judged), judged.truth[covered] == judged.predicted[covered])
    risks = risk_coverage(confidences(judged), judged.truth[covered] == judged.predicted[covered])
    after = _reliability_after(run.predictions(), labels)
    provenance, review = metrics["provenance"], metrics.get("review")
    store = run.job().store
    people, agreement = words.subjects_are_people(metrics, store), store.agreement
    if folds:
        training = figures.fold_curves([fold.learning_curve() for fold in folds], provenance)
    else:
        training = figures.training_curves(run.learning_curve(), provenance, _monitor(run))
    drawn = {
        "confusion_matrix": figures.confusion_matrix(metrics),
        "per_class": figures.per_class(metrics, agreement.ceiling_by_class if agreement else None),
        "subjects": figures.subject_accuracy(metrics, agreement.ceiling if agreement else None) if people else None,
        "groups": group_figures.forest(metrics) if people else None,
        "group_reliability": group_figures.reliability_of_groups(run.predictions(), metrics) if people else None,
        "reliability": figures.reliability_diagram(bins, provenance, after),
        "risk_coverage": figures.risk_coverage_curve(risks, provenance, review) if len(risks.risk) else None,
        "training": training,
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _reliability_after(predictions: pd.DataFrame, labels: LabelSpace) -> Reliability | None:
    """Return the reliability of the calibrated probabilities; None where no fold has any."""
    judged = judge(predictions, labels, probabilities="q")
    known = judged.covered & np.isfinite(judged.probabilities).all(axis=1)
    if not known.any():
        return None
    return reliability(judged.probabilities[known].max(axis=1), judged.truth[known] == judged.predicted[known])


def write_figures(run: RunDir) -> dict[str, Path]:
    """Write :func:`draw_figures` into ``figures/`` as SVG, remove outdated files, and return the files by name."""
    drawn = draw_figures(run)
    for name in set(FIGURES) - set(drawn):
        (run.figures / f"{name}.svg").unlink(missing_ok=True)
    written = {name: run.figures / f"{name}.svg" for name in drawn}
    for name, figure in drawn.items():
        atomic_write_bytes(written[name], svg(figure))
    return written


def write_report(run: RunDir) -> Path:
    """Write ``report.html`` from ``metrics.json``, ``job.json``, ``config.yaml`` and the figures on disk.

    Raises:
        RunError: a file of the run is missing, damaged or incomplete.
    """
    metrics, job = read_metrics(run), run.job()
    store = job.store
    people = words.subjects_are_people(metrics, store)
    audit = read_audit(store)
    files = {name: run.figures / f"{name}.svg" for name in FIGURES}
    pictures = {name: data_uri(path.read_bytes()) for name, path in files.items() if path.is_file()}
    return write_page(
        run.path / "report.html",
        "report.html.j2",
        title=run_name(run),
        metrics=metrics,
        job=job,
        store=store,
        people=people,
        summary=words.summary(metrics, people=people),
        caveat=words.provenance_caveat(metrics["provenance"]),
        baselines=words.baselines(metrics),
        key_numbers=_key_numbers(metrics),
        selective_rows=_selective_rows(metrics),
        calibration_note=words.calibration_note(metrics["calibration"]),
        held=words.held(metrics["n_subjects"]),
        uncalibrated=next(
            (why for key, why in metrics["reasons"].items() if key.startswith("calibration.temperatures.")), ""
        ),
        class_rows=_class_rows(metrics),
        subject_rows=_subject_rows(run, metrics) if people else [],
        n_subjects_hidden=max(0, metrics["n_subjects"] - _MOST_SUBJECTS),
        subgroups=metrics["subgroups"] if people else None,
        group_scores=SCORES,
        gap_words=gap_words,
        small_groups=small_groups(metrics["subgroups"]) if metrics["subgroups"] else "",
        doubts=doubt.sentences(metrics, people=people),
        looks=read_sentences(run),
        pictures=pictures,
        alternatives=_alternatives(metrics, people=people),
        audit=audit,
        left_out=_left_out(run, job.dropped, audit),
        config=yaml.safe_dump(run.config(), sort_keys=False, allow_unicode=True),
    )


def _monitor(run: RunDir) -> str:
    """Return the score that chose the best checkpoint; for a run of an older version the default."""
    return str((run.config().get("trainer") or {}).get("monitor") or "val/macro_f1")


def _left_out(run: RunDir, dropped: dict[str, int], audit: Findings) -> list[str]:
    """Return sentences on the parts of its store that this run did not use."""
    sentences = []
    if dropped:
        counts = {reason: n for reason, n in dropped.items() if not reason.startswith("folds ")}
        total = words.counted(sum(counts.values()), "clip")
        sentences.append(f"This run left out {total}: {reasons_words(dropped)}.")
    if audit.images and (run.config().get("data") or {}).get("drop_duplicates") is False:
        sentences.append(
            "This run kept the repeats in training, as data.drop_duplicates=false says: its scores flatter it."
        )
    elif audit.images and run.folds:
        sentences.append("Which repeats each fold left out stands in the fold's own report.")
    return sentences


def _provenance(run: RunDir) -> str:
    provenance = run.job().store.provenance
    if provenance is None:
        raise FerIdError(
            f"{run.path / 'job.json'}: store.provenance is missing, so nothing may be reported; train again"
        )
    return provenance


def _label_space(names: tuple[str, ...]) -> LabelSpace:
    known = (space for space in SPACES.values() if space.names == names)
    return next(known, LabelSpace("the run's classes", names))


def _key_numbers(metrics: Metrics) -> list[dict[str, Any]]:
    rows = []
    for name, title in KEY_NUMBERS.items():
        if name == "accuracy_with_missing" and not metrics["n_missing"]:
            continue
        rows.append(
            {
                "title": title,
                "value": metrics[name],
                "interval": metrics["intervals"].get(name),
                "words": words.interval_words(metrics, name),
                "reason": metrics["reasons"].get(name),
            }
        )
    return rows


def _selective_rows(metrics: Metrics) -> list[dict[str, Any]]:
    """Return the row of the error rate at 80 % coverage; none for metrics of an older version."""
    selective = metrics.get("selective") or {}
    if "intervals" not in selective or (value := selective["risk_at_coverage"]["0.8"]) is None:
        return []
    interval, why = selective["intervals"]["risk_at_coverage.0.8"], metrics["reasons"]
    text = words.extent(interval, why.get("selective.intervals.risk_at_coverage.0.8"))
    return [{"title": "Wrong among the surest 80\u202f%", "value": value, "interval": interval, "words": text}]


def _class_rows(metrics: Metrics) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            **metrics["per_class"][name],
            "interval": metrics["intervals"].get(f"per_class.{name}.recall"),
            "pattern": words.error_pattern(metrics, name),
        }
        for name in metrics["labels"]
    ]


def _subject_rows(run: RunDir, metrics: Metrics) -> list[dict[str, Any]]:
    """Return the subjects from the lowest accuracy up, each with the report of its own fold, where there is one."""
    reports = {fold.path.name for fold in run.folds if (fold.path / "report.html").is_file()}
    rows = [
        {"name": name, **row, "report": f"folds/{name}/report.html" if name in reports else None}
        for name, row in metrics["per_subject"].items()
    ]
    rows.sort(key=lambda row: -1.0 if row["accuracy"] is None else row["accuracy"])
    return rows[:_MOST_SUBJECTS]


def _alternatives(metrics: Metrics, *, people: bool) -> dict[str, str]:
    """Return a text alternative for each picture."""
    patterns = "; ".join(f"{name}: {words.error_pattern(metrics, name)}" for name in metrics["labels"])
    worst = words.worst_subject(metrics) if people else None
    return {
        "confusion_matrix": f"Confusion matrix of {len(metrics['labels'])} classes. {patterns}.",
        "per_class": "Bars of recall by class with 95 % intervals and F1; the numbers are in the table below.",
        "subjects": f"Accuracy of each subject, sorted; the lowest is {worst}."
        if worst
        else "Accuracy of each subject.",
        "groups": " ".join(["Accuracy by group.", *gap_sentences(metrics["subgroups"])]),
        "group_reliability": "A reliability diagram for every group; the numbers are in the table below.",
        "reliability": f"Reliability diagram; calibration error {words.percent(metrics['calibration']['ece'])}.",
        "risk_coverage": "Share of wrong answers against the share of clips answered, the surest first; "
        "the point where the threshold from inner validation lies is named in the text.",
        "training": "Loss and macro-F1 by epoch.",
    }
