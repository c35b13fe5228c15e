"""Subject-level intervals of calibration scores and of risk against coverage.

These scores are not functions of counts, so each subject is left out in turn and the score computed again, at every
number of subjects, as for the AUC: exact, and vectorised over the subjects. The measured coverage of these intervals is
in :data:`fer_id.evaluation.intervals.HELD`.

The ECE is a sum of absolute values, so it is biased upwards on few clips, and its interval with it. ``overconfidence``,
the mean confidence minus the accuracy, is signed and has no such bias.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fer_id.evaluation.confidence.calibration import BINS, bin_of, brier_by_clip, nll_by_clip
from fer_id.evaluation.confidence.selective import COVERAGES
from fer_id.evaluation.intervals import DIFFERENCE_RANGE, UNIT_RANGE, Interval, jackknife
from fer_id.evaluation.scores import Bools, Floats, Ints

_AT_ONCE = 2_000_000  # clips times subjects held in memory together

Scored = dict[str, tuple[float, Interval]]
"""Name of a score -> its value (NaN without a clip) and its interval."""


def calibration_intervals(p: Floats, truth: Ints, subjects: Ints) -> Scored:
    """Compute ``brier``, ``nll``, ``overconfidence`` (in [-1, 1]) and ``ece``, each with its interval.

    Args:
        p: (N, K) probabilities.
        truth: (N,) class indices.
        subjects: (N,) integer identifiers of the subjects.
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


def selective_intervals(confidence: Floats, correct: Bools, subjects: Ints) -> Scored:
    """Compute ``aurc``, and ``risk_at_coverage.<c>`` of each coverage in ``COVERAGES``, with intervals.

    The coverage at a risk has no interval: it jumps where a single clip decides whether the risk is met.

    Args:
        confidence: (N,) confidence in each answer; only the order counts.
        correct: (N,) True where the answer is right.
        subjects: (N,) integer identifiers of the subjects.
    """
    names, codes = np.unique(subjects, return_inverse=True)
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.diff(confidence[order], append=-np.inf) != 0)  # last clip of each distinct confidence
    whole = _risks((ends + 1).astype(np.float64), np.cumsum(~correct[order])[ends].astype(np.float64))
    parts = [_risks(*counts) for counts in _without_each(codes[order], ~correct[order], ends, len(names))]
    without = np.concatenate(parts) if parts else np.empty((0, len(whole)))
    keys = ["aurc", *(f"risk_at_coverage.{coverage}" for coverage in COVERAGES)]
    return {key: (float(whole[at]), jackknife(float(whole[at]), without[:, at])) for at, key in enumerate(keys)}


def _without_each(codes: Ints, wrong: Bools, ends: Ints, n_subjects: int) -> Iterator[tuple[Floats, Floats]]:
    """Yield answered and wrong clips up to each end without each subject, (subjects at once, ends), by confidence."""
    total, errors = ends + 1.0, np.cumsum(wrong)[ends].astype(np.float64)
    at_once = max(1, _AT_ONCE // max(len(codes), 1))
    for first in range(0, n_subjects, at_once):
        own = codes == np.arange(first, min(first + at_once, n_subjects))[:, None]
        yield total - np.cumsum(own, axis=1)[:, ends], errors - np.cumsum(own & wrong, axis=1)[:, ends]


def _risks(answered: Floats, wrong: Floats) -> Floats:
    """Compute AURC and risk at each coverage, (..., 1 + coverages), from counts along curves (..., P).

    The vectorised form of :class:`fer_id.evaluation.confidence.selective.RiskCoverage`; NaN without a clip.
    """
    if not answered.shape[-1]:
        return np.full((*answered.shape[:-1], 1 + len(COVERAGES)), np.nan)
    total = answered[..., -1:]
    risk = np.divide(wrong, answered, out=np.zeros(answered.shape), where=answered > 0)
    with np.errstate(invalid="ignore"):
        columns = [(np.diff(answered, prepend=0.0) * risk).sum(-1) / total[..., 0]]
    for coverage in COVERAGES:
        reached = (answered >= (coverage - 1e-12) * total).argmax(-1)
        columns.append(np.take_along_axis(risk, reached[..., None], axis=-1)[..., 0])
    return np.where(total > 0, np.stack(columns, axis=-1), np.nan)


def _left_out(
    whole: float, without: Floats, clips: Floats, bounds: tuple[float, float], scale: str
) -> tuple[float, Interval]:
    """Compute the mean over clips and its jackknife interval from sums of all subjects and without each subject."""
    left = clips.sum() - clips
    means = np.divide(without, left, out=np.full(len(without), np.nan), where=left > 0)
    value = float(whole / clips.sum()) if clips.sum() else float("nan")
    return value, jackknife(value, means, bounds=bounds, scale=scale)
