"""Temperature scaling and calibration errors of predicted probabilities.

* Reliability in ``BINS`` = 15 equal-width bins of the top probability, and the expected calibration error (ECE): the
  mean over clips of |accuracy - confidence| of their bin (Guo et al. 2017, arXiv:1706.04599). Bins are [low, high), the
  last one closed, as in torchmetrics. The adaptive ECE has bins of equally many clips (Nguyen and O'Connor 2015,
  arXiv:1508.05154), so that no bin has only a few.
* Brier score (sum over classes, 0 to 2) and mean negative log-likelihood (natural logarithm) of all probabilities.
* **Temperature** (Guo et al.): one number per fold that divides the logits, fitted on the fold's own inner validation,
  or on its cross-fitted children where there are any. It changes no prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, special

from fer_id.evaluation.intervals import DIFFERENCE_RANGE, UNIT_RANGE, Interval, Scored, jackknife
from fer_id.evaluation.predictions import by_fold, calibration_rows, class_columns, class_indices
from fer_id.evaluation.scores import Bools, Floats, Ints, ratio
from fer_id.labels import LabelSpace

BINS = 15

SCORES = ("ece", "adaptive_ece", "brier", "nll")
"""Scores of probabilities; lower is better."""

FEWEST = 20
"""Fewest labelled clips of inner validation to fit a temperature on."""

_LOG_RANGE = (np.log(0.05), np.log(20.0))
_SMALLEST = 1e-12  # lower limit of probabilities, which keeps logarithms finite


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram: counts, mean confidence and accuracy by bin, each (bins,); an empty bin has NaN means."""

    edges: Floats  # (bins + 1,)
    counts: Floats
    confidence: Floats
    accuracy: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1]; NaN without a clip."""
        total = self.counts.sum()
        if not total:
            return float("nan")
        return float(np.nansum(self.counts * np.abs(self.accuracy - self.confidence)) / total)


def reliability(confidence: Floats, correct: Bools, bins: int = BINS) -> Reliability:
    """Bin the clips (N,) by the probability of their predicted class, in equal-width bins."""
    edges, index = np.linspace(0.0, 1.0, bins + 1), bin_of(confidence, bins)
    counts = np.bincount(index, minlength=bins).astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, weights=confidence, minlength=bins) / counts
        accuracy = np.bincount(index, weights=correct.astype(np.float64), minlength=bins) / counts
    return Reliability(edges, counts, mean_confidence, accuracy)


def bin_of(confidence: Floats, bins: int = BINS) -> Ints:
    """Return the index of the equal-width bin of each confidence, (N,) -> (N,)."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.asarray(np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1), dtype=np.int64)


def adaptive_ece(confidence: Floats, correct: Bools, bins: int = BINS) -> float:
    """Compute the ECE over bins of equally many clips, within one; NaN without a clip."""
    if not len(confidence):
        return float("nan")
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [len(part) * abs(correct[part].mean() - confidence[part].mean()) for part in parts]
    return float(sum(gaps) / len(confidence))


def calibration_scores(p: Floats, truth: Ints) -> dict[str, float]:
    """Compute ``ece``, ``adaptive_ece``, ``brier`` and ``nll`` of probabilities (N, K); NaN without a clip."""
    if not len(truth):
        return dict.fromkeys(SCORES, float("nan"))
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == truth
    return {
        "ece": reliability(confidence, correct).ece,
        "adaptive_ece": adaptive_ece(confidence, correct),
        "brier": float(brier_by_clip(p, truth).mean()),
        "nll": float(nll_by_clip(p, truth).mean()),
    }


def brier_by_clip(p: Floats, truth: Ints) -> Floats:
    """Return the Brier score of each clip (N,): squared error of probabilities (N, K) summed over classes, 0 to 2."""
    return np.asarray(((p - np.eye(p.shape[1])[truth]) ** 2).sum(axis=1))


