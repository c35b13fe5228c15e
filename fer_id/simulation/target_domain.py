"""``fer-id simulate``: real stills become clips of simulated subjects, provenance ``simulated``.

A simulated subject is a seeded group of stills of one split, with traits of its own that have nothing to do with the
people in the pictures. Intervals over them describe simulated subjects.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_id.evaluation.config import SPLITS
from fer_id.labels import TARGET
from fer_id.progress import track
from fer_id.simulation import strips
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.drawn.acting import FIXED, Performance, Subject, perform
from fer_id.simulation.drawn.expression import ACTION_UNITS
from fer_id.simulation.drawn.look import sample_look
from fer_id.simulation.drawn.rendering import ALIGN_NOISE, HIDDEN
from fer_id.simulation.drawn.traits import LEAST_PEAK, SEVERITIES, SPREAD, YOUNG, sample_traits
from fer_id.simulation.driving import Still, drive
from fer_id.simulation.stills import Stills
from fer_id.store.card import StoreCard
from fer_id.store.writer import ClipStoreWriter
from fer_id.types import StoredClip

GROUPS = ("age_group", "gender", "severity", "context")
"""Group columns; ethnicity is not among them: a made-up one beside a real face would be a lie one could see."""


class Made(NamedTuple):
    """A clip, its row of the store's table, and how many of its frames fold over by more than ``max_fold``."""

    row: dict[str, Any]
    clip: StoredClip
    folded: int


@dataclass(frozen=True)
class Casting:
    """A simulated subject and the stills it is made of.

    Attributes:
        subject: who; the expression is not in its ``habits`` but in the stills.
        split: where all its stills come from.
        stills: emotion -> a still per clip, with the name of each.
    """

    subject: Subject
    split: str
    stills: dict[str, list[tuple[str, Still]]]


def cast(stills: Stills, config: DomainConfig) -> Iterator[tuple[str, int, dict[str, list[int]]]]:
    """Deals the stills of each split out to subjects: split, number, and the rows of each emotion; none twice."""
    for which, split in enumerate(SPLITS):
        rng = np.random.default_rng([config.seed, which])
        shuffled = {name: rng.permutation(rows) for name, rows in stills.rows[split].items()}
        most = min(len(rows) for rows in shuffled.values()) // config.clips_per_emotion
        for number in range(min(most, config.subjects) if config.subjects else most):
            mine = slice(number * config.clips_per_emotion, (number + 1) * config.clips_per_emotion)
            yield split, number, {name: rows[mine].tolist() for name, rows in shuffled.items()}


def subject_of(split: str, number: int, config: DomainConfig, tag: str = "") -> Subject:
    """The traits of a simulated subject; a function of the seed, the split and the number. ``tag`` is in its name."""
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


def simulate_clip(casting: Casting, emotion: str, number: int, config: DomainConfig) -> Made:
    """One clip and its row of the store's table."""
    traits = casting.subject.traits
    name, still = casting.stills[emotion][number]
    act, rng = stage(casting, emotion, number, config)
    shown = {name: getattr(config, name) for name in ("gaze", "landmark_noise", "noise")}
    clip, folds = drive(still, act, config.times, rng, **shown)
    intensity = np.zeros_like(act.intensity) if emotion == "neutral" else act.intensity
    row = {
        "clip_id": f"{traits.subject_id}-{emotion}-{number:02d}",
        "subject_id": traits.subject_id,
        "label": emotion,
        "video_id": name,
        "t0_s": 0.0,
        "fps": config.fps,
        "source": "simulate",
        "split": casting.split,
        "intensity": intensity.tolist(),
        "age_group": traits.age_group,
        "gender": traits.gender,
        "severity": traits.severity,
        "context": act.context,
    }
    return Made(row, clip, int((clip.valid & (folds > config.max_fold)).sum()))


