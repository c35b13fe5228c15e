"""The shapes of a run's ``explain.json`` and ``controls.json``, which somebody may have edited."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from fer_id.evaluation.controls import CHOSEN, MEAN, TESTED, WHOLE
from fer_id.explain.verdicts import DECISIVE
from fer_id.runs.records import Part, Provenance, Share
from fer_id.shapes import Count, Number, Text, one_of


class Extent(Part):
    """An interval, or the reason why there is none."""

    low: Number | None
    high: Number | None
    reason: Text | None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high, or neither")
        return self


class Estimate(Extent):
    """A value with its interval; null where it is undefined."""

    value: Number | None


class Check(Part):
    """The result of one sanity check of attribution maps."""

    passed: bool | None


class Explanation(Part):
    """``explain/explain.json``, as pages, the gate and the card read it."""

    n_clips: Count
    left_out: dict[str, Count]
    leakage: Estimate
    regions: dict[str, Estimate]
    by_method: dict[str, Estimate]
    checks: dict[str, Check]
    failed: list[Annotated[Text, one_of(DECISIVE)]]
    undecided: list[Text]
    provenance: Provenance | None = None


class Score(Extent):
    """An accuracy with its interval."""

    value: Share


class Difference(Extent):
    """Whole clips minus a control, in accuracy."""

    difference: Number
    p: Share | None
    p_holm: Share | None


class Answered(Part):
    """Right answers of each subject, of all controls."""

    subjects: list[Text]
    clips: list[Count]
    right: dict[str, list[Number]]

    @model_validator(mode="after")
    def _is_aligned(self) -> Self:
        if {len(self.clips), *map(len, self.right.values())} != {len(self.subjects)}:
            raise ValueError("as many clips and right answers as subjects")
        return self


class Bin(Part):
    """Clips that are alike in how strongly or how late they show the emotion."""

    n_clips: Count
    n_subjects: Count
    accuracy: dict[str, Score]
    first: Number = Field(alias="from")
    last: Number = Field(alias="to")


class Bins(Part):
    """Accuracy by the strength or the delay of the expression; null where a clip's intensity is not recorded."""

    bins: Annotated[list[Bin], Field(min_length=1)] | None


class ControlScores(Part):
    """``controls.json`` of one training, or the means of several."""

    provenance: Provenance
    model: Text
    head: Text
    n_clips: Count
    n_subjects: Count
    accuracy: dict[str, Score]
    against_whole_clip: dict[str, Difference]
    by_frame: dict[str, list[Number]]
    peak: Bins
    delay: Bins


class Controls(ControlScores):
    """``controls.json``."""

    per_subject: Answered

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        bins = [*(self.peak.bins or []), *(self.delay.bins or [])]
        if {*self.per_subject.right} != {*self.accuracy} or {*self.against_whole_clip} != {*TESTED}:
            raise ValueError(f"the same controls in accuracy and per_subject, {', '.join(TESTED)} against_whole_clip")
        if any({*each.accuracy} != {WHOLE, MEAN, CHOSEN} for each in bins):
            raise ValueError(f"{WHOLE}, {MEAN} and {CHOSEN} in each bin")
        if (self.peak.bins is None) != (self.delay.bins is None) or len(self.by_frame) != 2:
            raise ValueError("bins of both peak and delay, or of neither, and two readers in by_frame")
        return self
