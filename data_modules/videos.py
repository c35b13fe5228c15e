"""Face tracking in the clips of a video file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_modules.face_jobs import Clip, Job, finish_part, sheet_of, write_part
from fer_id.errors import DataError
from fer_id.preprocessing.container import VideoFacts
from fer_id.preprocessing.face_marks import Mark, MarkedFace, follow_marks
from fer_id.preprocessing.landmarker_file import find_bundle
from fer_id.preprocessing.landmarks import FaceLandmarker, landmarker_of_process
from fer_id.preprocessing.tracking import MOST_FACES, Seen, follow_face, sample_times
from fer_id.preprocessing.video import MISSING_S, check_damage, gap_s, pictures_end, sample_frames, video_facts
from fer_id.reporting.sheets import faces_sheet

CONFIDENCE = 0.5
"""MediaPipe's default: a video has better views of a face too, so a doubtful detection is better left out."""


@dataclass(frozen=True)
class Stretch(Clip):
    """One annotated clip of a video file, from ``start_s`` to ``end_s``.

    ``marks`` are positions of the child's face in this video; without any the larger, more central face is followed.
    """

    start_s: float
    end_s: float
    marks: tuple[Mark, ...] = ()

    @property
    def is_marked(self) -> bool:
        """True where ``marks`` has any."""
        return bool(self.marks)


@dataclass(frozen=True, eq=False)
class VideoJob(Job):
    """A video file, of which ``fps`` frames per second are taken."""

    stretches: tuple[Stretch, ...]
    fps: float

    @property
    def length(self) -> float:
        """Seconds of all clips."""
        return sum(stretch.end_s - stretch.start_s for stretch in self.stretches)

    @property
    def hdr(self) -> bool:
        """True where the file says HDR."""
        return video_facts(self.path).hdr

    def second(self, clip: int, frame: int) -> float:
        """Return the second of a clip's frame in the video."""
        return float(self.times(self.stretches[clip])[frame])

    def times(self, stretch: Stretch) -> NDArray[np.float64]:
        """Return the moments (s) at which a clip is sampled."""
        return sample_times(stretch.start_s, stretch.end_s, self.fps)

    def follow(self, parts: Path, bundle: Path | None) -> DataError | None:
        """Track the target's face through the clips."""
        return _follow(self, parts, bundle)

    def _files(self) -> dict[str, int]:
        stat = self.path.stat()
        return {"size": stat.st_size, "time": stat.st_mtime_ns}


Fullest = dict[str, tuple[float, Stretch, Seen]]
"""Subject -> the first moment with the most faces."""


def _follow(job: VideoJob, parts: Path, bundle: Path | None) -> DataError | None:
    """Track the target's face through a video's clips; return the error, or None."""
    path, fullest = parts / f"{job.part}.json", Fullest()
    try:
        facts = video_facts(job.path)
        landmarker = landmarker_of_process(find_bundle(bundle), MOST_FACES, CONFIDENCE)
        pictures_end(job.path)  # refuses a file of several recordings, also where the clips lie in the first
        for stretch in job.stretches:
            _check_length(job.path, stretch, facts)
        marked = _marked(job, landmarker)
        seen = (_seen(job, stretch, landmarker, marked.get(stretch.marks), fullest) for stretch in job.stretches)
        clips = write_part(path, seen)
        moments = [time for stretch in job.stretches for time in job.times(stretch).tolist()]
        check_damage(job.path, moments, [outcome for clip in clips for outcome in clip.outcomes])
        for subject, (time, stretch, frame) in fullest.items():
            _draw_sheet(job, time, stretch, frame, sheet_of(job, subject, parts))
    except DataError as problem:
        return problem
    finish_part(path, clips)
    return None


def _seen(
    job: VideoJob, stretch: Stretch, landmarker: FaceLandmarker, follower: MarkedFace | None, fullest: Fullest
) -> Iterator[Seen]:
    """Yield the frames of a clip; note in ``fullest`` the one with the most faces."""
    times = job.times(stretch)
    frames = follow_face(
        sample_frames(job.path, times, gap_s(job.fps)),
        times,
        landmarker,
        min_eye_distance=job.min_eye_distance,
        gray=job.gray,
        follower=follower,
    )
    for time, seen in zip(times.tolist(), frames, strict=True):
        _, _, before = fullest.get(stretch.subject_id, (time, stretch, None))
        if len(seen.boxes) > (1 if before is None else len(before.boxes)):
            fullest[stretch.subject_id] = time, stretch, seen
        yield seen


def _marked(job: VideoJob, landmarker: FaceLandmarker) -> dict[tuple[Mark, ...], MarkedFace]:
    """Return the face under the marks of each child, tracked through all of the child's clips."""
    times = defaultdict[tuple[Mark, ...], list[float]](list)
    for stretch in job.stretches:
        times[stretch.marks] += job.times(stretch).tolist()
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
