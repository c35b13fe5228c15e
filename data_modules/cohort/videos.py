"""The videos of a cohort, several at a time, each followed once; what is done of them is kept and not done again."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fer_id.errors import DataError
from fer_id.files import naming, read_json, write_json
from fer_id.preprocessing.container import VideoFacts
from fer_id.preprocessing.damage import Mark, MarkedFace, follow_marks
from fer_id.preprocessing.landmarks import FaceLandmarker, landmarker_of_process
from fer_id.preprocessing.tracking import FOUND, MOST_FACES, Seen, follow_face, sample_times
from fer_id.preprocessing.video import MISSING_S, check_damage, gap_s, pictures_end, sample_frames, video_facts
from fer_id.reporting.sheets import faces_sheet
from fer_id.shapes import Text, checked
from fer_id.types import CROP, LANDMARKS

CONFIDENCE = 0.5
"""MediaPipe's own threshold: a video shows a face from better sides too, so a doubtful one is better not found."""


class Outcomes(BaseModel):
    """Outcome of each frame of a clip."""

    outcomes: list[Text]


class FollowedFile(BaseModel):
    """Record of a followed video."""

    clips: list[Outcomes]


FORMAT = 3
"""Raised when what a video becomes changes, so that older parts are not taken up."""


@dataclass(frozen=True)
class Stretch:
    """One annotated clip of a video.

    Attributes:
        clip_id, subject_id: pseudonyms.
        start_s, end_s: seconds in the video.
        marks: places on the child's face in this video; without any the larger, more central face is followed.
    """

    clip_id: str
    subject_id: str
    start_s: float
    end_s: float
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class VideoJob:
    """One video and what is wanted of it.

    Attributes:
        path: the file.
        video_id: pseudonym; names its part.
        stretches: its clips, in the order of the manifest.
        fps, min_eye_distance, gray: see ``CohortConfig``.
    """

    path: Path
    video_id: str
    stretches: tuple[Stretch, ...]
    fps: float
    min_eye_distance: float
    gray: bool

    @functools.cached_property
    def part(self) -> str:
        """Name of what this job leaves: another file or another wish makes another part. Looked at once."""
        stat = self.path.stat()
        file = {"path": None, "size": stat.st_size, "time": stat.st_mtime_ns}
        wish: dict[str, Any] = {**asdict(self), **file, "format": FORMAT}
        for stretch in wish["stretches"]:
            for mark in stretch["marks"]:
                del mark["row"]  # another row above it does not change what it says
        return f"{self.video_id}-{hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class FollowedClip:
    """What became of a stretch; arrays are memory maps.

    Attributes:
        times: (N,) seconds in the video.
        crops, landmarks, valid: (N, 64, 64, 3), (N, 68, 2), (N,).
        outcomes: frames by outcome, see ``fer_id.preprocessing.tracking``.
        with_faces, several_faces: frames with a face at all, and with more than one.
    """

    times: NDArray[np.float64]
    crops: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    valid: NDArray[np.bool_]
    outcomes: dict[str, int]
    with_faces: int
    several_faces: int


