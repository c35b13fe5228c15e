"""Does a confidence of 80 % mean right in 80 % of the cases?

Reliability in ``BINS`` = 15 equal-width bins of the top probability, and the expected calibration error (ECE): the mean
over clips of |accuracy - confidence| of their bin (Guo et al. 2017, arXiv:1706.04599). Bins are [low, high), the last
one closed, as in torchmetrics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_id.evaluation.scores import Bools, Floats

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Counts, mean confidence and accuracy by bin, each (bins,); the two means are NaN in an empty bin."""

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
    """Bin the clips by their top probability.

    Args:
        confidence: (N,) the probability of the predicted class, in [0, 1].
        correct: (N,) whether the prediction is right.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins).astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, weights=confidence, minlength=bins) / counts
        accuracy = np.bincount(index, weights=correct.astype(np.float64), minlength=bins) / counts
    return Reliability(edges, counts, mean_confidence, accuracy)
