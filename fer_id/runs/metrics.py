"""Typed record of a run's ``metrics.json``: :class:`Metrics` and its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

from pydantic import Field

from fer_id.runs.records import Interval, Intervals, Numbers, Part, Provenance, Share, Size, null_as, read_record
from fer_id.shapes import Count, Number, Text, where

NullableIntervals = Annotated[Intervals, null_as({})]
NullableNumbers = Annotated[Numbers, null_as({})]
Concordance = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1.0, le=1.0)]
Temperature = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0.0)]


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
    brier: Number = 0.0
    nll: Number = 0.0
    overconfidence: Number | None = None
    intervals: NullableIntervals = {}
    n_clips: Count | None = None


class Calibration(Part):
    """Calibration errors of the predicted probabilities, and the temperature of each fold."""

    bins: Count | None = None
    ece: Number | None = None
    adaptive_ece: Number | None = None
    brier: Number | None = None
    nll: Number | None = None
    overconfidence: Number | None = None
    intervals: NullableIntervals = {}
    calibrated: Calibrated | None = None
    temperatures: dict[str, Temperature | None] = {}


class Selective(Part):
    """Selective prediction: risk by coverage and coverage by risk."""

    aurc: Number | None = None
    aurc_best: Number | None = None
    coverage_at_risk: NullableNumbers = {}
    risk_at_coverage: NullableNumbers = {}
    intervals: NullableIntervals = {}


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


class ClassCoverage(Part):
    """Coverage of the prediction sets of the clips of one class."""

    coverage: Share | None = None
    n_clips: Count = 0


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
    per_class: dict[str, ClassCoverage] | None = None


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
    equalised_odds: Odds | None = None
    in_no_group: Size
    gaps: dict[str, Gap]


class Subgroups(Part):
    """Scores by group."""

    min_subjects: Count = 0
    probabilities: Text | None = None
    columns: dict[str, Column]
    left_out: dict[str, Text] = {}


class Uncertainty(Part):
    """``uncertainty/uncertainty.json``, and the same in ``metrics.json``."""

    method: Text
    members: Count
    n_clips: Count
    aleatoric: Number
    epistemic: Number
    accuracy: Share | None = None
    auroc_error: dict[str, Share | None]
    intervals: Intervals
    reason: Text | None = None
    provenance: Provenance | None = None
    precision: Text | None = None


class Metrics(Part):
    """``metrics.json``: the scores of the labelled test clips, with their intervals and the reasons of null values.
    Shares lie in [0, 1]. The confusion matrix has the true class in rows and counts only clips with a prediction."""

    provenance: Provenance = cast("Provenance", "unknown")
    labels: Annotated[list[Text], where(lambda names: len(set(names)) == len(names), "each name once")] = []
    n_clips: Count = 0
    n_unlabelled: Count = 0
    n_missing: Count = 0
    n_no_baseline: Count | None = None  # clips with a prediction without the own baseline; None: the model takes none
    n_subjects: Count = 0
    coverage: Share | None = None
    accuracy: Share | None = None
    accuracy_with_missing: Share | None = None
    macro_precision: Share | None = None
    macro_recall: Share | None = None
    macro_f1: Share | None = None
    auc: Share | None = None
    specificity: Share | None = None
    valence_ccc: Concordance | None = None  # of a model with a head of valence and arousal, with the next four
    arousal_ccc: Concordance | None = None
    ccc: Concordance | None = None  # mean of both
    n_valence: Count | None = None  # test clips with an annotation and a prediction; they need no label
    n_arousal: Count | None = None
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

    def interval(self, name: str) -> Interval | None:
        """Return the interval of a score, such as ``accuracy`` or ``per_class.happy.recall``; None where undefined."""
        return self.intervals.get(name)

    def reason(self, name: str) -> str:
        """Return why a value, or one below it, is null; empty where no reason is stated."""
        return next((why for key, why in self.reasons.items() if key == name or key.startswith(f"{name}.")), "")

    @property
    def rates_affect(self) -> bool:
        """True where the model predicts valence and arousal."""
        return self.n_valence is not None

    @property
    def n_judged(self) -> int:
        """Number of labelled test clips with a prediction."""
        return self.n_clips - self.n_missing

    @property
    def columns(self) -> dict[str, Column]:
        """Scores by the groups of each column; empty where the subgroups were not computed."""
        return self.subgroups.columns if self.subgroups else {}

    @property
    def temperature(self) -> float | None:
        """Temperature of a single training; None for none, or several folds."""
        return _single(self.calibration.temperatures)

    @property
    def threshold(self) -> float | None:
        """Threshold of review of a single training; None for none, or several folds."""
        return _single(self.review.thresholds) if self.review else None

    @property
    def answers_nothing(self) -> bool:
        """True where no threshold of review keeps the requested risk, so that every clip goes to a person."""
        thresholds = self.review.thresholds if self.review else {}
        return bool(thresholds) and all(threshold is None for threshold in thresholds.values())


def read_uncertainty(run: Path) -> Uncertainty | None:
    """Return a run's ``uncertainty/uncertainty.json``; None without one; raise RunError where it is damaged."""
    path = run / "uncertainty" / "uncertainty.json"
    return read_record(Uncertainty, path, f"`fer-id uncertainty {run}` makes it again") if path.is_file() else None


def _single(by_fold: dict[str, float | None]) -> float | None:
    return next(iter(by_fold.values())) if len(by_fold) == 1 else None
