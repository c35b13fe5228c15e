"""Choice between two runs by the negative log-likelihood (NLL) of their inner-validation clips, paired clip by clip.

Test rows are not read, so that a choice can be made before anything is judged on them. Where two runs differ little, a
paired NLL shows it on several times fewer clips than an accuracy, which changes only where an answer does. The standard
error is over subjects: clips of a subject, or near-identical pictures of a group, count as one draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fer_id.evaluation.confidence.calibration import nll_by_clip
from fer_id.evaluation.predictions import class_columns, class_indices
from fer_id.labels import LabelSpace

BETTER_SE = 2.0
"""Standard errors from which on one run is better than another."""


@dataclass(frozen=True)
class LossDifference:
    """Mean over clips of a run's NLL minus the reference's (nats; below 0: the run is better), its standard error over
    subjects (NaN with fewer than two), and the number of clips."""

    value: float
    error: float
    clips: int

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``not shown`` where the difference is below :data:`BETTER_SE` standard errors."""
        if not abs(self.value) >= BETTER_SE * self.error or not self.value:
            return "not shown"
        return "better" if self.value < 0 else "worse"


def validation_losses(predictions: pd.DataFrame, labels: LabelSpace) -> pd.DataFrame:
    """Return ``nll`` and ``subject_id`` of the labelled inner-validation clips with a prediction, by (fold, clip_id).

    ``predictions`` are those of a run; the probabilities are the raw ones, as inner validation fits the temperature.
    """
    known = (predictions["split"] == "validation") & predictions["label"].notna() & predictions["predicted"].notna()
    rows = predictions[known]
    truth = class_indices(rows["label"], labels)
    table = rows[["fold", "clip_id", "subject_id"]].astype(str)
    return table.assign(nll=nll_by_clip(class_columns(rows, labels, "p"), truth)).set_index(["fold", "clip_id"])


def loss_difference(run: pd.DataFrame, reference: pd.DataFrame) -> LossDifference | None:
    """Return the difference of two runs' :func:`validation_losses`; None where their clips are not the same.

    The standard error is the linearised one of a mean over clusters: of the S subjects' sums of deviations from the
    mean, ``sqrt(S / (S - 1) sum_s (sum_i (d_i - d))^2) / N``.
    """
    if run.empty or not run.index.is_unique or not run.index.sort_values().equals(reference.index.sort_values()):
        return None
    difference = run["nll"] - reference["nll"].reindex(run.index)
    value, clips = float(difference.mean()), len(difference)
    sums = (difference - value).groupby(run["subject_id"]).sum().to_numpy()
    number = len(sums)
    error = float(np.sqrt(number / (number - 1) * (sums**2).sum()) / clips) if number > 1 else float("nan")
    return LossDifference(value, error, clips)
