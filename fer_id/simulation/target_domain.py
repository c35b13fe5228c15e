"""``fer-id simulate``: clips of simulated children from real stills, with provenance ``simulated``.

A simulated child is one neutral still with made-up traits, which are unrelated to the person in the picture. Intervals
over subjects describe simulated children.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_id.evaluation.config import SPLITS
from fer_id.labels import TARGET
from fer_id.progress import track
from fer_id.simulation import strips
from fer_id.simulation.casting import MIXED, Casting, Role, cast, casting_of, subject_of
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.drawn.acting import FIXED, Performance, Subject, perform
from fer_id.simulation.drawn.clip_store import Row, in_processes
from fer_id.simulation.drawn.rendering import ALIGN_NOISE, HIDDEN
from fer_id.simulation.drawn.traits import SEVERITIES, SPREAD, YOUNG
from fer_id.simulation.driving import drive
from fer_id.simulation.stills import Stills
from fer_id.store.card import SIMULATION, StoreCard
from fer_id.store.writer import ClipStoreWriter
from fer_id.types import StoredClip

GROUPS = ("age_group", "gender", "severity", "context")
"""Group columns, without ethnicity: a simulated value beside a real face would be visibly false."""

SPEED = {"happy": 1.0, "sad": 1.5, "angry": 0.75, "fear": 0.75, "neutral": 1.0}
"""Factor on the rise by emotion at ``class_speed=1``; an assumption."""


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


def write_simulated_store(
    stills: Stills,
    config: DomainConfig,
    out: Path,
    *,
    roles: Sequence[Role] | None = None,
    overwrite: bool = False,
    workers: int = 0,
) -> StoreCard:
    """Simulate every child, or those of ``roles``, into a ClipStore at ``out``; identical for any number of workers.

    StoreError: ``out`` exists, or cannot be written.
    """
    roles = list(cast(stills, config) if roles is None else roles)
    calls = ((casting_of(stills, config, role), config) for role in roles)
    simulated = in_processes(_simulate_subject, calls, len(roles), workers)
    with ClipStoreWriter(out, _card(stills, config, roles), overwrite=overwrite) as writer:
        lost = folds = 0
        for clips in track(simulated, "simulating children", len(roles)):
            for row, clip, folded in clips:
                writer.add_clip(row, clip.frames, clip.landmarks, clip.valid)
                lost, folds = lost + int((~clip.valid).sum()), folds + folded
        film_strips(stills, config, roles, writer.draft / "strips.png")
        writer.card.audit = {
            "stills_left_out": {**stills.left_out},
            "stills_obstructed": {**stills.obstructed},
            "frames_without_face": lost,
            "frames_folded": folds,
        }
        return writer.card


def film_strips(stills: Stills, config: DomainConfig, roles: list[Role], out: Path) -> Path:
    """Write strips for visual inspection into the PNG ``out``: a test child of each severity, the first two clips of
    each emotion."""
    frames, most = strips.strip_frames(config.frames), min(2, config.clips_per_emotion)
    tested = [role for role in roles if role.split == "test"]
    people = {role.number: subject_of(role.split, role.number, config, stills.tag).traits for role in tested}
    by_severity = {people[role.number].severity: role for role in reversed(tested)}
    chosen = [by_severity[severity] for severity in SEVERITIES if severity in by_severity]
    castings = [casting_of(stills, config, role) for role in chosen]
    rows = []
    for emotion, number in product(TARGET.names, range(most)):
        clips = [simulate_clip(casting, emotion, number, config) for casting in castings]
        rows.append([strips.film(clip.frames[frames], np.array(row["intensity"])[frames]) for row, clip, _ in clips])
    caption = "simulated: an expression brought into a neutral still; the line is e(t); black: no face"
    return strips.draw(rows, [people[role.number] for role in chosen], caption, out)


def _simulate_subject(call: tuple[Casting, DomainConfig]) -> list[SimulatedClip]:
    casting, config = call
    return [
        simulate_clip(casting, emotion, number, config)
        for emotion, expressions in casting.expressions.items()
        for number in range(len(expressions))
    ]


def _card(stills: Stills, config: DomainConfig, roles: list[Role]) -> StoreCard:
    source, names = stills.store, stills.store.clips["clip_id"]
    used = {split: set[int]().union(*(role.rows for role in roles if role.split == split)) for split in SPLITS}
    return StoreCard(
        provenance="simulated",
        label_space=TARGET.name,
        shard_by="subject_id",
        source="simulate",
        geometry=source.card.geometry,
        parameters={
            **asdict(config),
            "simulation": SIMULATION,
            "stills": {split: sorted(map(str, names.iloc[sorted(rows)])) for split, rows in used.items()},
            "between_subjects": SPREAD,
            "youngest": YOUNG,
            "fixed": {**FIXED, "align_noise": ALIGN_NOISE, "hidden": HIDDEN, "mixed": MIXED, "speed": SPEED},
            "from": source.card.source,
            "from_fingerprint": source.fingerprint,
            "neutral_faces_learned_from": stills.taught,
        },
        versions={name: version(name) for name in ("numpy", "opencv-python-headless")},
        groups=list(GROUPS),
        landmarks_from=source.card.landmarks_from,
        notes=[
            "Simulated: expressions of stills brought into other people's neutral stills. A subject is a neutral still "
            "with made-up traits, so a score says nothing about children, and an interval describes simulated ones."
        ],
    )
