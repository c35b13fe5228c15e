"""The drawn cohort as a ClipStore: embedded, free to show, provenance ``synthetic``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fer_id.errors import ConfigError, Problems
from fer_id.labels import TARGET
from fer_id.preprocessing.alignment import EYES_64
from fer_id.progress import track
from fer_id.simulation.expression import Array
from fer_id.simulation.performance import Subject, perform, sample_subject
from fer_id.simulation.rendering import ClipPainter, paint_crops
from fer_id.simulation.traits import CONTEXTS, GROUPS, SEVERITIES
from fer_id.store import ClipStoreWriter, StoreCard
from fer_id.types import CROP, StoredClip


@dataclass
class SyntheticConfig:
    """A drawn cohort.

    Attributes:
        subjects: how many people.
        clips_per_emotion: clips of each of the five emotions per person.
        frames: frames per clip; the paper's T is 10.
        fps: frames per second. 5 makes ten frames two seconds, enough for a late and slow expression.
        seed: the same seed draws the same cohort, and its first subjects whatever ``subjects`` is.
        subtlety: share taken from every peak intensity; 0 leaves the traits' own, below 0 makes expressions stronger.
        resting: factor on how much resting faces differ; 0 makes them alike and single frames easy.
        strays: factor on how often involuntary movements come; 0 for none.
    """

    subjects: int = 12
    clips_per_emotion: int = 6
    frames: int = 10
    fps: float = 5.0
    seed: int = 7
    subtlety: float = 0.0
    resting: float = 1.0
    strays: float = 1.0

    @property
    def times(self) -> Array:
        """Seconds (frames,) of each frame."""
        return np.arange(self.frames) / self.fps

    def validate(self) -> None:
        """Raises ConfigError with everything that cannot be drawn."""
        problems = Problems("synth")
        limits = {
            "subjects": (1, 10_000), "clips_per_emotion": (1, 1000), "frames": (2, 1000), "fps": (0.5, 120.0),
            "seed": (0, 2**32 - 1), "subtlety": (-0.5, 0.9), "resting": (0.0, 3.0), "strays": (0.0, 10.0),
        }  # fmt: skip
        for key, (low, high) in limits.items():
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                problems.add(f"{key} is {value!r}, expected a number from {low:g} to {high:g}")
            elif isinstance(low, int) and not isinstance(value, int):
                problems.add(f"{key} is {value!r}, expected a whole number")
        problems.raise_if_any(ConfigError)


def draw_clip(
    subject: Subject, emotion: str, number: int, config: SyntheticConfig
) -> tuple[dict[str, Any], StoredClip]:
    """One clip and its row of the store's table; depends on the seed, subject, emotion and number alone."""
    index = int(subject.traits.subject_id.rsplit("-", 1)[1])
    rng = np.random.default_rng([config.seed, index, TARGET.index(emotion), number])
    performance = perform(subject, emotion, config.times, rng, config.subtlety, config.strays)
    painter = ClipPainter(subject, performance, config.times, rng)
    traits = subject.traits
    row = {
        "clip_id": f"{traits.subject_id}-{emotion}-{number:02d}",
        "subject_id": traits.subject_id,
        "label": emotion,
        "video_id": f"{traits.subject_id}-{emotion}-{number:02d}",
        "t0_s": 0.0,
        "fps": config.fps,
        "source": "synth",
        "intensity": performance.intensity.tolist(),
        "age_group": traits.age_group,
        "gender": traits.gender,
        "severity": traits.severity,
        "ethnicity": traits.ethnicity,
        "context": performance.context,
    }
    return row, paint_crops(painter, rng)


def write_synthetic_store(config: SyntheticConfig, out: Path, *, overwrite: bool = False) -> StoreCard:
    """Draws the cohort into a ClipStore at ``out``.

    Raises:
        ConfigError: values that cannot be drawn, all listed.
        StoreError: ``out`` exists, or cannot be written.
    """
    config.validate()
    with ClipStoreWriter(out, _card(config), overwrite=overwrite) as writer:
        invalid = 0
        for subject, emotion, number in track(list(_clips(config)), "drawing clips"):
            row, clip = draw_clip(subject, emotion, number, config)
            writer.add_clip(row, clip.frames, clip.landmarks, clip.valid)
            invalid += int((~clip.valid).sum())
        writer.card.audit = {"frames_without_face": invalid}
        return writer.card


def _clips(config: SyntheticConfig) -> Iterator[tuple[Subject, str, int]]:
    for index in range(config.subjects):
        subject = sample_subject(index, config.seed, config.resting, TARGET.names)
        for emotion in TARGET.names:
            for number in range(config.clips_per_emotion):
                yield subject, emotion, number


def _card(config: SyntheticConfig) -> StoreCard:
    return StoreCard(
        provenance="synthetic",
        label_space=TARGET.name,
        shard_by="subject_id",
        source="synth",
        geometry={"eyes": [list(eye) for eye in EYES_64], "size": CROP, "colour": "rgb"},
        parameters={
            **asdict(config),
            "severities": {name: asdict(dynamics) for name, dynamics in SEVERITIES.items()},
            "contexts": {name: asdict(setting) for name, setting in CONTEXTS.items()},
        },
        versions={name: version(name) for name in ("numpy", "opencv-python-headless")},
        groups=list(GROUPS),
        notes=["Drawn faces. Nobody is depicted, and a score on them says nothing about children."],
    )
