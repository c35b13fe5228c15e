"""Does time matter? What controls say beside a temporal model, each judged on the same clips, child by child.

A control sees less than the model: one frame, the mean of all, or the frames in another order. What the model knows
beyond a control is what it owes to what the control lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_id.evaluation.intervals import Interval, count_intervals
from fer_id.evaluation.paired import holm
from fer_id.evaluation.scores import Bools, Floats, Ints, Statistic, accuracy_with_missing
from fer_id.evaluation.seeds import contrast_counts

WHOLE, REFITTED = "whole clip", "whole clip, re-fitted"
MEAN, CHOSEN, CONFIDENT = "mean of the frames", "chosen frame", "most confident frame"
SHUFFLED, REVERSED, HINDSIGHT = "shuffled frames", "reversed frames", "best frame with hindsight"
CONTROLS = {
    WHOLE: "the model as it is, on all frames in order",
    REFITTED: "what the model's head makes of all frames, and a linear classifier fitted on the training clips, as for "
    "the mean: a classifier that was not trained to its end does not decide then",
    MEAN: "the mean of the same encoder's frame features, and a linear classifier fitted on the training clips",
    CHOSEN: "one frame of each clip, the same moment in all; moment and reader (the model itself fed that frame alone, "
    "or a linear classifier fitted on the training clips' frames) chosen on inner validation",
    CONFIDENT: "of each clip the one frame that the linear classifier of frames is surest of",
    SHUFFLED: "the model, the frames of each clip in random order (the mean of ten orders)",
    REVERSED: "the model, the last frame first",
    HINDSIGHT: "as the chosen frame, but the best on the test clips themselves: it flatters the frame, so it is not "
    "tested",
}
"""What each row is, exactly."""

TESTED = (MEAN, CHOSEN, SHUFFLED, REVERSED)
"""The controls that the whole clip is tested against; one family, corrected together (Holm)."""

BINS = 4


@dataclass(frozen=True)
class Answers:
    """What was right about N labelled test clips.

    Attributes:
        right: control -> (N,) in [0, 1]; a mean over orders or trainings need not be whole. A clip without a face is
            wrong.
        by_frame: reader -> (T,) accuracy of each frame alone.
        subjects: (N,) whose clips they are.
        peak, delay: (N,) as :func:`peak_and_delay` gives them.
    """

    right: Mapping[str, Floats]
    by_frame: Mapping[str, Floats]
    subjects: Sequence[str]
    peak: Floats
    delay: Floats


def summary(answers: Answers) -> dict[str, Any]:
    """The content of ``controls.json`` that follows from the answers: accuracies with intervals, tests, and bins.

    Returns:
        ``n_clips n_subjects accuracy against_whole_clip by_frame per_subject peak delay``; shares lie in [0, 1], an
        interval that is undefined is null with its ``reason``.
    """
    names, codes = np.unique(np.asarray(answers.subjects, dtype=str), return_inverse=True)
    tables = {name: _tables(right, codes, len(names)) for name, right in answers.right.items()}
    return {
        "n_clips": len(codes),
        "n_subjects": len(names),
        "accuracy": {name: _accuracy(table) | {"what": CONTROLS[name]} for name, table in tables.items()},
        "against_whole_clip": against_whole(tables),
        "by_frame": {reader: values.tolist() for reader, values in answers.by_frame.items()},
        "per_subject": {"subjects": names.tolist(), "clips": tables[WHOLE].sum((1, 2)).astype(int).tolist()}
        | {"right": {name: table[:, 0, 0].tolist() for name, table in tables.items()}},
        "peak": _by_bin(answers, answers.peak, codes, len(names)),
        "delay": _by_bin(answers, answers.delay, codes, len(names)),
    }


def against_whole(tables: Mapping[str, Floats]) -> dict[str, dict[str, Any]]:
    """The whole clip minus each control of ``TESTED``, in accuracy, with its interval, p, and p corrected for all.

    Args:
        tables: control -> (S, 1, 2) right and wrong clips of each subject.
    """
    found = {name: contrast_counts(tables[WHOLE], tables[name]) for name in TESTED}
    adjusted = holm({name: one.p for name, one in found.items()})
    return {
        name: {"difference": one.value, **_interval(one.interval), "p": one.p, "p_holm": adjusted[name]}
        for name, one in found.items()
    }


def pooled(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What :func:`summary` says of one model trained with several seeds: means, with the interval over subjects.

    Args:
        runs: ``controls.json`` of each training, on the same clips.

    Returns:
        as :func:`summary`; in the bins the mean alone, without an interval, where there are several.
    """
    first = runs[0]
    if len(runs) == 1:
        return dict(first)
    tables = _mean_tables([one["per_subject"] for one in runs])
    return {
        **{key: first[key] for key in first if key != "per_subject"},
        "accuracy": {name: _accuracy(table) | {"what": CONTROLS[name]} for name, table in tables.items()},
        "against_whole_clip": against_whole(tables),
        "by_frame": {name: np.mean([one["by_frame"][name] for one in runs], 0).tolist() for name in first["by_frame"]},
        **{key: _mean_bins([one[key] for one in runs]) for key in ("peak", "delay")},
    }


