"""Whom does a model fail? Scores by group with intervals over the group's subjects, and the gaps between groups.

The breakdown of the point scores is fairlearn's; intervals are those of :mod:`fer_id.evaluation.intervals`, gaps and
their tests those of :mod:`fer_id.evaluation.groups.gaps`. Everything follows from the predictions alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from fer_id.evaluation import scores
from fer_id.evaluation.confidence import calibration
from fer_id.evaluation.confidence.calibration import Reliability, adaptive_ece, brier_by_clip, nll_by_clip, reliability
from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.groups.gaps import TESTED, Gap, equalised_odds, find_gaps, judge_gaps
from fer_id.evaluation.groups.grouping import Grouping, make_groupings
from fer_id.evaluation.intervals import Interval, count_intervals
from fer_id.evaluation.predictions import Judged, judge, judged_rows
from fer_id.evaluation.scores import Bools, Floats
from fer_id.files import plain
from fer_id.labels import LabelSpace

Json = dict[str, Any]

BETWEEN, WITHIN = "between subjects", "within subjects"
EMPTY = "no labelled test clip"
ALL_WRONG = "every group scores 0"
UNSEEN = "no labelled test clip with a prediction"
_NOTHING = dict.fromkeys(calibration.SCORES, float("nan"))


@dataclass(frozen=True)
class _Clips:
    """The judged clips, and beside them what only groups need; each (N,)."""

    judged: Judged
    abstained: Bools  # flagged for a person, or without a prediction
    confidence: Floats  # of the predicted class; NaN without a prediction
    brier: Floats  # of the probabilities; NaN without a prediction
    nll: Floats


def compute_subgroups(
    predictions: pd.DataFrame, labels: LabelSpace, asked: Breakdown, *, seed: int = 0
) -> tuple[Json, dict[str, str]]:
    """The entry ``subgroups`` of ``metrics.json``, for data whose subjects are people.

    Args:
        predictions: the columns of ``predictions.parquet``.
        labels: the classes.
        asked: what to break down by.
        seed: of intervals and deals.

    Returns:
        ``min_subjects probabilities columns left_out``, and the reasons of what is null in it under dotted names that
        begin with ``subgroups.``. Of every column: ``of`` (itself, or the two of a pair), ``groups`` by value, ``gaps``
        by score, ``equalised_odds``, ``varies`` (``between subjects`` or ``within subjects``) and ``in_no_group``, the
        clips and subjects without a value. The groups of a pair are in the order of the first column's, each with all
        of the second's. ``ece adaptive_ece brier nll`` are of the calibrated probabilities where all predictions have
        some, as ``probabilities`` says.

    Raises:
        DataError: the predictions contradict their contract, or have no such group column.
    """
    clips, probabilities = _clips(predictions, labels)
    groupings, left_out = make_groupings(predictions, labels, asked)
    columns: dict[str, Json] = {}
    gaps: dict[str, dict[str, Gap]] = {}
    reasons: dict[str, str] = {}
    for one in groupings:
        counts = _tables(one, clips.judged, len(labels))
        columns[one.name], why = _column(one, counts, clips, labels, asked.min_subjects, seed)
        reasons |= {f"subgroups.columns.{one.name}.{name}": reason for name, reason in why.items()}
        gaps[one.name] = find_gaps(counts, one.values, labels.names, asked.min_subjects, seed=seed)
    for name, judged in judge_gaps(gaps).items():
        columns[name]["gaps"] = {score: gap.as_json() for score, gap in judged.items()}
        nothing_right = [score for score, gap in judged.items() if gap.gap is not None and gap.ratio is None]
        reasons |= {f"subgroups.columns.{name}.gaps.{score}.ratio": ALL_WRONG for score in nothing_right}
    told = {"min_subjects": asked.min_subjects, "probabilities": probabilities}
    return {**told, "columns": columns, "left_out": left_out}, reasons


def group_reliability(
    predictions: pd.DataFrame, labels: LabelSpace, asked: Breakdown
) -> dict[str, dict[str, Reliability]]:
    """Reliability of the groups with enough subjects, by column and group, of the probabilities that ``ece`` is of."""
    clips, _ = _clips(predictions, labels)
    covered, right = clips.judged.covered, clips.judged.truth == clips.judged.predicted
    found: dict[str, dict[str, Reliability]] = {}
    for one in make_groupings(predictions, labels, asked)[0]:
        for index, value in enumerate(one.values):
            members = covered & (one.codes == index)
            if len(np.unique(clips.judged.subjects[members])) >= asked.min_subjects:
                found.setdefault(one.name, {})[value] = reliability(clips.confidence[members], right[members])
    return found


def _column(
    grouping: Grouping, counts: Floats, clips: _Clips, labels: LabelSpace, min_subjects: int, seed: int
) -> tuple[Json, dict[str, str]]:
    """What is told of a column beside its gaps, and the reasons of its nulls."""
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
        "equalised_odds": {"gap": odds, "label": label},
        "in_no_group": _in_no_group(grouping, clips.judged),
    }, reasons


def _clips(predictions: pd.DataFrame, labels: LabelSpace) -> tuple[_Clips, str]:
    raw = judge(predictions, labels)
    rows, covered = judged_rows(predictions), raw.covered
    chosen, kind = raw.probabilities, "raw"
    if all(f"q_{name}" in predictions for name in labels.names):
        q = judge(predictions, labels, probabilities="q").probabilities
        if covered.any() and np.isfinite(q[covered]).all():
            chosen, kind = q, "calibrated"
    confidence = np.where(covered, chosen[np.arange(len(chosen)), raw.predicted], np.nan)
    flagged = rows["flagged"].eq(True).to_numpy(np.bool_) if "flagged" in rows else np.zeros(len(rows), np.bool_)
    brier, nll = (np.where(covered, one(chosen, raw.truth), np.nan) for one in (brier_by_clip, nll_by_clip))
    return _Clips(raw, flagged | ~covered, confidence, brier, nll), kind


def _tables(grouping: Grouping, judged: Judged, classes: int) -> Floats:
    """(S, G, K, K + 1) counts of every subject in every group."""
    known, size, subjects = grouping.codes >= 0, len(grouping.values), len(judged.subject_ids)
    cell = judged.subjects[known] * size + grouping.codes[known]
    counts = scores.count_clips(judged.truth[known], judged.predicted[known], cell, subjects * size, classes)
    return counts.reshape(subjects, size, classes, classes + 1)


def _groups(
    grouping: Grouping, counts: Floats, clips: _Clips, labels: LabelSpace, seed: int
) -> tuple[dict[str, Json], dict[str, str]]:
    """Every group of a column with its numbers, and the reasons of its nulls."""
    points = _points(grouping, clips, labels)
    statistics = {name: one for name, one in scores.overall_statistics(len(labels)).items() if name in TESTED}
    for (index, score), one in scores.class_statistics(len(labels)).items():
        if score == "recall":
            statistics[f"recall.{labels.names[index]}"] = one
    found: dict[str, Json] = {}
    reasons: dict[str, str] = {}
    for index, value in enumerate(grouping.values):
        members = counts[:, index][counts[:, index].sum((1, 2)) > 0]
        intervals = (
            count_intervals(members, statistics, seed=seed)
            if len(members)
            else dict.fromkeys(statistics, Interval.undefined(EMPTY, 0))
        )
        found[value] = {
            **{"n_clips": int(members.sum()), "n_subjects": len(members)},
            **plain(points[value]),
            "intervals": {name: interval.as_json() for name, interval in intervals.items()},
        }
        reasons |= {f"{value}.{name}": why for name, why in _reasons(found[value], intervals).items()}
    return found, reasons


def _points(grouping: Grouping, clips: _Clips, labels: LabelSpace) -> dict[str, Json]:
    """The point scores of every group; NaN where undefined.

    fairlearn tells the groups apart and counts the clips of each; their scores are functions of these counts, so that
    a frame is made of three columns rather than of one for every score, which takes seconds.
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
    found = {}
    for value in grouping.values:
        row: dict[str, Any] = dict(table.loc[value]) if value in table.index else nothing
        recall = dict(zip(labels.names, scores.recall(row["counts"]).tolist(), strict=True))
        values = {name: float(score(row["counts"])) for name, score in TESTED.items()}
        found[value] = values | row["calibration"] | {"abstention": row["abstention"], "recall": recall}
    return found