def nll_by_clip(p: Floats, truth: Ints) -> Floats:
    """Return the negative logarithm of the true class's probability, (N,)."""
    return np.asarray(-np.log(p[np.arange(len(truth)), truth].clip(_SMALLEST)))


def calibration_intervals(p: Floats, truth: Ints, subjects: Ints) -> Scored:
    """Compute ``brier``, ``nll``, ``overconfidence`` (in [-1, 1]) and ``ece``, each with its interval over subjects.

    These are no functions of counts, so each subject, of (N,) integer identifiers, is left out in turn and the score
    computed again, as for the AUC: exact, and vectorised. The ECE is a sum of absolute values, so it is biased upwards
    on few clips, and its interval with it; ``overconfidence``, mean confidence minus accuracy, is signed and is not.
    """
    names, codes = np.unique(subjects, return_inverse=True)
    clips = np.bincount(codes, minlength=len(names)).astype(np.float64)
    excess = p.max(axis=1) - (p.argmax(axis=1) == truth)
    columns = {
        "brier": (brier_by_clip(p, truth), (0.0, 2.0), "log"),
        "nll": (nll_by_clip(p, truth), (0.0, np.inf), "log"),
        "overconfidence": (excess, DIFFERENCE_RANGE, "plain"),
    }
    scored: Scored = {}
    for name, (by_clip, bounds, scale) in columns.items():
        sums = np.bincount(codes, weights=by_clip, minlength=len(names))
        scored[name] = _left_out(sums.sum(), sums.sum() - sums, clips, bounds, scale)
    cells = np.bincount(codes * BINS + bin_of(p.max(axis=1)), weights=excess, minlength=len(names) * BINS)
    by_bin = cells.reshape(len(names), BINS)  # (S, BINS) signed sums of confidence - correctness
    gap = np.abs(by_bin.sum(0)).sum()
    scored["ece"] = _left_out(gap, np.abs(by_bin.sum(0) - by_bin).sum(1), clips, UNIT_RANGE, "plain")
    return scored


def _left_out(
    whole: float, without: Floats, clips: Floats, bounds: tuple[float, float], scale: str
) -> tuple[float, Interval]:
    """Compute the mean over clips and its jackknife interval from sums of all subjects and without each subject."""
    value = float(ratio(whole, clips.sum()))
    return value, jackknife(value, ratio(without, clips.sum() - clips), bounds=bounds, scale=scale)


def fit_temperature(logits: Floats, truth: Ints) -> float:
    """Fit the temperature, 0.05 to 20, that maximises the likelihood of the true classes (N,) under logits (N, K)."""

    def nll(log_temperature: float) -> float:
        scaled = special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(len(truth)), truth].mean())

    minimum = optimize.minimize_scalar(nll, bounds=_LOG_RANGE, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(minimum.x))


def calibrated(predictions: pd.DataFrame, labels: LabelSpace) -> tuple[pd.DataFrame, dict[str, float], dict[str, str]]:
    """Fill the columns ``q_<class>`` of checked predictions, each fold by the temperature of its inner validation.

    Return the table, the temperature of each fold, and the reason where a fold has none, whose ``q`` are then null.
    """
    logits = class_columns(predictions, labels, "logit")
    values = np.full(logits.shape, np.nan)
    temperatures: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for fold, rows, part in by_fold(predictions):
        known = calibration_rows(part)
        if known.sum() < FEWEST:
            reasons[fold] = f"{known.sum()} labelled clips of inner validation, expected {FEWEST} at least"
            continue
        temperatures[fold] = fit_temperature(logits[rows][known], class_indices(part["label"][known], labels))
        seen = rows[np.isfinite(logits[rows]).all(axis=1)]
        values[seen] = special.softmax(logits[seen] / temperatures[fold], axis=1)
    columns = {f"q_{name}": values[:, index] for index, name in enumerate(labels.names)}
    return predictions.assign(**columns), temperatures, reasons