def _mean_tables(runs: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
    """``per_subject`` of several trainings as one table of right and wrong clips: control -> (S, 1, 2)."""
    clips = np.array(runs[0]["clips"], float)
    right = {name: np.mean([one["right"][name] for one in runs], axis=0) for name in runs[0]["right"]}
    return {name: np.stack([each, clips - each], axis=-1)[:, None] for name, each in right.items()}


def _mean_bins(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Bins of several trainings, which are the same clips, with the mean of their accuracies."""
    if runs[0]["bins"] is None:
        return dict(runs[0])
    bins = []
    for same in zip(*(one["bins"] for one in runs), strict=True):
        means = {name: float(np.mean([one["accuracy"][name]["value"] for one in same])) for name in same[0]["accuracy"]}
        reason = "the mean of several trainings"
        accuracy = {name: {"value": mean, "low": None, "high": None, "reason": reason} for name, mean in means.items()}
        bins.append({**same[0], "accuracy": accuracy})
    return {**runs[0], "bins": bins}


def peak_and_delay(intensity: Sequence[float] | None) -> tuple[float, float]:
    """Highest true intensity of a clip, and the first frame (from 0) that reaches half of it.

    NaN both where the intensity is not known, or where nothing was shown (a neutral clip).
    """
    course = np.asarray([] if intensity is None else intensity, float)
    peak = float(course.max(initial=0.0))
    return (peak, float(np.argmax(course >= peak / 2))) if peak > 0 else (float("nan"), float("nan"))


def _tables(right: Floats, codes: Ints, subjects: int) -> Floats:
    """(S, 1, 2): right and wrong clips, which is a table of counts of one class whose errors got no prediction."""
    sums = np.bincount(codes, weights=right, minlength=subjects)
    wrong = np.bincount(codes, minlength=subjects) - sums
    return np.stack([sums, wrong], axis=-1)[:, None]


def _accuracy(tables: Floats) -> dict[str, Any]:
    statistic = Statistic(accuracy_with_missing, np.ones(tables.shape[1:], np.bool_))
    interval = count_intervals(tables, {"accuracy": statistic})["accuracy"]
    return {"value": float(accuracy_with_missing(tables.sum(0))), **_interval(interval)}


def _interval(interval: Interval) -> dict[str, Any]:
    return {"low": interval.low, "high": interval.high, "reason": interval.reason}


def _by_bin(answers: Answers, values: Floats, codes: Ints, subjects: int) -> dict[str, Any]:
    """Accuracy in up to ``BINS`` bins of about as many clips; the values decide the edges, no answer does."""
    known = np.isfinite(values)
    if not known.any():
        reason = "the store does not say how strong the expression is in each frame (intensity)"
        return {"bins": None, "n_without": int((~known).sum()), "reason": reason}
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, BINS + 1)[1:-1]))
    inner = edges[edges > values[known].min()]  # a bin begins at its edge; delays are few whole numbers
    place = np.digitize(values, inner)
    bins = [_bin(answers, values, known & (place == number), codes, subjects) for number in range(len(inner) + 1)]
    return {"bins": [one for one in bins if one], "n_without": int((~known).sum()), "reason": None}


def _bin(answers: Answers, values: Floats, rows: Bools, codes: Ints, subjects: int) -> dict[str, Any]:
    if not rows.any():
        return {}
    present = np.unique(codes[rows])
    shown = {name: answers.right[name][rows] for name in (WHOLE, MEAN, CHOSEN)}
    tables = {name: _tables(right, codes[rows], subjects)[present] for name, right in shown.items()}
    return {
        "from": float(values[rows].min()),
        "to": float(values[rows].max()),
        "n_clips": int(rows.sum()),
        "n_subjects": len(present),
        "accuracy": {name: _accuracy(table) for name, table in tables.items()},
    }
