"""What if a model answers only where it is sure, and a person sees the rest? Risk against coverage.

Clips are answered from the surest down. *Coverage* is the share answered, *risk* the share of wrong among the answered
(El-Yaniv and Wiener, 2010, JMLR 11:1605-1641); clips that are equally sure are answered together, so that nothing
depends on their order. The area under the curve (AURC) is the mean risk over the clips, each at the coverage that
takes it in; beside it stands what the best possible order of the same answers would have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_id.evaluation.scores import Bools, Floats

RISKS = (0.05, 0.1, 0.2)
COVERAGES = (0.5, 0.8, 0.9)


@dataclass(frozen=True)
class RiskCoverage:
    """One point for every distinct confidence, from the surest down; each (P,).

    Attributes:
        threshold: clips at least as sure as this are answered.
        coverage: share answered, rising to 1.
        risk: share of wrong among the answered.
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
        """The largest coverage whose risk is at most this; 0 where there is none."""
        reached = self.coverage[self.risk <= risk + 1e-12]
        return float(reached.max()) if len(reached) else 0.0

    def risk_at(self, coverage: float) -> float:
        """The risk where at least this share is answered, and no more than must be; NaN without a clip."""
        enough = np.flatnonzero(self.coverage >= coverage - 1e-12)
        return float(self.risk[enough[0]]) if len(enough) else float("nan")


def risk_coverage(confidence: Floats, correct: Bools) -> RiskCoverage:
    """The curve.

    Args:
        confidence: (N,) how sure the model is of each answer; only the order counts.
        correct: (N,) whether the answer is right.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_, wrong = confidence[order], np.cumsum(~correct[order])
    last = np.flatnonzero(np.diff(sorted_, append=-np.inf) != 0)  # of each group of equally sure clips
    answered = last + 1.0
    return RiskCoverage(sorted_[last], answered / max(len(confidence), 1), wrong[last] / answered)


def best_aurc(correct: Bools) -> float:
    """The AURC of these answers in the best order, all right ones first; what no confidence can beat."""
    if not len(correct):
        return float("nan")
    risks = np.cumsum(~np.sort(correct)[::-1]) / np.arange(1, len(correct) + 1)
    return float(risks.mean())


def selective_scores(confidence: Floats, correct: Bools) -> dict[str, object]:
    """``aurc``, ``aurc_best``, ``coverage_at_risk`` and ``risk_at_coverage`` (by :data:`RISKS`, :data:`COVERAGES`)."""
    curve = risk_coverage(confidence, correct)
    return {
        "aurc": curve.aurc,
        "aurc_best": best_aurc(correct),
        "coverage_at_risk": {str(risk): curve.coverage_at(risk) for risk in RISKS},
        "risk_at_coverage": {str(coverage): curve.risk_at(coverage) for coverage in COVERAGES},
    }
