"""Report of one run as a self-contained page, ``report.html``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from fer_id.evaluation.confidence.calibration import Reliability, reliability
from fer_id.evaluation.confidence.selective import risk_coverage
from fer_id.evaluation.evaluate import Evaluation, Options, evaluate, subjects_are_people
from fer_id.evaluation.metrics import confidences
from fer_id.evaluation.predictions import check_predictions, judged_clips
from fer_id.files import atomic_write_bytes
from fer_id.labels import LabelSpace
from fer_id.reporting import doubt, figures, group_figures, words
from fer_id.reporting.audit import Findings, read_audit, reasons_words
from fer_id.reporting.explanation import read_sentences
from fer_id.reporting.group_words import SCORES, gap_sentences, gap_words, small_groups
from fer_id.reporting.jobs import read_metrics, run_name
from fer_id.reporting.page import data_uri, write_page
from fer_id.reporting.style import svg
from fer_id.runs.job import Job
from fer_id.runs.metrics import Metrics, Selective
from fer_id.runs.run_dir import RunDir

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


def evaluate_run(run: RunDir, options: Options | None = None) -> Metrics:
    """Evaluate a run; write its predictions with calibration, flags and sets, ``metrics.json``, figures and report.

    Args:
        run: with the predictions of a training.
        options: groups, risk and level; None: the defaults.

    Raises:
        DataError: the predictions contradict their contract, or have no such group column.
        RunError: a file of the run is missing or damaged.
    """
    evaluation = evaluate(run, options)
    run.write_predictions(evaluation.predictions)
    run.write_metrics(evaluation.metrics)
    job = run.job()
    write_run_report(run, evaluation.metrics, job, write_figures(run, evaluation, job))
    return evaluation.metrics


def read_evaluation(run: RunDir) -> Evaluation:
    """Return the predictions and the metrics of an evaluated run, from its files.

    Raises:
        RunError: a file is missing, damaged or incomplete.
        DataError: the predictions contradict their contract.
    """
    metrics, predictions = read_metrics(run), run.predictions()
    labels = LabelSpace("run", tuple(metrics.labels))
    check_predictions(predictions, labels, run.path / "predictions.parquet")
    return Evaluation(predictions, labels, metrics)


def draw_figures(run: RunDir, evaluation: Evaluation, job: Job) -> dict[str, Figure]:
    """Return the figures of a run by name, in the order of the report; figures without content are left out.

    Args:
        run: its learning curves are read.
        evaluation: predictions and metrics of the run.
        job: store and subjects of the run.
    """
    metrics, labels, predictions = evaluation.metrics, evaluation.labels, evaluation.predictions
    judged = judged_clips(predictions, labels)
    covered = judged.covered
    bins = reliability(confidences(judged), judged.truth[covered] == judged.predicted[covered])
    risks = risk_coverage(confidences(judged), judged.truth[covered] == judged.predicted[covered])
    after = _reliability_after(predictions, labels)
    provenance, folds = metrics.provenance, run.folds
    people, agreement = subjects_are_people(metrics, job.store), job.store.agreement
    if folds:
        training = figures.fold_curves([fold.learning_curve() for fold in folds], provenance)
    else:
        training = figures.training_curves(run.learning_curve(), provenance, _monitor(run))
    human = agreement.ceiling_by_class if agreement else None
    drawn = {
        "confusion_matrix": figures.confusion_matrix(metrics),
        "per_class": figures.per_class(metrics, human),
        "subjects": figures.subject_accuracy(metrics, agreement.ceiling if agreement else None) if people else None,
        "groups": group_figures.forest(metrics) if people else None,
        "group_reliability": group_figures.reliability_of_groups(predictions, metrics) if people else None,
        "reliability": figures.reliability_diagram(bins, provenance, after),
        "risk_coverage": figures.risk_coverage_curve(risks, provenance, metrics.review) if len(risks.risk) else None,
        "training": training,
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _reliability_after(predictions: pd.DataFrame, labels: LabelSpace) -> Reliability | None:
    """Return the reliability of the calibrated probabilities; None where no fold has any."""
    if not all(f"q_{name}" in predictions for name in labels.names):
        return None
    judged = judged_clips(predictions, labels, probabilities="q")
    known = judged.covered & np.isfinite(judged.probabilities).all(axis=1)
    if not known.any():
        return None
    return reliability(judged.probabilities[known].max(axis=1), judged.truth[known] == judged.predicted[known])


def write_figures(run: RunDir, evaluation: Evaluation, job: Job) -> dict[str, bytes]:
    """Write :func:`draw_figures` into ``figures/`` as SVG, remove outdated files, and return the SVG by name."""
    drawn = {name: svg(figure) for name, figure in draw_figures(run, evaluation, job).items()}
    for name in set(FIGURES) - set(drawn):
        (run.figures / f"{name}.svg").unlink(missing_ok=True)
    for name, picture in drawn.items():
        atomic_write_bytes(run.figures / f"{name}.svg", picture)
    return drawn


def write_report(run: RunDir) -> Path:
    """Write ``report.html`` from ``metrics.json``, ``job.json``, ``config.yaml`` and the figures on disk.

    Raises:
        RunError: a file of the run is missing, damaged or incomplete.
    """
    files = {name: run.figures / f"{name}.svg" for name in FIGURES}
    pictures = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    return write_run_report(run, read_metrics(run), run.job(), pictures)


def write_run_report(run: RunDir, metrics: Metrics, job: Job, pictures: Mapping[str, bytes]) -> Path:
    """Write ``report.html`` of a run and return its path.

    Args:
        run: gives the name, the configuration, the folds and the sentences of an explanation.
        metrics, job: its records.
        pictures: figures as SVG, by name.
    """
    store = job.store
    people = subjects_are_people(metrics, store)
    audit = read_audit(store)
    return write_page(
        run.path / "report.html",
        "report.html.j2",
        title=run_name(run),
        metrics=metrics,
        job=job,
        store=store,
        people=people,
        summary=words.summary(metrics, people=people),
        caveat=words.provenance_caveat(metrics.provenance),
        baselines=words.baselines(metrics),
        key_numbers=_key_numbers(metrics),
        selective_rows=_selective_rows(metrics),
        calibration_note=words.calibration_note(metrics.calibration),
        held=words.held(metrics.n_subjects),
        uncalibrated=metrics.reason("calibration.temperatures"),
        class_rows=_class_rows(metrics),
        subject_rows=_subject_rows(run, metrics) if people else [],
        n_subjects_hidden=max(0, metrics.n_subjects - _MOST_SUBJECTS),
        subgroups=metrics.subgroups if people else None,
        group_scores=SCORES,
        gap_words=gap_words,
        small_groups=small_groups(metrics.subgroups) if metrics.subgroups else "",
        doubts=doubt.sentences(metrics, people=people),
        looks=read_sentences(run),
        pictures={name: data_uri(picture) for name, picture in pictures.items()},
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


def _key_numbers(metrics: Metrics) -> list[dict[str, Any]]:
    rows = []
    for name, title in KEY_NUMBERS.items():
        if name == "accuracy_with_missing" and not metrics.n_missing:
            continue
        rows.append(
            {
                "title": title,
                "value": metrics[name],
                "interval": metrics.interval(name),
                "words": words.interval_words(metrics, name),
                "reason": metrics.reasons.get(name),
            }
        )
    return rows


def _selective_rows(metrics: Metrics) -> list[dict[str, Any]]:
    """Return the row of the error rate at 80 % coverage; none for metrics of an older version."""
    selective = metrics.selective or Selective()
    if not selective.intervals or (value := selective.risk_at_coverage["0.8"]) is None:
        return []
    interval = selective.intervals["risk_at_coverage.0.8"]
    text = words.extent(interval, metrics.reasons.get("selective.intervals.risk_at_coverage.0.8"))
    return [{"title": "Wrong among the surest 80\u202f%", "value": value, "interval": interval, "words": text}]


def _class_rows(metrics: Metrics) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            **metrics.per_class[name].model_dump(),
            "interval": metrics.interval(f"per_class.{name}.recall"),
            "pattern": words.error_pattern(metrics, name),
        }
        for name in metrics.labels
    ]


def _subject_rows(run: RunDir, metrics: Metrics) -> list[dict[str, Any]]:
    """Return the subjects from the lowest accuracy up, each with the report of its own fold, where there is one."""
    reports = {fold.path.name for fold in run.folds if (fold.path / "report.html").is_file()}
    rows = [
        {"name": name, **row.model_dump(), "report": f"folds/{name}/report.html" if name in reports else None}
        for name, row in metrics.per_subject.items()
    ]
    rows.sort(key=lambda row: -1.0 if row["accuracy"] is None else row["accuracy"])
    return rows[:_MOST_SUBJECTS]


def _alternatives(metrics: Metrics, *, people: bool) -> dict[str, str]:
    """Return a text alternative for each picture."""
    patterns = "; ".join(f"{name}: {words.error_pattern(metrics, name)}" for name in metrics.labels)
    worst = words.worst_subject(metrics) if people else None
    return {
        "confusion_matrix": f"Confusion matrix of {len(metrics.labels)} classes. {patterns}.",
        "per_class": "Bars of recall by class with 95 % intervals and F1; the numbers are in the table below.",
        "subjects": f"Accuracy of each subject, sorted; the lowest is {worst}."
        if worst
        else "Accuracy of each subject.",
        "groups": " ".join(["Accuracy by group.", *gap_sentences(metrics.subgroups)]),
        "group_reliability": "A reliability diagram for every group; the numbers are in the table below.",
        "reliability": f"Reliability diagram; calibration error {words.percent(metrics.calibration.ece)}.",
        "risk_coverage": "Share of wrong answers against the share of clips answered, the surest first; "
        "the point where the threshold from inner validation lies is named in the text.",
        "training": "Loss and macro-F1 by epoch.",
    }
