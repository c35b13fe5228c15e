"""Schemas of a run's ``metrics.json`` and ``job.json``, checked at reading since the files may have been edited.

A key that an older version did not write may be missing; a value has the type of its field, and is null only where it
may be undefined. Each page that reads a record checks which keys it needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fer_id.errors import RunError
from fer_id.files import read_json
from fer_id.shapes import Count, Number, Text, checked

Share = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0, le=1.0)]
Temperature = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0.0)]
Numbers = dict[str, Number | None]
Provenance = Literal["real", "simulated", "synthetic"]


def _distinct(names: list[str]) -> list[str]:
    """Return the names; raise ValueError where one is repeated."""
    if len(set(names)) < len(names):
        raise ValueError("each name once")
    return names


class Part(BaseModel):
    """A part of a run's files; keys without a field are left as they are."""

    model_config = ConfigDict(extra="allow")


class Interval(Part):
    """The confidence interval of a score."""

    low: Number
    high: Number
    level: Share | None = None
    method: Text | None = None
    n_subjects: Count | None = None


Intervals = dict[str, Interval | None]


class ClassScores(Part):
    """Scores of one class."""

    precision: Share | None = None
    recall: Share | None = None
    f1: Share | None = None
    specificity: Share | None = None
    auc: Share | None = None
    support: Count = 0


class SubjectScores(Part):
    """Scores of one subject."""

    n_clips: Count = 0
    n_missing: Count = 0
    accuracy: Share | None = None
    macro_recall: Share | None = None
    macro_f1: Share | None = None


class Size(Part):
    """Numbers of clips and subjects of a group."""

    n_clips: Count = 0
    n_subjects: Count = 0


class GroupScores(Size):
    """Scores of one group."""

    accuracy: Share | None = None
    macro_recall: Share | None = None
    macro_f1: Share | None = None
    ece: Number | None = None
    adaptive_ece: Number | None = None
    brier: Number | None = None
    nll: Number | None = None
    abstention: Share | None = None
    recall: Numbers = {}
    intervals: Intervals = {}


class Calibrated(Part):
    """Calibration errors after temperature scaling; absent where no fold was scaled, so never undefined."""

    ece: Number = 0.0
    adaptive_ece: Number | None = None
    overconfidence: Number | None = None
    brier: Number = 0.0
    nll: Number = 0.0
    intervals: Intervals | None = None


class Calibration(Part):
    """Calibration errors of the predicted probabilities, and the temperature of each fold."""

    bins: Count | None = None
    ece: Number | None = None
    adaptive_ece: Number | None = None
    brier: Number | None = None
    nll: Number | None = None
    overconfidence: Number | None = None
    n_clips: Count | None = None
    intervals: Intervals | None = None
    calibrated: Calibrated | None = None
    temperatures: dict[str, Temperature | None] = {}


class Selective(Part):
    """Selective prediction: risk by coverage and coverage by risk."""

    aurc: Number | None = None
    aurc_best: Number | None = None
    coverage_at_risk: Numbers | None = None
    risk_at_coverage: Numbers | None = None
    intervals: Intervals | None = None


class Review(Part):
    """Review by a person: thresholds of confidence by fold, and the share of clips below them."""

    risk: Share
    thresholds: dict[str, Share | None]
    flagged: Share | None = None
    risk_answered: Share | None = None
    interval: Interval | None = None
    coverage: Share | None = None
    n_clips: Count | None = None
    least_face: Share | None = None
    too_little_face: Count | None = None


class Conformal(Part):
    """Conformal prediction: sets of classes that hold the true one at the chosen level."""

    level: Share
    verdict: Text
    n_subjects_calibration: dict[str, Count] = {}
    n_clips: Count | None = None
    coverage: Share | None = None
    interval: Interval | None = None
    subject_coverage: Share | None = None
    mean_size: Number | None = None
    singletons: Share | None = None
    empty: Share | None = None
    per_class: dict[str, Any] | None = None


class Gap(Part):
    """The gap between the best and the worst group."""

    gap: Number | None = None
    ratio: Number | None = None
    worst: Text | None = None
    best: Text | None = None
    p: Share | None = None
    p_holm: Share | None = None
    verdict: Text
    reason: Text | None = None


class Odds(Part):
    """The largest difference of a class's recall, or of its false alarms, between groups."""

    gap: Share | None
    label: Text | None


