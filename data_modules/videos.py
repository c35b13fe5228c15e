"""Face tracking in a cohort's videos, in several processes; finished videos are kept and not processed again."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fer_id.errors import DataError
from fer_id.files import naming, read_json, write_json
from fer_id.preprocessing.container import VideoFacts
from fer_id.preprocessing.face_marks import Mark, MarkedFace, follow_marks
from fer_id.preprocessing.landmarks import FaceLandmarker, landmarker_of_process
from fer_id.preprocessing.tracking import FOUND, MOST_FACES, Seen, follow_face, sample_times
from fer_id.preprocessing.video import MISSING_S, check_damage, gap_s, pictures_end, sample_frames, video_facts
from fer_id.reporting.sheets import faces_sheet
from fer_id.shapes import Count, Text, record
from fer_id.types import CROP, LANDMARKS

CONFIDENCE = 0.5
"""MediaPipe's default: a video has better views of a face too, so a doubtful detection is better left out."""


class ClipFrames(BaseModel):
    """Outcome and number of faces of each frame of a clip."""

    outcomes: list[Text]
    faces: list[Count]


class FollowedFile(BaseModel):
    """Record of a followed video."""

    width: int
    height: int
    clips: list[ClipFrames]


FORMAT = 3
"""Version of the parts; raised when the result of a video changes, so that older parts are not reused."""


@dataclass(frozen=True)
class Stretch:
    """One annotated clip of a video, from ``start_s`` to ``end_s``, under pseudonyms.

    ``marks`` are positions of the child's face in this video; without any the larger, more central face is followed.
    """

    clip_id: str
    subject_id: str
    start_s: float
    end_s: float
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class VideoJob:
    """One video (``video_id``: its pseudonym) with its clips, in the order of the manifest, and tracking settings."""

    path: Path
    video_id: str
    stretches: tuple[Stretch, ...]
    fps: float
    min_eye_distance: float
    gray: bool

    @functools.cached_property
    def part(self) -> str:
        """Name of the job's output files; another video file or other settings give another name. Computed once."""
        stat = self.path.stat()
        job = {**asdict(self), "path": None, "size": stat.st_size, "time": stat.st_mtime_ns, "format": FORMAT}
        for stretch in job["stretches"]:
            for mark in stretch["marks"]:
                del mark["row"]  # a row inserted above it changes the number, not the mark
        return f"{self.video_id}-{hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:16]}"


class FollowedClip(NamedTuple):
    """Tracking result of a stretch of N frames."""

    times: NDArray[np.float64]  # (N,) seconds in the video
    crops: NDArray[np.uint8]  # (N, 64, 64, 3), a memory map
    landmarks: NDArray[np.float32]  # (N, 68, 2), a memory map
    valid: NDArray[np.bool_]  # (N,), True where the face was found
    frames: ClipFrames  # outcomes, see ``fer_id.preprocessing.tracking``, and numbers of faces


