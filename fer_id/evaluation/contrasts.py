"""Macro recall and its differences on clips that are clustered in two ways, over several trainings, and their power.

A simulated clip shows one child's face (the base, ``subject_id``) driven by one still (``video_id``); clips of the same
base resemble each other, and so do clips of the same still. The sampling variance is that of Cameron, Gelbach and
Miller (2011, doi:10.1198/jbes.2010.07136): clustered by base, plus by still, minus by both at once; never below either
one-way variance (MacKinnon, Nielsen and Webb 2021). To it is added the spread of the difference between trainings over
their number, since another training would differ. Macro recall is a mean of ratios, so clips enter by their influence
``(x - mean of x in the class) / (K * clips of the class)``. Student's t has the fewer clusters - 1 degrees of freedom,
joined with those of the trainings (Satterthwaite).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fer_id.evaluation.intervals import LEVEL, Interval
from fer_id.evaluation.paired import holm
from fer_id.evaluation.scores import Floats, Ints
from fer_id.labels import LabelSpace

ALPHA, POWER = 1 - LEVEL, 0.8
SHOWN, SMALLER, UNDECIDED = "shown", "shown to be smaller", "undecided"
_NOTHING = 1e-24
"""Variance below which clips do not differ but for rounding."""


@dataclass(frozen=True)
class Clips:
    """Classes and clusters of N labelled clips."""

    truth: Ints  # (N,) class indices; every class from 0 to its largest has a clip
    bases: Ints  # (N,) codes of the subjects
    stills: Ints  # (N,) codes of the stills that drive the clips

    @classmethod
    def of(cls, truth: Ints, bases: Sequence[str], stills: Sequence[str]) -> Clips:
        """Return the clips with the names of bases and stills as codes."""
        codes = [np.unique(np.asarray(names, dtype=str), return_inverse=True)[1] for names in (bases, stills)]
        return cls(np.unique(truth, return_inverse=True)[1], *codes)

    @classmethod
    def of_table(cls, rows: pd.DataFrame, labels: LabelSpace) -> Clips:
        """Return the labelled clips of a store's table; one that no still drives is a cluster of its own."""
        still = rows["video_id"].where(rows["video_id"].notna(), rows["clip_id"])
        truth = np.array([labels.index(label) for label in rows["label"]])
        return cls.of(truth, rows["subject_id"].astype(str).tolist(), still.astype(str).tolist())

    @property
    def clusters(self) -> tuple[Ints, Ints, Ints]:
        """Codes by base, by still, and by both, each (N,)."""
        both = np.unique(self.bases * (self.stills.max(initial=0) + 1) + self.stills, return_inverse=True)[1]
        return self.bases, self.stills, both

    @property
    def fewest(self) -> int:
        """Number of bases or of stills, the smaller one."""
        return min(len(np.unique(self.bases)), len(np.unique(self.stills)))


@dataclass(frozen=True)
class RecallEstimate:
    """Macro recall, or a difference of two, over R trainings: mean, and the two parts of its variance.

    ``sampling`` is the variance from the drawing of clips, NaN with fewer than two clusters; ``training`` that from the
    drawing of trainings, None with a single one.
    """

    value: float
    sampling: float
    training: float | None
    clusters: int
    trainings: int

    @property
    def error(self) -> float:
        """Standard error."""
        return float(np.sqrt(self.sampling + (self.training or 0.0)))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the standard error."""
        if not self.training:
            return float(self.clusters - 1)
        parts = self.sampling**2 / (self.clusters - 1) + self.training**2 / (self.trainings - 1)
        return float((self.sampling + self.training) ** 2 / parts)

    @property
    def why_not(self) -> str | None:
        """Reason why there is neither interval nor test; None where there are both."""
        if self.clusters < 2 or np.isnan(self.sampling):
            return "fewer than two bases or stills"
        return "every clip scores alike, so the spread is unknown" if self.error**2 < _NOTHING else None

    @property
    def p(self) -> float:
        """Two-sided p of Student's t against 0; NaN where undefined."""
        return float("nan") if self.why_not else float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))

    def interval(self, tests: int = 1) -> Interval:
        """Return the 95 % interval; of several ``tests`` the one that holds for all at once (Bonferroni)."""
        if reason := self.why_not:
            return Interval.undefined(reason, self.clusters)
        margin = float(stats.t.ppf(1 - ALPHA / 2 / tests, self.freedom)) * self.error
        low, high = np.clip([self.value - margin, self.value + margin], -1, 1)
        return Interval(float(low), float(high), "two-way clustered t", self.clusters)

    def detectable(self, tests: int = 1) -> float:
        """Return the smallest true difference that a two-sided test at .05 finds with 80 % power; of several ``tests``
        in the strictest step of Holm's correction. NaN where undefined."""
        if self.why_not:
            return float("nan")
        critical = stats.t.ppf(1 - ALPHA / 2 / tests, self.freedom) + stats.t.ppf(POWER, self.freedom)
        return float(critical * self.error)


