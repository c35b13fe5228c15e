"""Response surface: contrasts of readers at points of a grid of simulations, which differ in three settings alone.

At every point the same children are made of the same stills, so that points are paired; readers are fitted on the
training clips of a point and judged on its test clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fer_id.evaluation.contrasts import SHOWN, RecallEstimate, Verdict, recall, verdicts
from fer_id.readers.config import ReaderContrast
from fer_id.readers.results import estimates

if TYPE_CHECKING:
    from fer_id.readers.study import ReaderStudy


@dataclass(frozen=True, order=True)
class Point:
    """A point of the grid: the settings of :class:`fer_id.simulation.domain.DomainConfig` that vary."""

    peak: float
    resting: float
    strays: float

    def __str__(self) -> str:
        return f"peak {self.peak:g}, resting {self.resting:g}, strays {self.strays:g}"


Cells = Mapping[Point, Verdict]
"""Verdicts of one contrast by point, corrected for all points of the contrast (Holm)."""


def judge_surface(
    contrasts: Sequence[ReaderContrast], studies: Mapping[Point, ReaderStudy], seeds: Sequence[int], relevant: float
) -> dict[str, Cells]:
    """Judge each contrast on the test clips of each point; the points of a contrast are corrected together."""
    at = {
        point: estimates(contrasts, {contrast.first[0]: study for contrast in contrasts}, seeds)
        for point, study in studies.items()
    }
    judged: dict[str, Cells] = {}
    for contrast in contrasts:
        answers = verdicts({str(point): at[point][contrast.name] for point in studies}, relevant)
        judged[contrast.name] = {point: answers[str(point)] for point in studies}
    return judged


def recalls_at(study: ReaderStudy, readers: Sequence[str], seeds: Sequence[int]) -> dict[str, RecallEstimate]:
    """Estimate the macro recall of each fitted reader on the test clips of a point."""
    return {reader: recall(study.right(reader, seeds, "test"), study.judged("test")) for reader in readers}


def excludes_zero(verdict: Verdict) -> bool:
    """Return True where the 95 % interval of a contrast at one point does not hold 0, corrected for nothing."""
    interval = verdict.estimate.interval()
    return interval.low is not None and interval.high is not None and not interval.low <= 0 <= interval.high


def helps(verdict: Verdict) -> bool:
    """Return True where the first reader of a contrast is shown to be better, corrected for all points."""
    return verdict.answer == SHOWN and verdict.estimate.value > 0
