"""Scores by subgroup with intervals over subjects, and gaps between groups, computed from predictions alone.

The breakdown of the point scores is fairlearn's; intervals are those of :mod:`fer_id.evaluation.intervals`, gaps and
their tests those of :mod:`fer_id.evaluation.groups.gaps`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fer_id.evaluation import scores
from fer_id.evaluation.confidence import calibration
from fer_id.evaluation.confidence.calibration import Reliability, adaptive_ece, brier_by_clip, nll_by_clip, reliability
from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.groups.gaps import TESTED, Gap, equalised_odds, find_gaps, judge_gaps
from fer_id.evaluation.groups.grouping import Grouping, make_groupings
from fer_id.evaluation.intervals import Interval, as_records, count_intervals
from fer_id.evaluation.predictions import Judged, class_columns, judged_clips, judged_rows
from fer_id.evaluation.scores import Bools, Floats, Ints
from fer_id.files import plain
from fer_id.labels import LabelSpace
from fer_id.runs.metrics import Column, GroupScores, Odds, Subgroups
from fer_id.runs.records import Size

BETWEEN, WITHIN = "between subjects", "within subjects"
EMPTY = "no labelled test clip"
ALL_WRONG = "every group scores 0"
UNSEEN = "no labelled test clip with a prediction"


@dataclass(frozen=True)
class _Clips:
    """Judged clips with the further arrays of the group scores, each (N,)."""

    judged: Judged
    abstained: Bools  # flagged for a person, or without a prediction
    confidence: Floats  # of the predicted class; NaN without a prediction
    brier: Floats  # of the probabilities; NaN without a prediction
    nll: Floats


def compute_subgroups(
    predictions: pd.DataFrame, labels: LabelSpace, breakdown: Breakdown, *, seed: int = 0
) -> tuple[Subgroups, dict[str, str]]:
    """Compute the entry ``subgroups`` of ``metrics.json``, for data whose subjects are people.

    A column ``varies`` ``between subjects`` or ``within subjects``; ``in_no_group`` are the clips without a value. The
    groups of a pair are in the order of the first column's, each with all of the second's. ``ece adaptive_ece brier
    nll`` are those of the calibrated probabilities where all predictions have them. The reasons of null values are
    under dotted names that begin with ``subgroups.``. Raise DataError where the predictions have no such group column.
    """
    clips, probabilities = _clips(predictions, labels)
    groupings, left_out = make_groupings(predictions, labels, breakdown)
    least = breakdown.min_subjects
    tables = {grouping.name: _tables(grouping, clips.judged, len(labels)) for grouping in groupings}
    gaps = judge_gaps(
        {of.name: find_gaps(tables[of.name], of.values, labels.names, least, seed=seed) for of in groupings}
    )
    columns: dict[str, Column] = {}
    reasons: dict[str, str] = {}
    for of in groupings:
        columns[of.name], why = _column(of, tables[of.name], gaps[of.name], clips, labels, least)
        reasons |= {f"subgroups.columns.{of.name}.{name}": reason for name, reason in why.items()}
    for column, judged in gaps.items():
        nothing_right = [score for score, gap in judged.items() if gap.gap is not None and gap.ratio is None]
        reasons |= {f"subgroups.columns.{column}.gaps.{score}.ratio": ALL_WRONG for score in nothing_right}
    entry = Subgroups(min_subjects=least, probabilities=probabilities, columns=columns, left_out=left_out)
    return entry, reasons


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
    grouping: Grouping,
    counts: Floats,
    gaps: Mapping[str, Gap],
    clips: _Clips,
    labels: LabelSpace,
    min_subjects: int,
) -> tuple[Column, dict[str, str]]:
    """Compute the entry of a column, and the reasons of its null values beside those of the gaps."""
    groups, why = _groups(grouping, counts, clips, labels)
    reasons = {f"groups.{name}": reason for name, reason in why.items()}
    odds, label, unknown = equalised_odds(counts, labels.names, min_subjects)
    if unknown is not None:
        reasons["equalised_odds"] = unknown
    several, without = ((counts.sum((2, 3)) > 0).sum(1) > 1).any(), grouping.codes < 0
    column = Column(
        of=list(grouping.of),
        varies=WITHIN if several else BETWEEN,
        groups=groups,
        equalised_odds=Odds(gap=odds, label=label),
        in_no_group=Size(n_clips=int(without.sum()), n_subjects=len(np.unique(clips.judged.subjects[without]))),
        gaps={score: gap.as_record() for score, gap in gaps.items()},
    )
    return column, reasons


def _clips(predictions: pd.DataFrame, labels: LabelSpace) -> tuple[_Clips, str]:
    raw = judged_clips(predictions, labels)
    rows, covered = judged_rows(predictions), raw.covered
    chosen, kind, q = raw.probabilities, "raw", class_columns(rows, labels, "q")
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
    grouping: Grouping, counts: Floats, clips: _Clips, labels: LabelSpace
) -> tuple[dict[str, GroupScores], dict[str, str]]:
    """Compute the entry of every group of a column, and the reasons of its null values."""
    points = _points(grouping, clips, labels)
    overall, by_class = scores.overall_statistics(len(labels)), scores.class_statistics(len(labels))
    statistics = {name: statistic for name, statistic in overall.items() if name in TESTED}
    statistics |= {f"recall.{name}": by_class[index, "recall"] for index, name in enumerate(labels.names)}
    groups: dict[str, GroupScores] = {}
    reasons: dict[str, str] = {}
    for index, value in enumerate(grouping.values):
        members = counts[:, index][counts[:, index].sum((1, 2)) > 0]
        intervals = dict.fromkeys(statistics, Interval.undefined(EMPTY, 0))
        if len(members):
            intervals = count_intervals(members, statistics)
        limits, undefined = as_records(intervals)
        groups[value] = GroupScores(
            n_clips=int(members.sum()),
            n_subjects=len(members),
            **plain(points.get(value) or _scores_of(np.empty(0, np.int64), clips, labels)),
            intervals=limits,
        )
        reasons |= {f"{value}.{name}": reason for name, reason in (_reasons(groups[value]) | undefined).items()}
    return groups, reasons


def _points(grouping: Grouping, clips: _Clips, labels: LabelSpace) -> dict[str, dict[str, object]]:
    """Compute the point scores of every group with clips; NaN where undefined.

    fairlearn's frame has a single column: one with a column for every score takes seconds.
    """
    from fairlearn.metrics import MetricFrame  # a second of imports

    rows = np.flatnonzero(grouping.codes >= 0)
    if not len(rows):
        return {}
    frame = MetricFrame(
        metrics={"points": lambda y_true, y_pred, rows: _scores_of(np.asarray(rows), clips, labels)},
        y_true=clips.judged.truth[rows],
        y_pred=clips.judged.predicted[rows],
        sensitive_features=pd.Series(np.array(grouping.values, dtype=object)[grouping.codes[rows]], name="group"),
        sample_params={"points": {"rows": rows}},
    )
    points: dict[str, dict[str, object]] = frame.by_group["points"].to_dict()
    return points


def _scores_of(rows: Ints, clips: _Clips, labels: LabelSpace) -> dict[str, object]:
    """Compute the point scores of some clips; calibration is that of the clips with a prediction."""
    truth, predicted = clips.judged.truth[rows], clips.judged.predicted[rows]
    counts = scores.count_clips(truth, predicted, np.zeros_like(truth), 1, len(labels))[0]
    answered, right = rows[predicted >= 0], (truth == predicted)[predicted >= 0]
    sure = clips.confidence[answered]
    return {
        **{name: float(score(counts)) for name, score in TESTED.items()},
        "ece": reliability(sure, right).ece,
        "adaptive_ece": adaptive_ece(sure, right),
        "brier": _mean(clips.brier[answered]),
        "nll": _mean(clips.nll[answered]),
        "abstention": _mean(clips.abstained[rows]),
        "recall": dict(zip(labels.names, scores.recall(counts).tolist(), strict=True)),
    }


def _mean(values: Floats | Bools) -> float:
    return float(values.mean()) if len(values) else math.nan


def _reasons(group: GroupScores) -> dict[str, str]:
    """Return the reason of each null score of a group, by its name within the group."""
    nothing = UNSEEN if group.n_clips else EMPTY
    reasons = {name: nothing for name in (*TESTED, *calibration.SCORES, "abstention") if group[name] is None}
    for label, value in group.recall.items():
        if value is None:
            reasons[f"recall.{label}"] = f"no clip of class {label} has a prediction"
    return reasons