def _counts(classes: int, y_true: Any, y_pred: Any) -> Floats:
    """(K, K + 1), as :func:`fer_id.evaluation.scores.count_clips` has it."""
    truth, predicted = np.asarray(y_true, np.int64), np.asarray(y_pred, np.int64)
    return np.asarray(scores.count_clips(truth, predicted, np.zeros_like(truth), 1, classes)[0])


def _calibration(y_true: Any, y_pred: Any, confidence: Any, brier: Any, nll: Any) -> dict[str, float]:
    """``calibration.SCORES`` of the clips with a prediction."""
    answered = np.asarray(y_pred) >= 0
    if not answered.any():
        return _NOTHING
    sure, right = np.asarray(confidence, np.float64)[answered], np.asarray(y_true == y_pred)[answered]
    means = {"brier": float(np.asarray(brier)[answered].mean()), "nll": float(np.asarray(nll)[answered].mean())}
    return {"ece": reliability(sure, right).ece, "adaptive_ece": adaptive_ece(sure, right), **means}


def _abstention(y_true: Any, y_pred: Any, abstained: Any) -> float:
    return float(np.mean(abstained))


def _reasons(group: Json, intervals: Mapping[str, Interval]) -> dict[str, str]:
    """Why a number of a group is null, by its name within the group."""
    nothing = UNSEEN if group["n_clips"] else EMPTY
    found = {name: nothing for name in (*TESTED, *calibration.SCORES, "abstention") if group[name] is None}
    for label, value in group["recall"].items():
        if value is None:
            found[f"recall.{label}"] = f"no clip of class {label} has a prediction"
    return found | {f"intervals.{name}": one.reason for name, one in intervals.items() if one.reason}


def _in_no_group(grouping: Grouping, judged: Judged) -> dict[str, int]:
    without = grouping.codes < 0
    return {"n_clips": int(without.sum()), "n_subjects": len(np.unique(judged.subjects[without]))}