def follow_videos(
    jobs: Sequence[VideoJob], parts: Path, workers: int, bundle: Path
) -> Iterator[tuple[VideoJob, DataError | None]]:
    """Track the faces of all videos; yield each job with its error, or None.

    The result of a video, in the folder ``parts``, depends on its file and its job only, not on order and number of
    processes (``workers``; 1: this process). Videos with a result there are yielded at once.
    """
    finished = {job for job in jobs if (parts / f"{job.part}.json").is_file()}
    yield from ((job, None) for job in jobs if job in finished)
    todo = [job for job in jobs if job not in finished]
    if workers <= 1 or len(todo) < 2:
        for job in todo:
            yield job, _follow(job, parts, bundle)
        return
    from multiprocessing import get_context

    # The longest first: otherwise the last video keeps one process busy while the others are idle.
    todo.sort(key=lambda job: (-sum(stretch.end_s - stretch.start_s for stretch in job.stretches), job.video_id))
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        running = {pool.submit(_follow, job, parts, bundle): job for job in todo}
        for done in as_completed(running):
            yield running[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_part(job: VideoJob, parts: Path) -> Iterator[tuple[Stretch, FollowedClip]]:
    """Yield the results of :func:`follow_videos` for a video, clip by clip."""
    path = parts / f"{job.part}.json"
    facts = record(FollowedFile, read_json(path, DataError), str(path), DataError, "Remove it: it is made again.")
    crops: Any = np.memmap(path.with_suffix(".crops"), np.uint8, "r").reshape(-1, CROP, CROP, 3)
    landmarks: Any = np.memmap(path.with_suffix(".landmarks"), np.float32, "r").reshape(-1, LANDMARKS, 2)
    start = 0
    for stretch, clip in zip(job.stretches, facts.clips, strict=True):
        times, part = sample_times(stretch.start_s, stretch.end_s, job.fps), slice(start, start + len(clip.outcomes))
        valid = np.array([outcome == FOUND for outcome in clip.outcomes], np.bool_)
        yield stretch, FollowedClip(times, crops[part], landmarks[part], valid, clip)
        start = part.stop


def sheet_of(job: VideoJob, subject: str, parts: Path) -> Path:
    """Return the path of a child's sheet of several faces; the file exists only where there are several."""
    return parts / f"{job.part}.{subject}.png"


def _follow(job: VideoJob, parts: Path, bundle: Path) -> DataError | None:
    """Track the target's face through a video's clips; return the error, or None."""
    path, clips, moments = parts / f"{job.part}.json", list[ClipFrames](), list[float]()
    most = dict[str, tuple[float, Stretch, Seen]]()  # subject -> the first moment with the most faces
    try:
        facts = video_facts(job.path)
        landmarker = landmarker_of_process(bundle, MOST_FACES, CONFIDENCE)
        pictures_end(job.path)  # refuses a file of several recordings, also where the clips lie in the first
        for stretch in job.stretches:
            _check_length(job.path, stretch, facts)
        marked = _marked(job, landmarker)
        place = path.with_suffix(".crops")
        with naming(place), place.open("wb") as crops, path.with_suffix(".landmarks").open("wb") as landmarks:
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
                clips.append(ClipFrames(outcomes=[], faces=[]))
                for time, seen in zip(times.tolist(), frames, strict=True):
                    crops.write(seen.crop.tobytes())
                    landmarks.write(seen.landmarks.tobytes())
                    clips[-1].outcomes.append(seen.outcome)
                    clips[-1].faces.append(len(seen.boxes))
                    _, _, fullest = most.get(stretch.subject_id, (time, stretch, None))
                    if len(seen.boxes) > (1 if fullest is None else len(fullest.boxes)):
                        most[stretch.subject_id] = time, stretch, seen
                moments += times.tolist()
        check_damage(job.path, moments, [outcome for clip in clips for outcome in clip.outcomes])
        for subject, (time, stretch, seen) in most.items():
            _draw_sheet(job, time, stretch, seen, sheet_of(job, subject, parts))
    except DataError as problem:
        return problem
    # Written last: a part without this file was interrupted, and the video is processed again.
    write_json(path, FollowedFile(width=facts.width, height=facts.height, clips=clips).model_dump())
    return None


def _marked(job: VideoJob, landmarker: FaceLandmarker) -> dict[tuple[Mark, ...], MarkedFace]:
    """Return the face under the marks of each child, tracked through all of the child's clips."""
    times = defaultdict[tuple[Mark, ...], list[float]](list)
    for stretch in job.stretches:
        times[stretch.marks] += sample_times(stretch.start_s, stretch.end_s, job.fps).tolist()
    return {marks: follow_marks(job.path, marks, own, job.fps, landmarker) for marks, own in times.items() if marks}


def _draw_sheet(job: VideoJob, time: float, stretch: Stretch, seen: Seen, path: Path) -> None:
    (image,) = sample_frames(job.path, [time])
    if not isinstance(image, str):
        title = f"{stretch.subject_id}, video {job.video_id}, time_s {time:.3f}: {len(seen.boxes)} faces"
        child = seen.chosen if stretch.marks else None
        faces_sheet(image, seen.boxes, title, path, child=child, followed=seen.chosen)


def _check_length(path: Path, stretch: Stretch, facts: VideoFacts) -> None:
    """Check a clip's end against the video, before its times are listed: a typing error may mean a day."""
    if facts.duration_s and stretch.end_s > facts.duration_s + MISSING_S:
        raise DataError(
            f"{path}: ends at {facts.duration_s:.2f} s, but a clip is said to end at {stretch.end_s:g} s; the file is "
            "truncated, or the clip's times belong to another video"
        )
