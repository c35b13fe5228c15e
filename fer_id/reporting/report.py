"""Report of one run as a self-contained page, ``report.html``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from fer_id.evaluation.confidence.calibration import Reliability, reliability
from fer_id.evaluation.confidence.selective import risk_coverage
from fer_id.evaluation.evaluate import Evaluation, Options, evaluate, subjects_are_people
from fer_id.evaluation.metrics import confidences
from fer_id.evaluation.predictions import judged_clips
from fer_id.files import atomic_write_bytes
from fer_id.labels import LabelSpace
from fer_id.models.config import OWN_MODULE
from fer_id.objectives import MONITOR
from fer_id.reporting import doubt, figures, group_figures, words
from fer_id.reporting.affect_figures import affect_scatter
from fer_id.reporting.audit import Findings, read_audit, reasons_words
from fer_id.reporting.explanation import read_sentences
from fer_id.reporting.jobs import read_metrics, run_name
from fer_id.reporting.page import data_uri, write_page
from fer_id.reporting.style import svg
from fer_id.runs.job import Job
from fer_id.runs.metrics import Metrics, SubjectScores
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
AFFECT_SCORES = {"valence_ccc": "Valence", "arousal_ccc": "Arousal", "ccc": "Mean of both"}
FIGURES = (
    *("confusion_matrix", "per_class", "subjects", "groups", "group_reliability"),
    *("reliability", "risk_coverage", "affect", "training"),
)
_MOST_SUBJECTS = 60  # rows of the table of subjects; beyond that the figure shows the rest


def evaluate_run(run: RunDir, options: Options | None = None) -> Metrics:
    """Evaluate a run as :func:`write_evaluation` does; return its metrics."""
    evaluation, _ = write_evaluation(run, options)
    return evaluation.metrics


def write_evaluation(run: RunDir, options: Options | None = None) -> tuple[Evaluation, dict[str, Figure]]:
    """Evaluate a run; write its predictions with calibration, flags and sets, ``metrics.json``, figures and report.

    Returns the evaluation, and the figures for a logger. Raises DataError where the predictions contradict their
    contract, or have no such group column, and RunError where a file of the run is missing or damaged.
    """
    evaluation = evaluate(run, options)
    run.write_predictions(evaluation.predictions)
    run.write_metrics(evaluation.metrics)
    job = run.job()
    drawn = draw_figures(run, evaluation, job)
    write_run_report(run, evaluation.metrics, job, write_figures(run, drawn))
    return evaluation, drawn


def draw_figures(run: RunDir, evaluation: Evaluation, job: Job) -> dict[str, Figure]:
    """Return the figures of a run by name, in the order of the report; figures without content are left out."""
    drawn = {} if job.untested else _figures_of_judged(evaluation, job)
    if folds := run.folds:
        curves = [fold.learning_curve() for fold in folds]
        drawn["training"] = figures.fold_curves(curves, evaluation.metrics.provenance)
    else:
        monitor = (run.config().get("trainer") or {}).get("monitor") or MONITOR
        drawn["training"] = figures.training_curves(run.learning_curve(), evaluation.metrics.provenance, str(monitor))
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _figures_of_judged(evaluation: Evaluation, job: Job) -> dict[str, Figure | None]:
    """Return the figures of the judged clips by name."""
    metrics, labels, predictions = evaluation.metrics, evaluation.labels, evaluation.predictions
    judged = judged_clips(predictions, labels)
    right, sure = judged.truth[judged.covered] == judged.predicted[judged.covered], confidences(judged)
    risks = risk_coverage(sure, right)
    agreement = job.store.agreement
    drawn: dict[str, Figure | None] = {
        "confusion_matrix": figures.confusion_matrix(metrics),
        "per_class": figures.per_class(metrics, agreement.ceiling_by_class if agreement else None),
    }
    people = subjects_are_people(metrics, job.store)
    if people:
        drawn["subjects"] = figures.subject_accuracy(metrics, agreement.ceiling if agreement else None)
    if metrics.subgroups is not None:
        drawn["groups"] = group_figures.forest(metrics, "subject" if people else "image group")
        drawn["group_reliability"] = group_figures.reliability_of_groups(predictions, metrics)
    after = _reliability_after(predictions, labels)
    drawn["reliability"] = figures.reliability_diagram(reliability(sure, right), metrics.provenance, after)
    if len(risks.risk):
        drawn["risk_coverage"] = figures.risk_coverage_curve(risks, metrics.provenance, metrics.review)
    if metrics.rates_affect:
        drawn["affect"] = affect_scatter(predictions, metrics)
    return drawn


def _reliability_after(predictions: pd.DataFrame, labels: LabelSpace) -> Reliability | None:
    """Return the reliability of the calibrated probabilities; None where no fold has any."""
    if not all(f"q_{name}" in predictions for name in labels.names):
        return None
    judged = judged_clips(predictions, labels, probabilities="q")
    known = judged.covered & np.isfinite(judged.probabilities).all(axis=1)
    if not known.any():
        return None
    return reliability(judged.probabilities[known].max(axis=1), judged.truth[known] == judged.predicted[known])


def write_figures(run: RunDir, drawn: Mapping[str, Figure]) -> dict[str, bytes]:
    """Write the figures of :func:`draw_figures` into ``figures/`` as SVG, remove outdated files, and return the SVG by
    name."""
    pictures = {name: svg(figure) for name, figure in drawn.items()}
    for name in set(FIGURES) - set(pictures):
        (run.figures / f"{name}.svg").unlink(missing_ok=True)
    for name, picture in pictures.items():
        atomic_write_bytes(run.figures / f"{name}.svg", picture)
    return pictures


def write_report(run: RunDir) -> Path:
    """Write ``report.html`` from ``metrics.json``, ``job.json``, ``config.yaml`` and the figures on disk. Raises
    RunError where one of these files is missing, damaged or incomplete."""
    files = {name: run.figures / f"{name}.svg" for name in FIGURES}
    pictures = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    return write_run_report(run, read_metrics(run), run.job(), pictures)


def write_run_report(run: RunDir, metrics: Metrics, job: Job, pictures: Mapping[str, bytes]) -> Path:
    """Write ``report.html`` of a run from its records and its figures (SVG, by name); return the path."""
    people = subjects_are_people(metrics, job.store)
    audit = read_audit(job.store)
    return write_page(
        run.path / "report.html",
        "report.html.j2",
        title=run_name(run),
        metrics=metrics,
        job=job,
        made_of=_made_of(run, job),
        people=people,
        words=words,
        key_numbers=KEY_NUMBERS,
        subject_rows=_subject_rows(run, metrics) if people else [],
        concordance=AFFECT_SCORES if metrics.rates_affect else {},
        n_subjects_hidden=max(0, metrics.n_subjects - _MOST_SUBJECTS),
        subgroups=metrics.subgroups,
        group_scores=words.GROUP_SCORES,
        small_groups=words.small_groups,
        gap_sentences=words.gap_sentences,
        doubts=doubt.sentences(metrics, people=people),
        looks=read_sentences(run),
        pictures={name: data_uri(picture) for name, picture in pictures.items()},
        audit=audit,
        keeps_repeats=_keeps_repeats(run, audit),
        left_out=_left_out(run, job, audit),
        config=yaml.safe_dump(run.config(), sort_keys=False, allow_unicode=True),
    )


def _made_of(run: RunDir, job: Job) -> list[str]:
    """Return encoder, head, number of parameters and precision of a run, those that are recorded."""
    model = run.config().get("model") or {}
    encoder, head, landmarks = model.get("encoder"), model.get("head"), model.get("landmarks")
    parts = {
        "a module that fer_id did not build": encoder == OWN_MODULE,
        f"encoder {encoder}": encoder and encoder != OWN_MODULE,
        f"head {head}": head and encoder != OWN_MODULE,
        f"landmark stream of {landmarks}": landmarks,
        words.counted(job.cost.parameters or 0, "parameter"): job.cost.parameters,
        f"precision {job.precision}{f', {job.memory_format}' if job.memory_format else ''}": job.precision,
    }
    return [part for part, recorded in parts.items() if recorded]


def _keeps_repeats(run: RunDir, audit: Findings) -> bool:
    """Return whether a run learned from pictures that are near-identical to judged ones, as its settings say."""
    return bool(audit.images) and (run.config().get("data") or {}).get("drop_duplicates") is False


def _left_out(run: RunDir, job: Job, audit: Findings) -> list[str]:
    """Return sentences on the parts of its store that this run did not use, and on results on another store."""
    sentences, dropped = list[str](), job.dropped
    if job.weights:
        sentences.append(f"Judged by {job.parents[0]}, on a store that it did not learn from.")
    sentences += [f"{note[0].upper()}{note[1:]}." for note in job.notes]
    if dropped:
        counts = {reason: n for reason, n in dropped.items() if not reason.startswith("folds ")}
        total = words.counted(sum(counts.values()), "clip")
        sentences.append(f"This run left out {total}: {reasons_words(dropped)}.")
    without_repeats = (run.config().get("data") or {}).get("drop_duplicates")
    if audit.images and without_repeats and job.store.of_images and not (run.folds or job.weights):
        sentences.append("Audited splits: no picture of training is near-identical to one that is judged.")
    elif audit.images and run.folds and without_repeats is not False:
        sentences.append("Which repeats each fold left out stands in the fold's own report.")
    return sentences


def _subject_rows(run: RunDir, metrics: Metrics) -> list[tuple[str, SubjectScores, str | None]]:
    """Return the subjects from the lowest accuracy up, each with the report of its own fold, where there is one."""
    reports = {fold.path.name for fold in run.folds if (fold.path / "report.html").is_file()}
    ranks = {name: -1.0 if row.accuracy is None else row.accuracy for name, row in metrics.per_subject.items()}
    names = sorted(ranks, key=ranks.__getitem__)[:_MOST_SUBJECTS]
    links = {name: f"folds/{name}/report.html" if name in reports else None for name in names}
    return [(name, metrics.per_subject[name], links[name]) for name in names]
