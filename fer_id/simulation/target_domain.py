"""``fer-id simulate``: clips of simulated subjects from real stills, with provenance ``simulated``.

A simulated subject is a seeded group of stills of one split, with simulated traits that are unrelated to the people in
the pictures. Intervals over subjects describe simulated subjects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_id.evaluation.config import SPLITS
from fer_id.labels import TARGET
from fer_id.progress import track
from fer_id.simulation import strips
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.drawn.acting import FIXED, Performance, Subject, perform
from fer_id.simulation.drawn.clip_store import Row, in_processes
from fer_id.simulation.drawn.expression import ACTION_UNITS
from fer_id.simulation.drawn.rendering import ALIGN_NOISE, HIDDEN
from fer_id.simulation.drawn.traits import LEAST_PEAK, SEVERITIES, SPREAD, YOUNG, sample_look, sample_traits
from fer_id.simulation.driving import Still, drive
from fer_id.simulation.stills import Stills
from fer_id.store.card import StoreCard
from fer_id.store.writer import ClipStoreWriter
from fer_id.types import StoredClip

GROUPS = ("age_group", "gender", "severity", "context")
"""Group columns, without ethnicity: a simulated value beside a real face would be visibly false."""


class SimulatedClip(NamedTuple):
    """Clip with its row of the store's table, and the number of its frames with a face that the motion folds over
    itself by more than ``max_fold`` of the picture."""

    row: Row
    clip: StoredClip
    folded: int


@dataclass(frozen=True)
class Casting:
    """Simulated subject with its stills, all of one split: emotion -> (name, still) of each clip.

    The ``habits`` of the subject are zero, as the expression is in the stills.
    """

    subject: Subject
    split: str
    stills: dict[str, list[tuple[str, Still]]]


def cast(stills: Stills, config: DomainConfig) -> Iterator[tuple[str, int, dict[str, list[int]]]]:
    """Yield split, number and rows by emotion of each subject; every still is used at most once."""
    for place, split in enumerate(SPLITS):
        rng = np.random.default_rng([config.seed, place])
        shuffled = {name: rng.permutation(rows) for name, rows in stills.rows[split].items()}
        available = min(len(rows) for rows in shuffled.values()) // config.clips_per_emotion
        for number in range(min(available, config.subjects) if config.subjects else available):
            part = slice(number * config.clips_per_emotion, (number + 1) * config.clips_per_emotion)
            yield split, number, {name: rows[part].tolist() for name, rows in shuffled.items()}


def subject_of(split: str, number: int, config: DomainConfig, tag: str = "") -> Subject:
    """Draw a simulated subject, a function of the seed, the split and the number; ``tag`` is part of its name."""
    rng = np.random.default_rng([config.seed, SPLITS.index(split), number])
    drawn = sample_traits(number, config.seed, rng, config.degrees, config.parts.tolist(), config.gaps)
    own, sign = drawn.dynamics, 1 if drawn.gender == "female" else -1
    late = 1 + config.gaps * (config.young_onset - 1) if drawn.age_group == "05-08" else 1.0
    own = replace(
        own,
        peak=float(np.clip(own.peak + config.gaps * sign * config.gender_peak / 2, LEAST_PEAK, 1)),
        onset_s=own.onset_s * late,
    )
    traits = replace(drawn, subject_id=f"sim{tag}{config.seed}-{split}-{number:03d}", dynamics=own)
    units = len(ACTION_UNITS)
    still_face = {name: np.zeros(units) for name in TARGET.names}
    look = sample_look(drawn.age_group, drawn.gender, drawn.ethnicity, rng)
    return Subject(traits, look, np.zeros(units), still_face, np.ones((2, units)))


def simulate_clip(casting: Casting, emotion: str, number: int, config: DomainConfig) -> SimulatedClip:
    """Simulate one clip and its row of the store's table."""
    name, still = casting.stills[emotion][number]
    act, rng = stage(casting, emotion, number, config)
    amplitudes = {name: getattr(config, name) for name in ("gaze", "landmark_noise", "noise")}
    clip, folds = drive(still, act, config.times, rng, **amplitudes)
    intensity = np.zeros_like(act.intensity) if emotion == "neutral" else act.intensity
    row = replace(act, emotion=emotion, intensity=intensity).row(casting.subject, number, config.fps, GROUPS[:-1])
    row |= {"video_id": name, "source": "simulate", "split": casting.split}
    return SimulatedClip(row, clip, int((clip.valid & (folds > config.max_fold)).sum()))