def stage(casting: Casting, emotion: str, number: int, config: DomainConfig) -> tuple[Performance, np.random.Generator]:
    """What happens in a clip, and the randomness left for its pictures.

    A neutral face goes through the same curve as the others, from the model's rest to the picture and back: that the
    picture is warped never tells the label.
    """
    subject = casting.subject
    place = int(subject.traits.subject_id.rsplit("-", 1)[1])
    rng = np.random.default_rng([config.seed, SPLITS.index(casting.split), place, TARGET.index(emotion), number])
    drawn = "happy" if emotion == "neutral" else emotion
    contexts = config.contexts
    act = perform(subject, drawn, config.times, rng, strays=config.strays, contexts=contexts, interrupting=True)
    return act, rng


def write_simulated_store(
    stills: Stills, config: DomainConfig, out: Path, *, overwrite: bool = False, workers: int = 0
) -> StoreCard:
    """Simulates every subject into a ClipStore at ``out``; identical for any number of workers.

    Raises:
        StoreError: ``out`` exists, or cannot be written.
    """
    castings = list(cast(stills, config))
    with ClipStoreWriter(out, _card(stills, config), overwrite=overwrite) as writer:
        lost = folds = 0
        for made in track(_simulated(stills, config, castings, workers), "simulating subjects", len(castings)):
            for row, clip, folded in made:
                writer.add_clip(row, clip.frames, clip.landmarks, clip.valid)
                lost, folds = lost + int((~clip.valid).sum()), folds + folded
        film_strips(stills, config, writer.draft / "strips.png")
        writer.card.audit = {"stills_left_out": stills.left_out, "frames_without_face": lost, "frames_folded": folds}
        return writer.card


def film_strips(stills: Stills, config: DomainConfig, out: Path) -> Path:
    """A picture for a person to judge: of test subjects, one of each severity, the first two clips of each emotion.

    Args:
        stills: what is simulated from.
        config: the domain.
        out: the PNG to write; its folder must exist.
    """
    shown, most = strips.shown_frames(config.frames), min(2, config.clips_per_emotion)
    people = [casting_of(stills, config, *one) for one in cast(stills, config) if one[0] == "test"]
    by = {person.subject.traits.severity: person for person in reversed(people)}
    chosen = [by[severity] for severity in SEVERITIES if severity in by]
    titles = [f"{one.subject.traits.severity} ({one.subject.traits.subject_id})" for one in chosen]
    rows = []
    for emotion in TARGET.names:
        for number in range(most):
            made = [simulate_clip(one, emotion, number, config) for one in chosen]
            rows.append([(strips.film(clip.frames[shown]), np.array(row["intensity"])[shown]) for row, clip, _ in made])
    caption = "simulated: real stills in made-up motion; the line is the intensity e(t) (neutral: none); black: no face"
    return strips.draw(rows, titles, caption, out)


def casting_of(stills: Stills, config: DomainConfig, split: str, number: int, rows: dict[str, list[int]]) -> Casting:
    """A simulated subject with its stills read."""
    names = stills.store.clips["clip_id"]
    held = {emotion: [(str(names.iloc[row]), stills.still(row)) for row in mine] for emotion, mine in rows.items()}
    return Casting(subject_of(split, number, config, stills.tag), split, held)


def _simulated(
    stills: Stills, config: DomainConfig, castings: list[tuple[str, int, dict[str, list[int]]]], workers: int
) -> Iterator[list[Made]]:
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(castings) == 1:
        yield from (_simulate_subject((casting_of(stills, config, *one), config)) for one in castings)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ahead: deque[Future[list[Made]]] = deque()  # what waits for the writer is bounded, so memory stays flat
        for one in castings:
            if len(ahead) == 4 * workers:
                yield ahead.popleft().result()
            ahead.append(pool.submit(_simulate_subject, (casting_of(stills, config, *one), config)))
        while ahead:
            yield ahead.popleft().result()


def _simulate_subject(call: tuple[Casting, DomainConfig]) -> list[Made]:
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