def follow_videos(
    jobs: Sequence[VideoJob], parts: Path, workers: int, bundle: Path
) -> Iterator[tuple[VideoJob, DataError | None]]:
    """Works through the videos; each comes back with what is wrong with it, or None. The result of a video is a
    function of its file and its job: order and number of processes change nothing.

    Args:
        jobs: one per video.
        parts: folder for what is done; videos that are done there already come back at once.
        workers: processes; 1 works in this one.
        bundle: the landmark model's file.
    """
    todo = []
    for job in jobs:
        if (parts / f"{job.part}.json").is_file():
            yield job, None
        else:
            todo.append(job)
    if workers <= 1 or len(todo) < 2:
        for job in todo:
            yield job, _follow(job, parts, bundle)
        return
    from multiprocessing import get_context

    # The longest first: else the last video keeps one process busy while the others have nothing left.
    todo.sort(key=lambda job: (-sum(one.end_s - one.start_s for one in job.stretches), job.video_id))
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        running = {pool.submit(_follow, job, parts, bundle): job for job in todo}
        for done in as_completed(running):
            yield running[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_part(job: VideoJob, parts: Path) -> Iterator[tuple[Stretch, FollowedClip]]:
    """What :func:`follow_videos` left of a video, clip by clip."""
    name = job.part
    path = parts / f"{name}.json"
    facts = checked(FollowedFile, read_json(path, DataError), str(path), DataError, "Remove it: it is made again.")
    crops: Any = np.memmap(parts / f"{name}.crops", np.uint8, "r").reshape(-1, CROP, CROP, 3)
    landmarks: Any = np.memmap(parts / f"{name}.landmarks", np.float32, "r").reshape(-1, LANDMARKS, 2)
    start = 0
    for stretch, clip in zip(job.stretches, facts["clips"], strict=True):
        end = start + len(clip["outcomes"])
        valid = np.array([outcome == FOUND for outcome in clip["outcomes"]], np.bool_)
        times = sample_times(stretch.start_s, stretch.end_s, job.fps)
        faces = np.array(clip["faces"])
        yield (
            stretch,
            FollowedClip(
                times,
                crops[start:end],
                landmarks[start:end],
                valid,
                Counter(clip["outcomes"]),
                int((faces > 0).sum()),
                int((faces > 1).sum()),
            ),
        )
        start = end


def sheet_of(job: VideoJob, subject: str, parts: Path) -> Path:
    """Where the sheet of a child with others in the picture is put, if there are others."""
    return parts / f"{job.part}.{subject}.png"


def _follow(job: VideoJob, parts: Path, bundle: Path) -> DataError | None:
    """Follows the target's face through a video's clips; returns what is wrong with it, or None."""
    name, clips, moments = job.part, list[dict[str, Any]](), list[float]()
    most = dict[str, tuple[float, Stretch, Seen]]()  # subject -> the first moment with the most faces
    try:
        facts = video_facts(job.path)
        landmarker = landmarker_of_process(bundle, MOST_FACES, CONFIDENCE)
        pictures_end(job.path)  # a file of several recordings is refused, wherever the clips lie in it
        for stretch in job.stretches:
            _check_length(job.path, stretch, facts)
        marked = _marked(job, landmarker)
        place = parts / f"{name}.crops"
        with naming(place), place.open("wb") as crops, place.with_suffix(".landmarks").open("wb") as landmarks:
            for stretch in job.stretches:
                times = sample_times(stretch.start_s, stretch.end_s, job.fps)
                frames = follow_face(
                    sample_frames(job.path, times, gap_s(job.fps)),
                    times,
                    landmarker,
                    min_eye_distance=job.min_eye_distance,
                    gray=job.gray,
                    follower=marked.get(stretch.marks),
                )
                clips.append({"outcomes": [], "faces": []})
                for time, seen in zip(times.tolist(), frames, strict=True):
                    crops.write(seen.crop.tobytes())
                    landmarks.write(seen.landmarks.tobytes())
                    clips[-1]["outcomes"].append(seen.outcome)
                    clips[-1]["faces"].append(len(seen.boxes))
                    _, _, fullest = most.get(stretch.subject_id, (time, stretch, None))
                    if len(seen.boxes) > (1 if fullest is None else len(fullest.boxes)):
                        most[stretch.subject_id] = time, stretch, seen
                moments += times.tolist()
        check_damage(job.path, moments, [outcome for clip in clips for outcome in clip["outcomes"]])
        for subject, (time, stretch, seen) in most.items():
            _draw_sheet(job, time, stretch, seen, sheet_of(job, subject, parts))
    except DataError as problem:
        return problem
    # Written last: a part without it was interrupted, and is done again.
    write_json(parts / f"{name}.json", {"width": facts.width, "height": facts.height, "clips": clips})
    return None


def _marked(job: VideoJob, landmarker: FaceLandmarker) -> dict[tuple[Mark, ...], MarkedFace]:
    """The face that the marks of each child are on, followed through all of its clips."""
    times = dict[tuple[Mark, ...], list[float]]()
    for stretch in job.stretches:
        if stretch.marks:
            own = times.setdefault(stretch.marks, [])
            own += sample_times(stretch.start_s, stretch.end_s, job.fps).tolist()
    return {marks: follow_marks(job.path, marks, own, job.fps, landmarker) for marks, own in times.items()}


def _draw_sheet(job: VideoJob, time: float, stretch: Stretch, seen: Seen, path: Path) -> None:
    (image,) = sample_frames(job.path, [time])
    if not isinstance(image, str):
        title = f"{stretch.subject_id}, video {job.video_id}, time_s {time:.3f}: {len(seen.boxes)} faces"
        child = seen.chosen if stretch.marks else None
        faces_sheet(image, seen.boxes, title, path, child=child, followed=seen.chosen)


def _check_length(path: Path, stretch: Stretch, facts: VideoFacts) -> None:
    """Before its moments are listed: a slip of the pen may ask for a day."""
    if facts.duration_s and stretch.end_s > facts.duration_s + MISSING_S:
        raise DataError(
            f"{path}: ends at {facts.duration_s:.2f} s, but a clip is said to end at {stretch.end_s:g} s; the file is "
            "truncated, or the clip's times belong to another video"
        )
