"""``fer-id synth``: a drawn cohort as a ClipStore, with provenance ``synthetic``; no real person is depicted."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np

from fer_id.errors import ConfigError, Problems
from fer_id.labels import TARGET
from fer_id.preprocessing.alignment import crop_geometry
from fer_id.processes import in_processes
from fer_id.progress import track
from fer_id.settings import faults, setting
from fer_id.simulation.drawn.acting import Row, Subject, perform, sample_subject
from fer_id.simulation.drawn.canvas import Array
from fer_id.simulation.drawn.rendering import ClipPainter, paint_crops
from fer_id.simulation.drawn.traits import CONTEXTS, GROUPS, POPULATIONS
from fer_id.store.card import StoreCard
from fer_id.store.writer import ClipStoreWriter
from fer_id.types import CROP, StoredClip

WORTHWHILE = 50  # fewest clips per process: drawing fewer takes less time than a process takes to start

_PATCHES = ((230, 60, 50), (60, 90, 230), (60, 180, 75), (240, 200, 60), (170, 70, 190))
"""Colours of the planted shortcut, by class."""


@dataclass
class SyntheticConfig:
    """Settings of a drawn cohort."""

    subjects: int = setting(12, "people", min=1, max=10_000)
    population: str = setting(
        "children",
        choices=tuple(POPULATIONS),
        help="children: with intellectual disabilities, mild to severe; adults: as benchmarks show them, expressions "
        "early, full and not interrupted",
    )
    clips_per_emotion: int = setting(6, "clips of each of the five emotions per person", min=1, max=1000)
    frames: int = setting(10, "frames per clip; the paper's T is 10", min=2, max=1000)
    fps: float = setting(
        5.0,
        "frames per second; 5 makes ten frames two seconds, enough for a late and slow expression",
        min=0.5,
        max=120,
    )
    seed: int = setting(
        7, "draws the cohort; its first people are the same whatever `subjects` is", min=0, max=2**32 - 1
    )
    subtlety: float = setting(
        0.0, "share taken from every peak intensity; below 0 makes expressions stronger", min=-0.5, max=0.9
    )
    resting: float = setting(
        1.0, "factor on the differences between resting faces; 0: none, which makes single frames easy", min=0, max=3
    )
    shortcut: str = setting(
        "none",
        choices=("none", "patch"),
        help="patch: a square in a corner of every frame whose colour encodes the label, a control of `explain`, which "
        "must expose a model that learns it; its scores mean nothing",
    )
    strays: float = setting(1.0, "factor on the number of involuntary movements; 0: none", min=0, max=10)

    @property
    def times(self) -> Array:
        """(frames,) time of each frame in seconds."""
        return np.arange(self.frames) / self.fps

    def subject(self, index: int) -> Subject:
        """Return the subject with this number."""
        return sample_subject(index, self.seed, self.resting, TARGET.names, self.population)

    def validate(self) -> None:
        """Raise ConfigError with every value outside its limits."""
        problems = Problems("synth")
        for name, fault in faults(self):
            problems.add(f"{name} is {fault}")
        problems.raise_if_any(ConfigError)


def draw_clip(subject: Subject, emotion: str, number: int, config: SyntheticConfig) -> tuple[Row, StoredClip]:
    """Draw one clip and its row of the store's table, a function of seed, subject, emotion and number."""
    painter, rng = stage_clip(subject, emotion, number, config, config.times)
    row = painter.performance.row(subject, number, config.fps, GROUPS[:-1]) | {"source": "synth"}
    clip = paint_crops(painter, rng)
    return row, clip if config.shortcut == "none" else _patched(clip, TARGET.index(emotion), rng)


def _patched(clip: StoredClip, label: int, rng: np.random.Generator) -> StoredClip:
    """Paint a square of the label's colour into a lower corner, with small differences between clips."""
    frames = clip.frames.copy()
    side = 14
    top = CROP - side - int(rng.integers(0, 3))
    left = int(rng.integers(0, 3)) if rng.random() < 0.5 else CROP - side - int(rng.integers(0, 3))
    colour = np.array(_PATCHES[label]) * rng.uniform(0.8, 1.1)
    frames[:, top : top + side, left : left + side] = colour.clip(0, 255).astype(np.uint8)
    return StoredClip(frames, clip.landmarks, clip.valid)


def stage_clip(
    subject: Subject, emotion: str, number: int, config: SyntheticConfig, times: Array
) -> tuple[ClipPainter, np.random.Generator]:
    """Draw the performance of a clip; return its painter and the random generator for its crops."""
    rng = np.random.default_rng([config.seed, subject.traits.number, TARGET.index(emotion), number])
    performance = perform(subject, emotion, times, rng, config.subtlety, config.strays)
    return ClipPainter(subject, performance, times, rng), rng


def write_synthetic_store(
    config: SyntheticConfig, out: Path, *, overwrite: bool = False, workers: int = 1
) -> StoreCard:
    """Draw the cohort into a ClipStore at ``out``.

    The number of ``workers`` (processes) does not change the result; 0: one per core, each with at least
    :data:`WORTHWHILE` clips. ConfigError: values that cannot be drawn, all listed. StoreError: ``out`` exists, or
    cannot be written.
    """
    config.validate()
    clips_in_all = config.subjects * config.clips_per_emotion * len(TARGET)
    workers = workers or min(os.cpu_count() or 1, max(1, clips_in_all // WORTHWHILE))
    with ClipStoreWriter(out, _card(config), overwrite=overwrite) as writer:
        invalid = 0
        calls = ((config, index) for index in range(config.subjects))
        drawn = in_processes(_draw_subject, calls, config.subjects, workers)
        for clips in track(drawn, "drawing children", config.subjects):
            for row, clip in clips:
                writer.add_clip(row, clip.frames, clip.landmarks, clip.valid)
                invalid += int((~clip.valid).sum())
        writer.card.audit = {"frames_without_face": invalid}
        return writer.card


def _draw_subject(call: tuple[SyntheticConfig, int]) -> list[tuple[Row, StoredClip]]:
    """Draw every clip of one subject, with its row."""
    config, index = call
    subject, clips = config.subject(index), product(TARGET.names, range(config.clips_per_emotion))
    return [draw_clip(subject, emotion, number, config) for emotion, number in clips]


def _card(config: SyntheticConfig) -> StoreCard:
    return StoreCard(
        provenance="synthetic",
        label_space=TARGET.name,
        shard_by="subject_id",
        source="synth",
        geometry=crop_geometry(aligned=True, colour="rgb"),
        parameters={
            **asdict(config),
            "severities": {name: asdict(dynamics) for name, dynamics in POPULATIONS[config.population].items()},
            "contexts": {name: asdict(setting) for name, setting in CONTEXTS.items()},
        },
        versions={name: version(name) for name in ("numpy", "opencv-python-headless")},
        groups=list(GROUPS),
        landmarks_from="drawn",
        notes=[
            "Drawn faces. Nobody is depicted, and a score on them says nothing about children.",
            *["A patch in the background tells the label."] * (config.shortcut == "patch"),
        ],
    )
