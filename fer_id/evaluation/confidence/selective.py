"""Selective prediction: risk-coverage curve, its area (AURC), and risk at a coverage.

Clips are answered in order of confidence, the most confident first. *Coverage* is the share of answered clips, *risk*
the share of errors among them (El-Yaniv and Wiener, 2010, JMLR 11:1605-1641); clips with equal confidence are answered
together, so the result does not depend on their order. The area under the curve (AURC) is the mean over clips of the
risk at the coverage that first includes the clip; it is compared with the AURC of the best order of the same answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_id.evaluation.scores import Bools, Floats

RISKS = (0.05, 0.1, 0.2)
COVERAGES = (0.5, 0.8, 0.9)


@dataclass(frozen=True)
class RiskCoverage:
    """Risk-coverage curve with one point per distinct confidence, in descending order; each (P,).

    Attributes:
        threshold: lowest confidence of an answered clip.
        coverage: share of answered clips, rising to 1.
        risk: share of errors among the answered clips.
    """

    threshold: Floats
    coverage: Floats
    risk: Floats

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
    """Compute the risk-coverage curve.

    Args:
        confidence: (N,) confidence in each answer; only the order counts.
        correct: (N,) True where the answer is right.
    """
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
