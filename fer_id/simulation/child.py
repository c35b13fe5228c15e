"""Clips of one simulated child. It imports neither pandas nor SciPy, as every process that simulates
imports it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fer_id.evaluation.config import SPLITS
from fer_id.labels import TARGET
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.drawn.acting import Performance, Row, Subject, perform
from fer_id.simulation.driving import Expression, drive
from fer_id.types import StoredClip

GROUPS = ("age_group", "gender", "severity", "context")
"""Group columns, without ethnicity: a simulated value beside a real face would be visibly false."""

SPEED = {"happy": 1.0, "sad": 1.5, "angry": 0.75, "fear": 0.75, "neutral": 1.0}
"""Factor on the rise by emotion at ``class_speed=1``; an assumption."""


class Role(NamedTuple):
    """Rows of a source's stills for one child: its own face, and by emotion those of its clips and of its own way."""

    split: str
    number: int
    base: int
    clips: dict[str, list[int]]
    way: dict[str, list[int]]

    @property
    def rows(self) -> set[int]:
        """All of them."""
        return {self.base, *(row for part in (self.clips, self.way) for rows in part.values() for row in rows)}


@dataclass(frozen=True)
class Casting:
    """Child with the expressions of its clips, by emotion: the name of the other still, and the expression.

    The subject's ``habits`` are zero, as the expressions are in the stills.
    """

    subject: Subject
    role: Role
    expressions: dict[str, list[tuple[str, Expression]]]


class SimulatedClip(NamedTuple):
    """Clip with its row of the store's table, and the number of its frames with a face that the motion folds over
    itself by more than ``max_fold`` of the picture."""

    row: Row
    clip: StoredClip
    folded: int


def simulate_clip(casting: Casting, emotion: str, number: int, config: DomainConfig) -> SimulatedClip:
    """Simulate one clip and its row of the store's table."""
    name, expression = casting.expressions[emotion][number]
    subject = casting.subject
    act, rng = stage(subject, casting.role.split, emotion, number, config)
    amplitudes = {name: getattr(config, name) for name in ("gaze", "landmark_noise", "noise")}
    clip, folds = drive(expression, act, config.times, rng, **amplitudes)
    row = replace(act, emotion=emotion).row(subject, number, config.fps, GROUPS[:-1])
    row |= {"video_id": name, "source": "simulate", "split": casting.role.split}
    return SimulatedClip(row, clip, int((clip.valid & (folds > config.max_fold)).sum()))


def stage(
    subject: Subject, split: str, emotion: str, number: int, config: DomainConfig
) -> tuple[Performance, np.random.Generator]:
    """Draw the performance of a clip; return it and the random generator for its pictures.

    A neutral clip brings in another neutral still by the same curve as the others their expression.
    """
    seeds = SPLITS.index(split), subject.traits.number, TARGET.index(emotion), number
    rng = np.random.default_rng([config.seed, *seeds])
    own = subject.traits.dynamics
    own = replace(own, rise_s=own.rise_s * SPEED[emotion] ** config.class_speed)
    subject = replace(subject, traits=replace(subject.traits, dynamics=own))
    drawn = "happy" if emotion == "neutral" else emotion
    act = perform(subject, drawn, config.times, rng, 0.0, config.strays, config.contexts, True, config.movements)
    return replace(act, intensity=np.minimum(config.peak * act.intensity, 1.0)), rng


def simulate_child(call: tuple[Casting, DomainConfig]) -> list[SimulatedClip]:
    """Simulate every clip of one child."""
    casting, config = call
    return [
        simulate_clip(casting, emotion, number, config)
        for emotion, expressions in casting.expressions.items()
        for number in range(len(expressions))
    ]
