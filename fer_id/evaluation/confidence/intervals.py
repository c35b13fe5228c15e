"""Subject-level intervals of scores that read each clip's confidence: calibration, and risk against coverage.

These are no functions of counts, so whole subjects are left out one after the other and the score is computed again
without each, at every number of subjects, as for the AUC: exact, and vectorised over the subjects. How often such
intervals hold the truth is measured beside the others (:data:`fer_id.evaluation.intervals.HELD`).

The ECE is a sum of absolute values: chance alone makes it positive, and on few clips it lies above what more clips of
such children would show. Its interval moves with it. ``overconfidence``, the mean confidence less the accuracy, has a
sign and is free of that.
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
"""Name of a score -> its value, NaN without a clip, and its interval."""


def calibration_intervals(p: Floats, truth: Ints, subjects: Ints) -> Scored:
    """``brier``, ``nll``, ``overconfidence`` (in [-1, 1]) and ``ece``.

    Args:
        p: (N, K) probabilities.
        truth: (N,) class indices.
        subjects: (N,) any integers that tell the subjects apart.
    """
    names, codes = np.unique(subjects, return_inverse=True)
    clips = np.bincount(codes, minlength=len(names)).astype(np.float64)
    excess = p.max(axis=1) - (p.argmax(axis=1) == truth)
    columns = {
        "brier": (brier_by_clip(p, truth), (0.0, 2.0), "log"),
        "nll": (nll_by_clip(p, truth), (0.0, np.inf), "log"),
        "overconfidence": (excess, DIFFERENCE_RANGE, "plain"),
    }
    found: Scored = {}
    for name, (by_clip, bounds, scale) in columns.items():
        sums = np.bincount(codes, weights=by_clip, minlength=len(names))
        found[name] = _left_out(sums.sum(), sums.sum() - sums, clips, bounds, scale)
    cells = np.bincount(codes * BINS + bin_of(p.max(axis=1)), weights=excess, minlength=len(names) * BINS)
    by_bin = cells.reshape(len(names), BINS)  # clips times (confidence - accuracy), the sign kept
    gap = np.abs(by_bin.sum(0)).sum()
    found["ece"] = _left_out(gap, np.abs(by_bin.sum(0) - by_bin).sum(1), clips, UNIT_RANGE, "plain")
    return found


def selective_intervals(confidence: Floats, correct: Bools, subjects: Ints) -> Scored:
    """``aurc``, and ``risk_at_coverage.<c>`` of each coverage in ``COVERAGES``.

    A coverage at a risk has no interval: it jumps where a single clip decides whether the risk is met.

    Args:
        confidence: (N,) how sure the model is of each answer; only the order counts.
        correct: (N,) whether the answer is right.
        subjects: (N,) any integers that tell the subjects apart.
    """
    names, codes = np.unique(subjects, return_inverse=True)
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.diff(confidence[order], append=-np.inf) != 0)  # of each group of equally sure clips
    whole = _risks((ends + 1).astype(np.float64), np.cumsum(~correct[order])[ends].astype(np.float64))
    parts = [_risks(*each) for each in _without_each(codes[order], ~correct[order], ends, len(names))]
    without = np.concatenate(parts) if parts else np.empty((0, len(whole)))
    keys = ["aurc", *(f"risk_at_coverage.{coverage}" for coverage in COVERAGES)]
    return {key: (float(whole[at]), jackknife(float(whole[at]), without[:, at])) for at, key in enumerate(keys)}


def _without_each(codes: Ints, wrong: Bools, ends: Ints, n_subjects: int) -> Iterator[tuple[Floats, Floats]]:
    """Answered and wrong clips up to each end without each subject, (subjects at once, ends), from the surest down."""
    total, errors = ends + 1.0, np.cumsum(wrong)[ends].astype(np.float64)
    at_once = max(1, _AT_ONCE // max(len(codes), 1))
    for first in range(0, n_subjects, at_once):
        own = codes == np.arange(first, min(first + at_once, n_subjects))[:, None]
        yield total - np.cumsum(own, axis=1)[:, ends], errors - np.cumsum(own & wrong, axis=1)[:, ends]


def _risks(answered: Floats, wrong: Floats) -> Floats:
    """AURC and the risk at each coverage, (..., 1 + coverages), of counts along the curve (..., P); NaN without a clip.

    The same as :class:`fer_id.evaluation.confidence.selective.RiskCoverage` says of one curve.
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
    """A sum by clips, all in all and without each subject, as means."""
    left = clips.sum() - clips
    means = np.divide(without, left, out=np.full(len(without), np.nan), where=left > 0)
    value = float(whole / clips.sum()) if clips.sum() else float("nan")
    return value, jackknife(value, means, bounds=bounds, scale=scale)
