"""Following of faces in many videos by several processes; finished videos are kept and not processed again.

A kind of video is a subclass of :class:`Job`: a file (``data_modules.videos``), or pictures of its frames
(``data_modules.frame_jobs``).
"""

from __future__ import annotations

import functools
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fer_id.errors import DataError
from fer_id.files import naming, read_json, write_json
from fer_id.preprocessing.tracking import FOUND, Seen
from fer_id.shapes import Count, Text, record
from fer_id.types import CROP, LANDMARKS


class ClipFrames(BaseModel):
    """Outcome and number of faces of each frame of a clip."""

    outcomes: list[Text]
    faces: list[Count]


class FollowedFile(BaseModel):
    """Record of a followed video."""

    clips: list[ClipFrames]


FORMAT = 3
"""Version of the parts; raised when the result of a video changes, so that older parts are not reused."""


@dataclass(frozen=True)
class Clip:
    """One annotated clip of a video, under pseudonyms."""

    clip_id: str
    subject_id: str

    @property
    def is_marked(self) -> bool:
        """True where a person has marked the subject's face in this video."""
        return False


@dataclass(frozen=True, eq=False)
class Job(ABC):
    """One video (``video_id``: its pseudonym) with its clips, in the order of the manifest, and tracking settings.

    Attributes:
        path: the video.
        min_eye_distance, gray: see :func:`fer_id.preprocessing.tracking.follow_face`.
        fps: frames per second of the clips; None where it is unknown.
        length: amount of work, in a unit that all jobs of a preparation share.
        hdr: whether its brightness was converted from HDR.
    """

    path: Path
    video_id: str
    stretches: tuple[Clip, ...]
    min_eye_distance: float
    gray: bool
    fps: float | None

    @functools.cached_property
    def part(self) -> str:
        """Name of the job's output files; other files or other settings give another name. Computed once."""
        job = {**asdict(self), "path": None, **self._files(), "format": FORMAT}
        for stretch in job["stretches"]:
            for mark in stretch.get("marks", ()):
                del mark["row"]  # a row inserted above it changes the number, not the mark
        text = json.dumps(job, sort_keys=True, default=str)
        return f"{self.video_id}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    @abstractmethod
    def length(self) -> float: ...

    @property
    @abstractmethod
    def hdr(self) -> bool: ...

    @abstractmethod
    def second(self, clip: int, frame: int) -> float | None:
        """Return the second of a clip's frame in the video; None where it is unknown."""

    @abstractmethod
    def follow(self, parts: Path, bundle: Path | None) -> DataError | None:
        """Write the job's part into the folder ``parts``; return the error, or None."""

    @abstractmethod
    def _files(self) -> dict[str, int]:
        """Return ``size`` and ``time``, which change where a file of the video does."""


class FollowedClip(NamedTuple):
    """Tracking result of a clip of N frames."""

    crops: NDArray[np.uint8]  # (N, 64, 64, 3), a memory map
    landmarks: NDArray[np.float32]  # (N, 68, 2), a memory map
    valid: NDArray[np.bool_]  # (N,), True where the face was found
    frames: ClipFrames  # outcomes, see ``fer_id.preprocessing.tracking``, and numbers of faces


def follow_jobs(
    jobs: Sequence[Job], parts: Path, workers: int, bundle: Path | None
) -> Iterator[tuple[Job, DataError | None]]:
    """Track the faces of all videos; yield each job with its error, or None.

    The result of a video, in the folder ``parts``, depends on its files and its job only, not on order and number of
    processes (``workers``; 1: this process). Videos with a result there are yielded at once. ``bundle`` is MediaPipe's
    model; None where no job needs it.
    """
    todo = list[Job]()
    for job in jobs:
        if (parts / f"{job.part}.json").is_file():
            yield job, None
        else:
            todo.append(job)
    if workers <= 1 or len(todo) < 2:
        for job in todo:
            yield job, job.follow(parts, bundle)
        return
    from multiprocessing import get_context

    # The longest first: otherwise the last video keeps one process busy while the others are idle.
    todo.sort(key=lambda job: (-job.length, job.video_id))
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        running = {pool.submit(job.follow, parts, bundle): job for job in todo}
        for done in as_completed(running):
            yield running[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_part(job: Job, parts: Path) -> Iterator[tuple[Clip, FollowedClip]]:
    """Yield the results of :func:`follow_jobs` for a video, clip by clip."""
    path = parts / f"{job.part}.json"
    facts = record(FollowedFile, read_json(path, DataError), str(path), DataError, "Remove it: it is made again.")
    crops: Any = np.memmap(path.with_suffix(".crops"), np.uint8, "r").reshape(-1, CROP, CROP, 3)
    landmarks: Any = np.memmap(path.with_suffix(".landmarks"), np.float32, "r").reshape(-1, LANDMARKS, 2)
    start = 0
    for stretch, clip in zip(job.stretches, facts.clips, strict=True):
        part = slice(start, start + len(clip.outcomes))
        valid = np.array([outcome == FOUND for outcome in clip.outcomes], np.bool_)
        yield stretch, FollowedClip(crops[part], landmarks[part], valid, clip)
        start = part.stop


def sheet_of(job: Job, subject: str, parts: Path) -> Path:
    """Return the path of a child's sheet of several faces; the file exists only where there are several."""
    return parts / f"{job.part}.{subject}.png"


def write_part(path: Path, clips: Iterable[Iterable[Seen]]) -> list[ClipFrames]:
    """Write crops and landmarks of the frames of each clip beside the part ``path``; return their outcomes.

    :func:`finish_part` then writes the part itself.
    """
    made, place = list[ClipFrames](), path.with_suffix(".crops")
    with naming(place), place.open("wb") as crops, path.with_suffix(".landmarks").open("wb") as landmarks:
        for frames in clips:
            made.append(ClipFrames(outcomes=[], faces=[]))
            for seen in frames:
                crops.write(seen.crop.tobytes())
                landmarks.write(seen.landmarks.tobytes())
                made[-1].outcomes.append(seen.outcome)
                made[-1].faces.append(len(seen.boxes))
    return made


def finish_part(path: Path, clips: list[ClipFrames]) -> None:
    """Write the part last: one without this file was interrupted, and its video is processed again."""
    write_json(path, FollowedFile(clips=clips).model_dump())
