"""Selective prediction: risk-coverage curve, its area (AURC), and risk at a coverage.

Clips are answered in order of confidence, the most confident first. *Coverage* is the share of answered clips, *risk*
the share of errors among them (El-Yaniv and Wiener, 2010, JMLR 11:1605-1641); clips with equal confidence are answered
together, so the result does not depend on their order. The area under the curve (AURC) is the mean over clips of the
risk at the coverage that first includes the clip; it is compared with the AURC of the best order of the same answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fer_id.evaluation.intervals import Scored, jackknife
from fer_id.evaluation.scores import Bools, Floats, Ints

RISKS = (0.05, 0.1, 0.2)
COVERAGES = (0.5, 0.8, 0.9)

_AT_ONCE = 2_000_000  # clips times subjects held in memory together


@dataclass(frozen=True)
class RiskCoverage:
    """Risk-coverage curve with one point per distinct confidence, in descending order; each (P,)."""

    threshold: Floats  # lowest confidence of an answered clip
    coverage: Floats  # share of answered clips, rising to 1
    risk: Floats  # share of errors among the answered clips

    @property
    def aurc(self) -> float:
        """Area under the curve, in [0, 1], 0 best; NaN without a clip."""
        if not len(self.risk):
            return float("nan")
        return float((np.diff(self.coverage, prepend=0.0) * self.risk).sum())

    def coverage_at(self, risk: float) -> float:
        """Return the largest coverage whose risk is at most ``risk``; 0 where there is none."""
        reached = self.coverage[self.risk <= risk + 1e-12]
        return float(reached.max()) if len(reached) else 0.0

    def risk_at(self, coverage: float) -> float:
        """Return the risk at the smallest coverage of at least ``coverage``; NaN without a clip."""
        enough = np.flatnonzero(self.coverage >= coverage - 1e-12)
        return float(self.risk[enough[0]]) if len(enough) else float("nan")


def risk_coverage(confidence: Floats, correct: Bools) -> RiskCoverage:
    """Compute the risk-coverage curve of answers (N,), of whose confidence only the order counts."""
    order = np.argsort(-confidence, kind="stable")
    sorted_, wrong = confidence[order], np.cumsum(~correct[order])
    last = np.flatnonzero(np.diff(sorted_, append=-np.inf) != 0)  # last clip of each distinct confidence
    answered = last + 1.0
    return RiskCoverage(sorted_[last], answered / max(len(confidence), 1), wrong[last] / answered)


def best_aurc(correct: Bools) -> float:
    """Compute the AURC of these answers in the best order, all right ones first: a lower bound for any confidence."""
    if not len(correct):
        return float("nan")
    risks = np.cumsum(~np.sort(correct)[::-1]) / np.arange(1, len(correct) + 1)
    return float(risks.mean())


def selective_scores(confidence: Floats, correct: Bools) -> dict[str, object]:
    """Compute ``aurc``, ``aurc_best``, ``coverage_at_risk`` and ``risk_at_coverage`` (see ``RISKS``, ``COVERAGES``)."""
    curve = risk_coverage(confidence, correct)
    return {
        "aurc": curve.aurc,
        "aurc_best": best_aurc(correct),
        "coverage_at_risk": {str(risk): curve.coverage_at(risk) for risk in RISKS},
        "risk_at_coverage": {str(coverage): curve.risk_at(coverage) for coverage in COVERAGES},
    }


def selective_intervals(confidence: Floats, correct: Bools, subjects: Ints) -> Scored:
    """Compute ``aurc``, and ``risk_at_coverage.<c>`` of each coverage in ``COVERAGES``, with intervals.

    The score is computed without each subject, of (N,) integer identifiers, as for calibration. The coverage at a risk
    has no interval: it jumps where a single clip decides whether the risk is met.
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

    The vectorised form of :class:`RiskCoverage`; NaN without a clip.
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
