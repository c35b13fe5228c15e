"""Base of the data modules of people on video whose videos are published as numbered pictures of the frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.face_jobs import Job
from data_modules.frame_jobs import FrameClip, FrameJob, Numbered
from data_modules.reader_checks import read_records, require_facts
from data_modules.recordings import VideoDataModule
from data_modules.video_store import FacesConfig, Videos
from fer_id.preprocessing.landmarks import MESH_MAPPING
from fer_id.settings import setting
from fer_id.store.card import StoreCard
from fer_id.types import AFFECT


class FrameSequence(NamedTuple):
    """A video of one person as numbered pictures, as a dataset's ``read`` yields it.

    Attributes:
        clip_id: unique name of the video.
        subject_id: person; names a file.
        label: class name of the whole video, None where unlabelled or where the frames have labels.
        pictures: the pictures by number.
        numbers: the numbers of its frames, in order; a picture may be missing.
        labels: label of each frame, a code of the dataset; None where the video has one label.
        points: text files of the published landmarks by number, or None.
        split: published name of the split, a key of ``splits``; None where none is published.
        groups: value of each group column of the class, None where unknown; the class names them.
        affect: valence and arousal of each frame, float (N, 2), NaN where not annotated; None: of none.
    """

    clip_id: str
    subject_id: str
    label: str | None
    pictures: Numbered
    numbers: Sequence[int]
    labels: NDArray[np.int8] | None = None
    points: Numbered | None = None
    split: str | None = None
    groups: Mapping[str, str | None] = {}
    affect: NDArray[np.float64] | None = None


class LabelledFrames(NamedTuple):
    """A clip of a sequence: unique name, class name or None, the numbers of its frames, and valence and arousal, None
    or NaN where not annotated."""

    clip_id: str
    label: str | None
    numbers: Sequence[int]
    valence: float | None = None
    arousal: float | None = None


@dataclass
class FrameSequenceConfig(FacesConfig):
    """Settings of ``prepare`` of such a dataset, with its rule that makes clips.

    ``surroundings``: True where the pictures show more than the face, which then is followed.
    """

    surroundings: ClassVar[bool] = True
    recorded: ClassVar[tuple[str, ...]] = ("landmarks", *FacesConfig.recorded)
    landmarks: str = setting(
        "mediapipe", choices=("mediapipe",), help="mediapipe: find 68 points in every frame and align the eyes"
    )

    @property
    def landmarks_from(self) -> str:
        """Origin of the landmarks, for the card."""
        return MESH_MAPPING if self.landmarks == "mediapipe" else self.landmarks

    def clips(self, sequence: FrameSequence, left_out: Counter[str]) -> Iterator[LabelledFrames]:
        """Yield the clips of a sequence; count in ``left_out`` what is not yielded, by reason."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method clips")


class FrameSequenceDataModule(VideoDataModule):
    """Data module of people on video, as numbered pictures.

    A subclass gives ``dataset``, ``label_space``, ``read``, which yields :class:`FrameSequence`, and ``settings``,
    whose ``clips`` cuts them. A frame without picture is masked and counted, a video without any is an error.
    """

    settings: ClassVar[type[FrameSequenceConfig]] = FrameSequenceConfig

    @classmethod
    def videos(cls, config: Any) -> tuple[Videos, StoreCard]:
        """Return the sequences with their clips, and the card without audit; DataError for bad input, all faults."""
        source = require_facts(cls, config.source)
        left_out, jobs, rows = Counter[str](), list[Job](), dict[str, dict[str, object]]()
        sequences = list(read_records(cls, FrameSequence, source, left_out, cls.checked(_faults)))
        for sequence, split in zip(sequences, cls.divided(sequences, config), strict=True):
            clips = list(config.clips(sequence, left_out))
            subject = sequence.subject_id
            rows |= {
                clip.clip_id: {
                    **{name: getattr(clip, name) for name in ("label", *AFFECT)},
                    **{"subject_id": subject, "split": split, **sequence.groups},
                }
                for clip in clips
            }
            if clips:
                jobs.append(_job(sequence, clips, config))
        return Videos(jobs, rows, left_out), cls.described(config)

    @classmethod
    def divided(cls, sequences: Sequence[FrameSequence], config: Any) -> list[str | None]:
        """Return the split of each sequence: as published."""
        return [cls.splits.get(sequence.split or "") for sequence in sequences]


def _faults(sequence: FrameSequence) -> Iterator[str]:
    """Yield the faults of a sequence's frames and their labels."""
    if not len(sequence.numbers):
        yield "numbers is empty, expected the number of each frame"
    if sequence.labels is not None and len(sequence.labels) != len(sequence.numbers):
        yield f"labels has {len(sequence.labels)} values, expected one for each of {len(sequence.numbers)} frames"
    if sequence.affect is not None and sequence.affect.shape != (len(sequence.numbers), len(AFFECT)):
        yield f"affect is {sequence.affect.shape}, expected two values for each of {len(sequence.numbers)} frames"


def _job(sequence: FrameSequence, clips: Sequence[LabelledFrames], config: FrameSequenceConfig) -> FrameJob:
    detected = "scene" if config.surroundings else "face"
    return FrameJob(
        path=sequence.pictures.folder,
        video_id=sequence.clip_id,
        stretches=tuple(FrameClip(clip.clip_id, sequence.subject_id, clip.numbers) for clip in clips),
        min_eye_distance=config.min_eye_distance,
        gray=config.colour == "gray",
        fps=None,
        pictures=sequence.pictures,
        landmarks=detected if config.landmarks == "mediapipe" else config.landmarks,
        points=sequence.points if config.landmarks == "published" else None,
    )