@dataclass(frozen=True)
class Verdict:
    """The result of one of several contrasts: ``answer`` is ``SHOWN`` (corrected p below .05), ``SMALLER`` (the true
    difference is smaller than ``bound``, which is at most what is relevant) or ``UNDECIDED``. ``bound`` is the far end
    of the interval that holds for all contrasts at once; NaN where undefined."""

    estimate: RecallEstimate
    p_holm: float
    bound: float
    answer: str


def recall(right: Floats, clips: Clips) -> RecallEstimate:
    """Estimate macro recall from correctness (R, N) in [0, 1] by training and clip, 0 without a prediction."""
    influence = _influence(right.mean(0), clips.truth)
    by_training = _macro(right, clips.truth)
    spread = float(by_training.var(ddof=1)) / len(right) if len(right) > 1 else None
    return RecallEstimate(float(by_training.mean()), _variance(influence, clips), spread, clips.fewest, len(right))


def recall_difference(right: Floats, other: Floats, clips: Clips) -> RecallEstimate:
    """Estimate the difference in macro recall of two classifiers on the same clips, from correctness (R, N) of each.

    Trainings are paired by their seed; a classifier that depends on no seed has one row, which stands for all.
    """
    return recall(right - other, clips)


def verdicts(estimates: Mapping[str, RecallEstimate], relevant: float) -> dict[str, Verdict]:
    """Judge a family of contrasts: p by Holm, ``relevant`` the smallest difference that would matter."""
    adjusted = holm({name: estimate.p for name, estimate in estimates.items()})
    return {name: _verdict(estimate, adjusted[name], len(estimates), relevant) for name, estimate in estimates.items()}


def planned(pilot: Floats, clips: Clips, judged: Clips) -> RecallEstimate:
    """Predict the error of a contrast on the clips ``judged`` from the correctness differences (R, N) of a pilot on
    ``clips``: the variance of each class shrinks with the number of its stills. ``value`` is the pilot's.

    NaN where a class has fewer than two stills in the pilot.
    """
    mean, known = pilot.mean(0), recall(pilot, clips)
    total, influence = 0.0, _influence(mean, clips.truth)
    for label in np.unique(judged.truth):
        before, after = (len(np.unique(part.stills[part.truth == label])) for part in (clips, judged))
        own = _variance(np.where(clips.truth == label, influence, 0.0), clips)
        total += own * before / after if before > 1 else float("nan")
    return RecallEstimate(known.value, total, known.training, judged.fewest, known.trainings)


def _verdict(estimate: RecallEstimate, p_holm: float, tests: int, relevant: float) -> Verdict:
    extent = estimate.interval(tests)
    if extent.low is None or extent.high is None:
        return Verdict(estimate, p_holm, float("nan"), UNDECIDED)
    bound = max(abs(extent.low), abs(extent.high))
    answer = SHOWN if p_holm < ALPHA else SMALLER if bound <= relevant else UNDECIDED
    return Verdict(estimate, p_holm, bound, answer)


def _macro(values: Floats, truth: Ints) -> Floats:
    """Return the mean over classes of the mean over clips, (R, N) -> (R,)."""
    return np.asarray(np.stack([values[:, truth == label].mean(1) for label in np.unique(truth)]).mean(0))


def _influence(values: Floats, truth: Ints) -> Floats:
    """Return the influence (N,) of each clip on the macro mean."""
    counts = np.bincount(truth)
    means = np.bincount(truth, weights=values) / np.maximum(counts, 1)
    return np.asarray((values - means[truth]) / (np.count_nonzero(counts) * counts[truth]))


def _variance(influence: Floats, clips: Clips) -> float:
    """Return the two-way clustered variance of a sum of influences (N,)."""
    by_base, by_still, by_both = (_one_way(influence, codes) for codes in clips.clusters)
    return max(by_base + by_still - by_both, by_base, by_still)


def _one_way(influence: Floats, codes: Ints) -> float:
    sums = np.bincount(codes, weights=influence)
    groups = len(np.unique(codes))
    return float("nan") if groups < 2 else float(groups / (groups - 1) * np.square(sums).sum())
