"""Evaluation of a run from its predictions: calibration, review flags, prediction sets, metrics, subgroups.

The predictions are read and checked once; every step after that is a function of the checked table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from fer_id.errors import FerIdError, RunError, cut
from fer_id.evaluation.confidence.calibration import calibrated
from fer_id.evaluation.confidence.conformal import LEVEL, conformal_scores, prediction_sets
from fer_id.evaluation.confidence.threshold import RISK, flagged, review_scores
from fer_id.evaluation.config import ALL_GROUPS, LEAST_FACE, Breakdown
from fer_id.evaluation.groups.grouping import group_columns
from fer_id.evaluation.groups.subgroups import compute_subgroups
from fer_id.evaluation.metrics import score
from fer_id.evaluation.predictions import calibration_unit, check_answers, check_predictions, class_names
from fer_id.labels import SPACES, LabelSpace
from fer_id.runs.job import Job, Store
from fer_id.runs.metrics import Metrics, read_uncertainty
from fer_id.runs.run_dir import RunDir

IMAGES = "subjects are groups of images here, not people"

# Up to this median number of clips per subject, a subject is a group of near-identical pictures, not a person.
_PICTURES_PER_GROUP = 2


@dataclass(frozen=True)
class Options:
    """Options of an evaluation."""

    groups: Breakdown = ALL_GROUPS
    risk: float = RISK  # maximum error rate among the unflagged clips, in (0, 1)
    level: float = LEVEL  # nominal coverage of the prediction sets, in (0, 1)
    least_face: float = LEAST_FACE  # share of a clip's frames that must show the face, in [0, 1]


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation: the contents of ``predictions.parquet`` and ``metrics.json``, and the classes."""

    predictions: pd.DataFrame  # with calibrated probabilities, flags and prediction sets
    labels: LabelSpace
    metrics: Metrics


def evaluate(run: RunDir, options: Options | None = None) -> Evaluation:
    """Compute what ``predictions.parquet`` and ``metrics.json`` of a run should hold; nothing is written.

    Raise DataError where the predictions contradict their contract or have no such group column, and RunError where a
    file of the run is missing or damaged.
    """
    predictions, job = run.predictions(), run.job()
    where, names = run.path / "predictions.parquet", class_names(predictions)
    known = (space for space in SPACES.values() if space.names == names)
    labels = next(known, LabelSpace("the run's classes", names))
    if job.store.provenance is None:
        where = run.path / "job.json"
        raise FerIdError(f"{where}: store.provenance is missing, so nothing may be reported; train again")
    check_predictions(predictions, labels, where)
    check_answers(predictions, labels, where)
    _require_every_subject(run, job, predictions)
    unit = calibration_unit(run.config(), predictions)
    evaluation = evaluate_predictions(predictions, labels, job, options or Options(), unit)
    if (uncertainty := read_uncertainty(run.path)) is None:
        return evaluation
    return replace(evaluation, metrics=evaluation.metrics.model_copy(update={"uncertainty": uncertainty}))


def evaluate_predictions(
    predictions: pd.DataFrame, labels: LabelSpace, job: Job, options: Options, unit: str = "subject_id"
) -> Evaluation:
    """Evaluate checked predictions of a job; raise DataError where there is no such group column.

    Thresholds and prediction sets hold for new groups of the column ``unit``.
    """
    seed = job.seed or 0
    predictions, temperatures, uncalibrated = calibrated(predictions, labels)
    predictions, thresholds, unchosen = flagged(predictions, labels, options.risk, options.least_face, unit)
    predictions, children, too_few = prediction_sets(predictions, labels, options.level, unit)
    metrics = score(predictions, labels, str(job.store.provenance))
    review, of_review = review_scores(predictions, thresholds, unchosen, options.risk, options.least_face)
    conformal, of_sets = conformal_scores(predictions, labels, children, too_few, options.level)
    subgroups, of_groups = None, {"subgroups": IMAGES}
    chosen = options.groups.columns or options.groups.pairs
    if chosen or subjects_are_people(metrics, job.store) or group_columns(predictions, labels):
        subgroups, of_groups = compute_subgroups(predictions, labels, options.groups, seed=seed)
    uncalibrated = {f"calibration.temperatures.{fold}": reason for fold, reason in uncalibrated.items()}
    reasons = metrics.reasons | uncalibrated | of_groups | of_review | of_sets
    calibration = metrics.calibration.model_copy(update={"temperatures": temperatures})
    parts = {"calibration": calibration, "review": review, "conformal": conformal, "subgroups": subgroups}
    return Evaluation(predictions, labels, metrics.model_copy(update=parts | {"reasons": reasons}))


def subjects_are_people(metrics: Metrics, store: Store) -> bool:
    """Return whether a subject is a person, not a group of near-identical pictures of a benchmark.

    The store's card records it (``shard_by``); without that key, subjects of one or two clips (median) are such groups.
    """
    if store.shard_by is not None:
        return not store.of_images
    sizes = sorted(row.n_clips for row in metrics.per_subject.values())
    return bool(sizes) and sizes[len(sizes) // 2] > _PICTURES_PER_GROUP


def _require_every_subject(run: RunDir, job: Job, predictions: pd.DataFrame) -> None:
    """Raise RunError where a subject that ``job.json`` tests has no row: scores would leave out children unseen."""
    missing = sorted(job.tested - {*predictions["subject_id"][predictions["split"] == "test"].astype(str)})
    if missing and not run.folds:
        raise RunError(
            f"{run.path / 'predictions.parquet'}: no test clip of {cut(missing[0])} (of {len(missing)} subjects), whom "
            "job.json tests: rows were taken out. Remove the file and DONE, and say the same `fer-id train` command "
            "again: it predicts again, without training"
        )