def stage(casting: Casting, emotion: str, number: int, config: DomainConfig) -> tuple[Performance, np.random.Generator]:
    """Draw the performance of a clip; return it and the random generator for its pictures.

    A neutral face follows the same intensity curve as the others, from the estimated rest to the picture and back, so
    that warping does not disclose the label.
    """
    subject = casting.subject
    seeds = SPLITS.index(casting.split), subject.traits.number, TARGET.index(emotion), number
    rng = np.random.default_rng([config.seed, *seeds])
    drawn = "happy" if emotion == "neutral" else emotion
    act = perform(subject, drawn, config.times, rng, 0.0, config.strays, config.contexts, interrupting=True)
    return act, rng


def write_simulated_store(
    stills: Stills, config: DomainConfig, out: Path, *, overwrite: bool = False, workers: int = 0
) -> StoreCard:
    """Simulate every subject into a ClipStore at ``out``; identical for any number of workers.

    StoreError: ``out`` exists, or cannot be written.
    """
    castings = list(cast(stills, config))
    calls = ((casting_of(stills, config, *deal), config) for deal in castings)
    simulated = in_processes(_simulate_subject, calls, len(castings), workers)
    with ClipStoreWriter(out, _card(stills, config), overwrite=overwrite) as writer:
        lost = folds = 0
        for clips in track(simulated, "simulating subjects", len(castings)):
            for row, clip, folded in clips:
                writer.add_clip(row, clip.frames, clip.landmarks, clip.valid)
                lost, folds = lost + int((~clip.valid).sum()), folds + folded
        film_strips(stills, config, writer.draft / "strips.png")
        writer.card.audit = {
            "stills_left_out": {**stills.left_out},
            "frames_without_face": lost,
            "frames_folded": folds,
        }
        return writer.card


def film_strips(stills: Stills, config: DomainConfig, out: Path) -> Path:
    """Write strips for visual inspection into the PNG ``out``: a test subject of each severity, the first two clips of
    each emotion."""
    frames, most = strips.strip_frames(config.frames), min(2, config.clips_per_emotion)
    people = [casting_of(stills, config, *deal) for deal in cast(stills, config) if deal[0] == "test"]
    by_severity = {person.subject.traits.severity: person for person in reversed(people)}
    chosen = [by_severity[severity] for severity in SEVERITIES if severity in by_severity]
    rows = []
    for emotion, number in product(TARGET.names, range(most)):
        clips = [simulate_clip(person, emotion, number, config) for person in chosen]
        rows.append([strips.film(clip.frames[frames], np.array(row["intensity"])[frames]) for row, clip, _ in clips])
    caption = "simulated: real stills in made-up motion; the line is the intensity e(t) (neutral: none); black: no face"
    return strips.draw(rows, [person.subject.traits for person in chosen], caption, out)


def casting_of(stills: Stills, config: DomainConfig, split: str, number: int, rows: dict[str, list[int]]) -> Casting:
    """Build a simulated subject and read its stills."""
    names = stills.store.clips["clip_id"]
    named = {emotion: [(str(names.iloc[row]), stills.still(row)) for row in part] for emotion, part in rows.items()}
    return Casting(subject_of(split, number, config, stills.tag), split, named)


def _simulate_subject(call: tuple[Casting, DomainConfig]) -> list[SimulatedClip]:
    casting, config = call
    return [
        simulate_clip(casting, emotion, number, config)
        for emotion, stills in casting.stills.items()
        for number in range(len(stills))
    ]


def _card(stills: Stills, config: DomainConfig) -> StoreCard:
    source = stills.store
    return StoreCard(
        provenance="simulated",
        label_space=TARGET.name,
        shard_by="subject_id",
        source="simulate",
        geometry=source.card.geometry,
        parameters={
            **asdict(config),
            "between_subjects": SPREAD,
            "youngest": YOUNG,
            "fixed": {**FIXED, "align_noise": ALIGN_NOISE, "hidden": HIDDEN},
            "from": source.card.source,
            "from_fingerprint": source.fingerprint,
            "neutral_faces_learned_from": stills.taught,
        },
        versions={name: version(name) for name in ("numpy", "opencv-python-headless")},
        groups=list(GROUPS),
        landmarks_from=source.card.landmarks_from,
        notes=[
            "Simulated: real stills in made-up motion. Subjects are groups of stills with made-up traits, so a score "
            "says nothing about children, and an interval describes simulated subjects."
        ],
    )