class Column(Part):
    """Scores by the groups of one column."""

    of: list[Text]
    varies: Text
    groups: dict[str, GroupScores]
    gaps: dict[str, Gap]
    in_no_group: Size
    equalised_odds: Odds | None = None


class Subgroups(Part):
    """Scores by group."""

    min_subjects: Count = 0
    columns: dict[str, Column]
    left_out: dict[str, Text] = {}
    probabilities: Text | None = None


class Uncertainty(Part):
    """``uncertainty/uncertainty.json``, and the same in ``metrics.json``."""

    method: Text
    members: Count
    n_clips: Count
    aleatoric: Number
    epistemic: Number
    auroc_error: dict[str, Share | None]
    intervals: Intervals
    accuracy: Share | None = None
    reason: Text | None = None
    provenance: Provenance | None = None
    precision: Text | None = None


class Metrics(Part):
    """``metrics.json``."""

    provenance: Provenance = "real"
    labels: Annotated[list[Text], AfterValidator(_distinct)] = []
    n_clips: Count = 0
    n_unlabelled: Count = 0
    n_missing: Count = 0
    n_subjects: Count = 0
    coverage: Share | None = None
    accuracy: Share | None = None
    accuracy_with_missing: Share | None = None
    macro_precision: Share | None = None
    macro_recall: Share | None = None
    macro_f1: Share | None = None
    auc: Share | None = None
    specificity: Share | None = None
    calibration: Calibration = Calibration()
    selective: Selective | None = None
    per_class: dict[str, ClassScores] = {}
    confusion_matrix: list[list[Count]] = []
    per_subject: dict[str, SubjectScores] = {}
    intervals: Intervals = {}
    reasons: dict[str, Text] = {}
    review: Review | None = None
    conformal: Conformal | None = None
    subgroups: Subgroups | None = None
    uncertainty: Uncertainty | None = None


class Cost(Part):
    """Computational cost of the model for one clip."""

    parameters: Count | None
    multiply_adds_per_clip: Count | None
    frames: Count | None = None


class Agreement(Part):
    """Agreement of the annotators of a store."""

    annotators: Count
    clips: Count
    alpha: Number | None
    reason: Text | None = None
    ceiling: Number | None = None


class Audit(Part):
    """Counts of the leakage audit of a store."""

    frames_without_face: Count | None = None
    left_out: dict[str, Count] | None = None
    alike: dict[str, Count] | None = None
    published: dict[str, Any] | None = None
    annotators: Agreement | None = None


class Store(Part):
    """The store that a run was trained and tested on."""

    name: Text | None = None
    fingerprint: Text | None = None
    made_of: list[Text] | None = None
    provenance: Provenance | None = None
    label_space: Text | None = None
    shard_by: Text | None = None
    geometry: dict[str, Any] | None = None
    fps: Number | None = None
    min_eye_distance: Number | None = None
    audit: Audit | None = None


class Job(Part):
    """``job.json``."""

    command: Text | None = None
    started: Text | None = None
    versions: dict[str, Text] | None = None
    git_commit: Text | None = None
    seed: Count | None = None
    fold: Text | None = None
    mode: Text | None = None
    dataset: Text | None = None
    model: Text | None = None
    store: Store | None = None
    subjects: dict[str, list[Text] | None] = {}
    children: dict[str, Count] | None = None
    clips: dict[str, Count] | None = None
    dropped: dict[str, Count] | None = None
    parents: list[Text] | None = None
    cost: Cost | None = None
    precision: Text | None = None
    memory_format: Text | None = None
    machine: Text | None = None
    processes: Count | None = None
    seconds: Number | None = None
    peak_memory_bytes: Number | None = None


def read_record(shape: type[Part], path: Path, hint: str = "") -> dict[str, Any]:
    """Return the JSON object in a run's file, after checking it against a schema.

    Args:
        shape: a schema of this module or of ``fer_id.reporting.result_shapes``.
        path: the file.
        hint: how the file can be made again.

    Raises:
        RunError: the file is missing, damaged, or does not match the schema; each place is named.
    """
    try:
        return checked(shape, read_json(path, RunError), str(path), RunError)
    except RunError as problem:
        raise RunError(f"{problem}; {hint}" if hint else str(problem)) from None
