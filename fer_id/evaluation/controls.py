"""Temporal controls: accuracy of a model on whole clips against single, averaged, shuffled and reversed frames.

One frame, or the mean of all, is read by a classifier of its own: the gain of the whole clip over it, paired by child
on the same clips, is due to the information that the control lacks. Frames in another order are read by the model as it
is, which never learned them: the loss shows how much this model relies on the order, and nothing about what the order
is worth. For that a second head must learn from shuffled frames: the reader ``shuffled_lstm`` of ``fer-id benchmark``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_id.evaluation.intervals import Interval, count_intervals
from fer_id.evaluation.paired import contrast_counts, holm
from fer_id.evaluation.scores import Bools, Floats, Ints, Statistic, accuracy_with_missing

WHOLE, REFITTED = "whole clip", "whole clip, re-fitted"
MEAN, CHOSEN, CONFIDENT = "mean of the frames", "chosen frame", "most confident frame"
SHUFFLED, REVERSED, HINDSIGHT = "shuffled frames", "reversed frames", "best frame with hindsight"
SENSITIVITY = "how much this model relies on the order; no evidence that order helps, as it never learned other orders"
"""Sentence beside the accuracy on frames that are in another order at test alone."""

CONTROLS = {
    WHOLE: "the model as it is, on all frames in order",
    REFITTED: "what the model's head makes of all frames, and a linear classifier fitted on the training clips, as for "
    "the mean: a classifier that was not trained to its end does not decide then",
    MEAN: "the mean of the same encoder's frame features, and a linear classifier fitted on the training clips",
    CHOSEN: "one frame of each clip, the same moment in all; moment and reader (the model itself fed that frame alone, "
    "or a linear classifier fitted on the training clips' frames of that moment) chosen on inner validation",
    CONFIDENT: "of each clip the one frame that the linear classifier of its moment is surest of",
    SHUFFLED: f"the model, the frames of each clip in random order (the mean of ten orders): {SENSITIVITY}",
    REVERSED: f"the model, the last frame first: {SENSITIVITY}",
    HINDSIGHT: "as the chosen frame, but the best on the test clips themselves: it flatters the frame, so it is not "
    "tested",
}
"""Exact definition of each row."""

TESTED = (MEAN, CHOSEN, SHUFFLED, REVERSED)
"""Controls that the whole clip is tested against: one family of tests, corrected together (Holm)."""

BINS = 4


@dataclass(frozen=True)
class Answers:
    """Correctness of each control on N labelled test clips, where a clip without a face counts as wrong."""

    right: Mapping[str, Floats]  # control -> (N,) in [0, 1]; a mean over orders or trainings need not be whole
    by_frame: Mapping[str, Floats]  # reader -> (T,) accuracy of each frame alone
    subjects: Sequence[str]  # (N,) names of the clips' subjects
    peak: Floats  # (N,), as the delay: results of peak_and_delay
    delay: Floats


def summary(answers: Answers) -> dict[str, Any]:
    """Compute the accuracies with intervals, tests and bins of ``controls.json`` from the answers.

    Shares lie in [0, 1]; an undefined interval is null with its ``reason``.
    """
    names, codes = np.unique(np.asarray(answers.subjects, dtype=str), return_inverse=True)
    tables = {name: _tables(right, codes, len(names)) for name, right in answers.right.items()}
    return {
        "n_clips": len(codes),
        "n_subjects": len(names),
        **_judged(tables),
        "by_frame": {reader: values.tolist() for reader, values in answers.by_frame.items()},
        "per_subject": {"subjects": names.tolist(), "clips": tables[WHOLE].sum((1, 2)).astype(int).tolist()}
        | {"right": {name: table[:, 0, 0].tolist() for name, table in tables.items()}},
        "peak": _by_bin(answers, answers.peak, codes),
        "delay": _by_bin(answers, answers.delay, codes),
    }


def _judged(tables: Mapping[str, Floats]) -> dict[str, dict[str, object]]:
    """Compute the accuracy of each control, and that of the whole clip minus each of ``TESTED`` with interval and p.

    ``tables`` has by control the right and wrong clips of each subject, (S, 1, 2).
    """
    accuracy: dict[str, object] = {name: _accuracy(table) | {"what": CONTROLS[name]} for name, table in tables.items()}
    contrasts = {name: contrast_counts(tables[WHOLE], tables[name]) for name in TESTED}
    adjusted = holm({name: contrast.p for name, contrast in contrasts.items()})
    against: dict[str, object] = {
        name: {"difference": contrast.value, **_interval(contrast.interval), "p": contrast.p, "p_holm": adjusted[name]}
        for name, contrast in contrasts.items()
    }
    return {"accuracy": accuracy, "against_whole_clip": against}


def peak_and_delay(intensity: Sequence[float] | None) -> tuple[float, float]:
    """Return the highest true intensity of a clip, and the first frame (from 0) that reaches half of it.

    Both are NaN where the intensity is unknown or always 0 (a neutral clip).
    """
    course = np.asarray([] if intensity is None else intensity, float)
    peak = float(course.max(initial=0.0))
    return (peak, float(np.argmax(course >= peak / 2))) if peak > 0 else (float("nan"), float("nan"))


def _tables(right: Floats, codes: Ints, subjects: int) -> Floats:
    """Count right and wrong clips by subject, (S, 1, 2): a table of one class whose errors are missing predictions."""
    sums = np.bincount(codes, weights=right, minlength=subjects)
    wrong = np.bincount(codes, minlength=subjects) - sums
    return np.stack([sums, wrong], axis=-1)[:, None]


def _accuracy(tables: Floats) -> dict[str, float | str | None]:
    statistic = Statistic(accuracy_with_missing, np.ones(tables.shape[1:], np.bool_))
    interval = count_intervals(tables, {"accuracy": statistic})["accuracy"]
    return {"value": float(accuracy_with_missing(tables.sum(0))), **_interval(interval)}


def _interval(interval: Interval) -> dict[str, float | str | None]:
    """Return the limits, or null and the reason."""
    return {"low": interval.low, "high": interval.high, "reason": interval.reason}


def _by_bin(answers: Answers, values: Floats, codes: Ints) -> dict[str, object]:
    """Compute accuracy in up to ``BINS`` bins of about equally many clips, with edges from the values alone."""
    known = np.isfinite(values)
    if not known.any():
        reason = "the store does not say how strong the expression is in each frame (intensity)"
        return {"bins": None, "n_without": int((~known).sum()), "reason": reason}
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, BINS + 1)[1:-1]))
    inner = edges[edges > values[known].min()]  # delays are few whole numbers: quantiles may coincide with the minimum
    place = np.where(known, np.digitize(values, inner), -1)
    bins = [_bin(answers, values, place == number, codes) for number in np.unique(place[known])]
    return {"bins": bins, "n_without": int((~known).sum()), "reason": None}


def _bin(answers: Answers, values: Floats, rows: Bools, codes: Ints) -> dict[str, object]:
    present, subjects = np.unique(codes[rows], return_inverse=True)
    compared = {name: _tables(answers.right[name][rows], subjects, len(present)) for name in (WHOLE, MEAN, CHOSEN)}
    return {
        "from": float(values[rows].min()),
        "to": float(values[rows].max()),
        "n_clips": int(rows.sum()),
        "n_subjects": len(present),
        "accuracy": {name: _accuracy(table) for name, table in compared.items()},
    }
