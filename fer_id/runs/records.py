"""The shapes of a run's ``metrics.json`` and ``job.json``, which somebody may have edited since they were written.

A key that an older version did not write may be missing; what is there is of its kind, and null only where a value may
be undefined. Which keys a page needs is for the page to say.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fer_id.shapes import Count, Number, Text

Share = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0, le=1.0)]
Temperature = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0.0)]
Numbers = dict[str, Number | None]
Provenance = Literal["real", "simulated", "synthetic"]


class Part(BaseModel):
    """A part of a run's files; keys that nobody reads here are left as they are."""

    model_config = ConfigDict(extra="allow")


class Interval(Part):
    """Of a score."""

    low: Number
    high: Number
    level: Share | None = None
    method: Text | None = None
    n_subjects: Count | None = None


Intervals = dict[str, Interval | None]


class ClassScores(Part):
    """Of one class."""

    precision: Share | None = None
    recall: Share | None = None
    f1: Share | None = None
    specificity: Share | None = None
    auc: Share | None = None
    support: Count = 0


class SubjectScores(Part):
    """Of one subject."""

    n_clips: Count = 0
    n_missing: Count = 0
    accuracy: Share | None = None
    macro_recall: Share | None = None
    macro_f1: Share | None = None


class Size(Part):
    """Of a group."""

    n_clips: Count = 0
    n_subjects: Count = 0


class GroupScores(Size):
    """Of one group."""

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
    """The same after temperature scaling; absent where nothing was scaled, so never undefined."""

    ece: Number = 0.0
    adaptive_ece: Number | None = None
    overconfidence: Number | None = None
    brier: Number = 0.0
    nll: Number = 0.0
    intervals: Intervals | None = None


class Calibration(Part):
    """How far the probabilities can be believed."""

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
    """Risk against coverage."""

    aurc: Number | None = None
    aurc_best: Number | None = None
    coverage_at_risk: Numbers | None = None
    risk_at_coverage: Numbers | None = None
    intervals: Intervals | None = None


class Review(Part):
    """What is left to a person."""

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
    """Sets that hold the truth as often as was asked."""

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
    """Between the best and the worst group."""

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


class Metrics(Part):
    """``metrics.json``."""

    provenance: Provenance = "real"
    labels: list[Text] = []
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


class Ratio(Part):
    """Attribution relative to area."""

    value: Number | None
    low: Number | None
    high: Number | None
    reason: Text | None


class Check(Part):
    """Whether maps can be believed, by one check."""

    passed: bool | None


class Explanation(Part):
    """``explain/explain.json``, as pages, the gate and the card read it."""

    n_clips: Count
    left_out: dict[str, Count]
    leakage: Ratio
    regions: dict[str, Ratio]
    by_method: dict[str, Ratio]
    checks: dict[str, Check]
    failed: list[Text]
    undecided: list[Text]
    provenance: Provenance | None = None


class Cost(Part):
    """Of one clip through the model."""

    parameters: Count | None
    multiply_adds_per_clip: Count | None
    frames: Count | None = None


class Agreement(Part):
    """How far annotators agree."""

    annotators: Count
    clips: Count
    alpha: Number | None
    reason: Text | None = None
    ceiling: Number | None = None


class Audit(Part):
    """What the leakage audit of a store counted."""

    frames_without_face: Count | None = None
    left_out: dict[str, Count] | None = None
    alike: dict[str, Count] | None = None
    published: dict[str, Any] | None = None
    annotators: Agreement | None = None


class Store(Part):
    """What a run learned from."""

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
