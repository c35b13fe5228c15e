"""Selection of clips for human review by a confidence threshold that bounds the risk of the answered clips.

A clip is answered where its top probability (calibrated where the fold has a temperature, else raw) reaches the
threshold of its fold, and ``flagged`` for review otherwise. A clip without a prediction is flagged, and so is one with
too few frames with a face: a prediction from two frames of ten is no answer about the other eight. The threshold is
chosen on the rows of :func:`fer_id.evaluation.predictions.calibration_rows` with enough of the face, never on a test
row: the lowest one at which an upper bound of the *risk*, the share of errors among the answered clips, is at most the
requested risk.

**The bound.** The lowest threshold whose observed risk is low enough is mostly too low: in simulated draws of 4 to 40
children the risk of new children exceeded the requested one in every second draw. So the bound is an upper confidence
limit over children, as the clips of a child resemble each other: one-sided 95 %, the delete-one-subject jackknife with
Student's t as for all intervals of few subjects here, with one further child added that has a single, wrong answer.
Without that child a flawless inner validation would claim certainty, and so would the few clips of the strictest
thresholds. New children then exceed the risk in 2 to 8 of 100 draws (8 to 17 where a confident model fails every fifth
child outright, which no confidence reveals). Distribution-free bounds need more children than a site has:
Learn-then-Test with children as the unit (Angelopoulos et al. 2021, arXiv:2110.01052) needs 14 without a single error
for a risk of 0.2, and conformal risk control (Angelopoulos et al. 2022, arXiv:2208.02814), which adds a child that is
answered and wrong in every clip, flagged everything in 99 of 100 draws of 8 children and in 35 of 100 of 20.

There is no correction for the number of candidate thresholds: neighbours share nearly all their clips, and the draws
above include the choice. The rows of inner validation also chose the epoch, so they are slightly optimistic;
cross-fitted rows are not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from fer_id.evaluation.config import LEAST_FACE
from fer_id.evaluation.intervals import UNIT_RANGE, ratio_interval
from fer_id.evaluation.predictions import by_fold, calibration_rows, class_columns, counted_units, judged_rows
from fer_id.evaluation.scores import Bools, Floats
from fer_id.labels import LabelSpace
from fer_id.runs.metrics import Review

RISK = 0.2
"""Default of the requested risk: share of errors among the answered clips."""

FACE_SHARE = "face_share"
"""Column of ``predictions.parquet`` with the share of a clip's frames with a face. Tables of older versions lack it:
all of their clips count."""

BOUND_LEVEL = 0.95
FEWEST_SUBJECTS = 5
"""Fewest children to choose a threshold on."""

_MOST_CANDIDATES = 200  # candidate thresholds


def top_probability(rows: pd.DataFrame, labels: LabelSpace) -> Floats:
    """Return the top probability (N,), calibrated where available, else raw; NaN for a clip without a prediction."""
    raw, q = (class_columns(rows, labels, prefix).max(axis=1, initial=-np.inf) for prefix in ("p", "q"))
    return np.where(rows["predicted"].notna(), np.where(np.isfinite(q), q, raw), np.nan)


def risk_bound(wrong: Floats, answered: Floats) -> Floats:
    """Compute the upper bound of the share of errors among the answered clips, (..., S) numbers by subject -> (...).

    See the module; infinite where fewer than ``FEWEST_SUBJECTS`` subjects have an answered clip.
    """
    further = [(0, 0)] * (wrong.ndim - 1) + [(0, 1)]
    wrong, answered = (np.pad(counts, further, constant_values=1.0) for counts in (wrong, answered))
    has, n = answered > 0, (answered > 0).sum(-1)
    all_wrong, all_answered = wrong.sum(-1, keepdims=True), answered.sum(-1, keepdims=True)
    rest = all_answered - answered
    without = np.divide(all_wrong - wrong, rest, out=np.zeros_like(rest), where=has & (rest > 0))
    mean = without.sum(-1, keepdims=True) / n[..., None]
    error = np.sqrt((n - 1) / n * (np.where(has, without - mean, 0.0) ** 2).sum(-1))
    enough = n > FEWEST_SUBJECTS  # the added child counts in n
    quantile = stats.t.ppf(BOUND_LEVEL, np.where(enough, n - 1, 1))
    return np.asarray(np.where(enough, (all_wrong / all_answered)[..., 0] + quantile * error, np.inf))


def choose_threshold(
    confidence: Floats, correct: Bools, units: pd.Series, risk: float
) -> tuple[float | None, str | None]:
    """Choose the lowest threshold at which :func:`risk_bound` is at most ``risk``; None and the reason where none is.

    ``confidence`` (N,) is the top probability of each calibration clip, ``correct`` whether its prediction is right,
    ``units`` its subject, or its group of another column, after which the series is named.
    """
    codes, names = pd.factorize(units.astype(str))
    people = counted_units(len(names), "subject_id" if units.name is None else str(units.name))
    if len(names) < FEWEST_SUBJECTS:
        few = f"{people} to choose a threshold on, expected {FEWEST_SUBJECTS} at least"
        return None, f"{few}; protocol.cross_fit=5 takes those of training as well"
    candidates = np.unique(confidence)
    if len(candidates) > _MOST_CANDIDATES:
        candidates = np.unique(np.quantile(candidates, np.linspace(0, 1, _MOST_CANDIDATES), method="nearest"))
    order = np.searchsorted(candidates, confidence, side="right") - 1  # the strictest candidate that the clip passes
    shape = (len(candidates), len(names))
    cells = order * len(names) + codes
    tables = (np.bincount(cells, weights=w, minlength=shape[0] * shape[1]).reshape(shape) for w in (~correct, correct))
    wrong, right = (np.cumsum(table[::-1], axis=0)[::-1].astype(np.float64) for table in tables)
    bounds = risk_bound(wrong, wrong + right)
    if not (bounds <= risk).any():
        lowest = f", the lowest is {bounds.min():.2f}" if np.isfinite(bounds.min()) else ""
        return None, f"no threshold keeps the bound of the risk at {risk:g} or below with {people}{lowest}"
    return float(candidates[np.argmax(bounds <= risk)]), None


def flagged(
    predictions: pd.DataFrame,
    labels: LabelSpace,
    risk: float = RISK,
    least_face: float = LEAST_FACE,
    unit: str = "subject_id",
) -> tuple[pd.DataFrame, dict[str, float | None], dict[str, str]]:
    """Fill the column ``flagged`` of checked predictions, calibrated where possible, by the threshold of each fold.

    The requested ``risk`` is in (0, 1); ``unit`` is the column whose groups are exchangeable with new ones. Return the
    table, the threshold of each fold (None where every clip is flagged), and the reason where a fold has none.
    """
    confidence, enough = top_probability(predictions, labels), shows_enough(predictions, least_face)
    sent = np.ones(len(predictions), np.bool_)
    thresholds: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for fold, rows, part in by_fold(predictions):
        known = calibration_rows(part) & enough[rows]
        right = (part["label"] == part["predicted"]).to_numpy(np.bool_)
        chosen, reason = choose_threshold(confidence[rows][known], right[known], part[unit][known], risk)
        thresholds[fold] = chosen
        if chosen is None:
            reasons[fold] = str(reason)
        else:
            sent[rows] = ~((confidence[rows] >= chosen) & enough[rows])
    return predictions.assign(flagged=sent), thresholds, reasons


def shows_enough(predictions: pd.DataFrame, least_face: float) -> Bools:
    """Return a mask (N,) of clips with enough frames with a face; all True without the column ``FACE_SHARE``."""
    if FACE_SHARE not in predictions:
        return np.ones(len(predictions), np.bool_)
    return np.asarray(predictions[FACE_SHARE].fillna(1.0) >= least_face - 1e-9, np.bool_)


def review_scores(
    predictions: pd.DataFrame,
    thresholds: dict[str, float | None],
    why: dict[str, str],
    risk: float,
    least_face: float = LEAST_FACE,
) -> tuple[Review, dict[str, str]]:
    """Compute ``review`` of ``metrics.json`` and its reasons, from a table whose ``flagged`` is filled.

    Shares are of the labelled test clips; ``interval`` is that of ``risk_answered`` over subjects.
    """
    test = judged_rows(predictions)
    sent = test["flagged"].to_numpy(np.bool_)
    answered = test[~sent]
    wrong: Floats = np.asarray(answered["label"] != answered["predicted"], dtype=np.float64)
    subjects = answered["subject_id"].astype(str).tolist()
    value, interval = ratio_interval(wrong, np.ones(len(wrong)), subjects, bounds=UNIT_RANGE)
    review = Review(
        risk=risk,
        thresholds=thresholds,
        flagged=float(sent.mean()) if len(test) else None,
        risk_answered=value if len(answered) else None,
        interval=interval.as_record(),
        coverage=float(1 - sent.mean()) if len(test) else None,
        n_clips=len(test),
        least_face=least_face,
        too_little_face=int((~shows_enough(test, least_face)).sum()),
    )
    nothing = "every test clip is flagged" if len(test) else "no labelled test clip"
    reasons = {f"review.thresholds.{fold}": reason for fold, reason in why.items()}
    if not len(answered):
        null = (name for name in ("flagged", "risk_answered", "interval", "coverage") if review[name] is None)
        return review, reasons | {f"review.{name}": nothing for name in null}
    return review, reasons | ({"review.interval": interval.reason} if interval.reason else {})
