"""Scores by subgroup with intervals over subjects, and gaps between groups, computed from predictions alone.

The breakdown of the point scores is fairlearn's; intervals are those of :mod:`fer_id.evaluation.intervals`, gaps and
their tests those of :mod:`fer_id.evaluation.groups.gaps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict, cast

import numpy as np
import pandas as pd

from fer_id.evaluation import scores
from fer_id.evaluation.confidence import calibration
from fer_id.evaluation.confidence.calibration import Reliability, adaptive_ece, brier_by_clip, nll_by_clip, reliability
from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.groups.gaps import TESTED, Gap, equalised_odds, find_gaps, judge_gaps
from fer_id.evaluation.groups.grouping import Grouping, make_groupings
from fer_id.evaluation.intervals import Interval, count_intervals
from fer_id.evaluation.predictions import Judged, judged_clips, judged_rows
from fer_id.evaluation.scores import Bools, Floats
from fer_id.files import plain
from fer_id.labels import LabelSpace
from fer_id.runs.metrics import Column, GroupScores, Odds, Subgroups
from fer_id.runs.records import Size

BETWEEN, WITHIN = "between subjects", "within subjects"
EMPTY = "no labelled test clip"
ALL_WRONG = "every group scores 0"
UNSEEN = "no labelled test clip with a prediction"
_NOTHING = dict.fromkeys(calibration.SCORES, float("nan"))


@dataclass(frozen=True)
class _Clips:
    """Judged clips with the further arrays of the group scores, each (N,)."""

    judged: Judged
    abstained: Bools  # flagged for a person, or without a prediction
    confidence: Floats  # of the predicted class; NaN without a prediction
    brier: Floats  # of the probabilities; NaN without a prediction
    nll: Floats


class _Column(TypedDict):
    """A column without its gaps."""

    of: list[str]
    varies: str
    groups: dict[str, GroupScores]
    equalised_odds: Odds
    in_no_group: Size


class _Points(TypedDict):
    """Point scores of a group; NaN where undefined."""

    accuracy: float
    macro_recall: float
    macro_f1: float
    ece: float
    adaptive_ece: float
    brier: float
    nll: float
    abstention: float
    recall: dict[str, float]


def compute_subgroups(
    predictions: pd.DataFrame, labels: LabelSpace, breakdown: Breakdown, *, seed: int = 0
) -> tuple[Subgroups, dict[str, str]]:
    """Compute the entry ``subgroups`` of ``metrics.json``, for data whose subjects are people.

    Args:
        predictions: the columns of ``predictions.parquet``.
        labels: the classes.
        breakdown: group columns and pairs.
        seed: seed of intervals and permutations.

    Returns:
        ``min_subjects probabilities columns left_out``, and the reasons of its null values under dotted names that
        begin with ``subgroups.``. For every column: ``of`` (itself, or the two of a pair), ``groups`` by value,
        ``gaps`` by score, ``equalised_odds``, ``varies`` (``between subjects`` or ``within subjects``) and
        ``in_no_group``, the clips and subjects without a value. The groups of a pair are in the order of the first
        column's, each with all of the second's. ``ece adaptive_ece brier nll`` are those of the calibrated
        probabilities where all predictions have them; ``probabilities`` is ``calibrated`` or ``raw``.

    Raises:
        DataError: the predictions contradict their contract, or have no such group column.
    """
    clips, probabilities = _clips(predictions, labels)
    groupings, left_out = make_groupings(predictions, labels, breakdown)
    columns: dict[str, _Column] = {}
    gaps: dict[str, dict[str, Gap]] = {}
    reasons: dict[str, str] = {}
    for grouping in groupings:
        counts = _tables(grouping, clips.judged, len(labels))
        columns[grouping.name], why = _column(grouping, counts, clips, labels, breakdown.min_subjects, seed)
        reasons |= {f"subgroups.columns.{grouping.name}.{name}": reason for name, reason in why.items()}
        gaps[grouping.name] = find_gaps(counts, grouping.values, labels.names, breakdown.min_subjects, seed=seed)
    complete: dict[str, Column] = {}
    for name, judged in judge_gaps(gaps).items():
        complete[name] = Column(**columns[name], gaps={score: gap.as_record() for score, gap in judged.items()})
        nothing_right = [score for score, gap in judged.items() if gap.gap is not None and gap.ratio is None]
        reasons |= {f"subgroups.columns.{name}.gaps.{score}.ratio": ALL_WRONG for score in nothing_right}
    return Subgroups(
        min_subjects=breakdown.min_subjects, probabilities=probabilities, columns=complete, left_out=left_out
    ), reasons


def group_reliability(
    predictions: pd.DataFrame, labels: LabelSpace, breakdown: Breakdown
) -> dict[str, dict[str, Reliability]]:
    """Compute the reliability diagram of each group with enough subjects, by column and group; see ``ece``."""
    clips, _ = _clips(predictions, labels)
    covered, right = clips.judged.covered, clips.judged.truth == clips.judged.predicted
    diagrams: dict[str, dict[str, Reliability]] = {}
    for grouping in make_groupings(predictions, labels, breakdown)[0]:
        for index, value in enumerate(grouping.values):
            members = covered & (grouping.codes == index)
            if len(np.unique(clips.judged.subjects[members])) >= breakdown.min_subjects:
                diagrams.setdefault(grouping.name, {})[value] = reliability(clips.confidence[members], right[members])
    return diagrams


def _column(
    grouping: Grouping, counts: Floats, clips: _Clips, labels: LabelSpace, min_subjects: int, seed: int
) -> tuple[_Column, dict[str, str]]:
    """Compute the entry of a column without its gaps, and the reasons of its null values."""
    groups, why = _groups(grouping, counts, clips, labels, seed)
    reasons = {f"groups.{name}": reason for name, reason in why.items()}
    odds, label, unknown = equalised_odds(counts, labels.names, min_subjects)
    if unknown is not None:
        reasons["equalised_odds"] = unknown
    several = ((counts.sum((2, 3)) > 0).sum(1) > 1).any()
    return {
        "of": list(grouping.of),
        "varies": WITHIN if several else BETWEEN,
        "groups": groups,
        "equalised_odds": Odds(gap=odds, label=label),
        "in_no_group": _in_no_group(grouping, clips.judged),
    }, reasons


def _clips(predictions: pd.DataFrame, labels: LabelSpace) -> tuple[_Clips, str]:
    raw = judged_clips(predictions, labels)
    rows, covered = judged_rows(predictions), raw.covered
    chosen, kind = raw.probabilities, "raw"
    if all(f"q_{name}" in predictions for name in labels.names):
        q = judged_clips(predictions, labels, probabilities="q").probabilities
        if covered.any() and np.isfinite(q[covered]).all():
            chosen, kind = q, "calibrated"
    confidence = np.where(covered, chosen[np.arange(len(chosen)), raw.predicted], np.nan)
    flagged = rows["flagged"].eq(True).to_numpy(np.bool_) if "flagged" in rows else np.zeros(len(rows), np.bool_)
    brier, nll = (np.where(covered, loss(chosen, raw.truth), np.nan) for loss in (brier_by_clip, nll_by_clip))
    return _Clips(raw, flagged | ~covered, confidence, brier, nll), kind


def _tables(grouping: Grouping, judged: Judged, classes: int) -> Floats:
    """Count the clips of every subject in every group, (S, G, K, K + 1)."""
    known, size, subjects = grouping.codes >= 0, len(grouping.values), len(judged.subject_ids)
    cell = judged.subjects[known] * size + grouping.codes[known]
    counts = scores.count_clips(judged.truth[known], judged.predicted[known], cell, subjects * size, classes)
    return counts.reshape(subjects, size, classes, classes + 1)


def _groups(
    grouping: Grouping, counts: Floats, clips: _Clips, labels: LabelSpace, seed: int
) -> tuple[dict[str, GroupScores], dict[str, str]]:
    """Compute the entry of every group of a column, and the reasons of its null values."""
    points = _points(grouping, clips, labels)
    statistics = {
        name: statistic for name, statistic in scores.overall_statistics(len(labels)).items() if name in TESTED
    }
    for (index, score), statistic in scores.class_statistics(len(labels)).items():
        if score == "recall":
            statistics[f"recall.{labels.names[index]}"] = statistic
    groups: dict[str, GroupScores] = {}
    reasons: dict[str, str] = {}
    for index, value in enumerate(grouping.values):
        members = counts[:, index][counts[:, index].sum((1, 2)) > 0]
        intervals = (
            count_intervals(members, statistics, seed=seed)
            if len(members)
            else dict.fromkeys(statistics, Interval.undefined(EMPTY, 0))
        )
        groups[value] = GroupScores(
            n_clips=int(members.sum()),
            n_subjects=len(members),
            **plain(points[value]),
            intervals={name: interval.as_record() for name, interval in intervals.items()},
        )
        reasons |= {f"{value}.{name}": why for name, why in _reasons(groups[value], intervals).items()}
    return groups, reasons


def _points(grouping: Grouping, clips: _Clips, labels: LabelSpace) -> dict[str, _Points]:
    """Compute the point scores of every group; NaN where undefined.

    fairlearn's frame has three columns (counts, calibration, abstention), and the scores are computed from the counts:
    a frame with a column for every score takes seconds.
    """
    from fairlearn.metrics import MetricFrame  # a second of imports

    judged, known = clips.judged, grouping.codes >= 0
    table = pd.DataFrame()
    if known.any():
        table = MetricFrame(
            metrics={"counts": partial(_counts, len(labels)), "calibration": _calibration, "abstention": _abstention},
            y_true=judged.truth[known],
            y_pred=judged.predicted[known],
            sensitive_features=pd.Series(np.array(grouping.values, dtype=object)[grouping.codes[known]], name="group"),
            sample_params={
                "calibration": {name: getattr(clips, name)[known] for name in ("confidence", "brier", "nll")},
                "abstention": {"abstained": clips.abstained[known]},
            },
        ).by_group
    nothing = {"counts": np.zeros((len(labels), len(labels) + 1)), "calibration": _NOTHING, "abstention": np.nan}
    points: dict[str, _Points] = {}
    for value in grouping.values:
        row: Mapping[str, Any] = dict(table.loc[value]) if value in table.index else nothing
        recall = dict(zip(labels.names, scores.recall(row["counts"]).tolist(), strict=True))
        values = {name: float(score(row["counts"])) for name, score in TESTED.items()}
        rest = {"abstention": row["abstention"], "recall": recall}
        points[value] = cast("_Points", values | row["calibration"] | rest)
    return points


def _counts(classes: int, y_true: Any, y_pred: Any) -> Floats:
    """Count the clips of one group, (K, K + 1): see :func:`fer_id.evaluation.scores.count_clips`."""
    truth, predicted = np.asarray(y_true, np.int64), np.asarray(y_pred, np.int64)
    return np.asarray(scores.count_clips(truth, predicted, np.zeros_like(truth), 1, classes)[0])


def _calibration(y_true: Any, y_pred: Any, confidence: Any, brier: Any, nll: Any) -> dict[str, float]:
    """Compute ``calibration.SCORES`` of the clips with a prediction."""
    answered = np.asarray(y_pred) >= 0
    if not answered.any():
        return _NOTHING
    sure, right = np.asarray(confidence, np.float64)[answered], np.asarray(y_true == y_pred)[answered]
    means = {"brier": float(np.asarray(brier)[answered].mean()), "nll": float(np.asarray(nll)[answered].mean())}
    return {"ece": reliability(sure, right).ece, "adaptive_ece": adaptive_ece(sure, right), **means}


def _abstention(y_true: Any, y_pred: Any, abstained: Any) -> float:
    return float(np.mean(abstained))


def _reasons(group: GroupScores, intervals: Mapping[str, Interval]) -> dict[str, str]:
    """Return the reason of each null value of a group, by its name within the group."""
    nothing = UNSEEN if group.n_clips else EMPTY
    reasons = {name: nothing for name in (*TESTED, *calibration.SCORES, "abstention") if group[name] is None}
    for label, value in group.recall.items():
        if value is None:
            reasons[f"recall.{label}"] = f"no clip of class {label} has a prediction"
    return reasons | {f"intervals.{name}": interval.reason for name, interval in intervals.items() if interval.reason}


def _in_no_group(grouping: Grouping, judged: Judged) -> Size:
    without = grouping.codes < 0
    return Size(n_clips=int(without.sum()), n_subjects=len(np.unique(judged.subjects[without])))
