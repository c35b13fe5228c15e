"""Following of a face through a video that is published as numbered pictures of its frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.face_jobs import Clip, Job, finish_part, write_part
from data_modules.stills import read_image
from data_modules.videos import CONFIDENCE
from fer_id.errors import DataError, Problems
from fer_id.inputs import MB, read_text
from fer_id.preprocessing.landmarker_file import find_bundle
from fer_id.preprocessing.landmarks import STILL_CONFIDENCE, landmarker_of_process, landmarks_of_still
from fer_id.preprocessing.tracking import MOST_FACES, Seen, cropped, follow_face, unseen
from fer_id.preprocessing.video import DAMAGED, MOST_DAMAGED, NO_PICTURE
from fer_id.types import LANDMARKS

CAMERA_FPS = 30.0
"""Frames per second assumed for how far a face may move between two frames; published pictures do not state it."""

Points = Callable[[int, NDArray[np.uint8]], NDArray[np.float32] | None]
"""(number of a frame, its picture) -> its landmarks, (68, 2): all NaN without a face, None: not looked for."""


class Numbered(NamedTuple):
    """Files of a folder by number: ``name`` is a format such as ``{:05d}.jpg``."""

    folder: Path
    name: str

    def file(self, number: int) -> Path:
        """Return the path of a number's file."""
        return self.folder / self.name.format(number)


@dataclass(frozen=True)
class FrameClip(Clip):
    """A clip: the ``numbers`` of its frames, in order."""

    numbers: Sequence[int]


@dataclass(frozen=True, eq=False)
class FrameJob(Job):
    """A video as numbered pictures, ``path`` their folder.

    Attributes:
        pictures: the frames.
        landmarks: where the 68 points come from: ``scene``, the face found and followed in whole pictures; ``face``,
            found in pictures that a face fills; ``published``; ``none``, whole pictures without points.
        points: text files of the published points, a line ``x y`` for each of the 68, in pixels of the picture.
    """

    stretches: tuple[FrameClip, ...]
    pictures: Numbered
    landmarks: str
    points: Numbered | None = None

    @property
    def length(self) -> float:
        """Number of frames of all clips."""
        return sum(len(clip.numbers) for clip in self.stretches)

    @property
    def hdr(self) -> bool:
        """False: pictures are no HDR video."""
        return False

    def second(self, clip: int, frame: int) -> None:
        """Return None: the frame rate is not published."""

    def follow(self, parts: Path, bundle: Path | None) -> DataError | None:
        """Find the face in every frame of the clips; a missing or damaged picture is a frame without a face."""
        path = parts / f"{self.part}.json"
        try:
            clips = write_part(path, _clips(self, bundle))
            _check_damage(self.path, Counter(outcome for clip in clips for outcome in clip.outcomes))
        except DataError as problem:
            return problem
        finish_part(path, clips)
        return None

    def _files(self) -> dict[str, int]:
        size = time = 0
        for number in {number for clip in self.stretches for number in clip.numbers}:
            for files in filter(None, (self.pictures, self.points)):
                try:
                    stat = files.file(number).stat()
                except OSError:
                    continue
                size, time = size + stat.st_size, max(time, stat.st_mtime_ns)
        return {"size": size, "time": time}


def resampled(length: int, count: int) -> list[int]:
    """Return ``count`` indices of ``length`` frames, the nearest to evenly spaced places from the first to the last.

    Halves are rounded up; a sequence shorter than ``count`` repeats frames; ``count`` 1 is the last frame.

    >>> resampled(11, 5)
    [0, 3, 5, 8, 10]
    """
    if count == 1:
        return [length - 1]
    return [(2 * place * (length - 1) + count - 1) // (2 * (count - 1)) for place in range(count)]


def read_points(path: Path) -> NDArray[np.float32]:
    """Read 68 lines ``x y`` as float32 (68, 2); DataError (file, line) for others."""
    lines = read_text(path, DataError, most=MB).split("\n")
    rows = [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]
    for number, words in rows:
        if len(words) != 2 or not all(map(_is_number, words)):
            raise DataError(f"{path}, line {number}: expected two numbers x y")
    if len(rows) != LANDMARKS:
        raise DataError(f"{path}: {len(rows)} points, expected {LANDMARKS}")
    return np.array([words for _, words in rows], np.float32)


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False


def _clips(job: FrameJob, bundle: Path | None) -> Iterator[Iterator[Seen]]:
    """Yield the frames of each clip."""
    if job.landmarks == "scene":
        landmarker = landmarker_of_process(find_bundle(bundle), MOST_FACES, CONFIDENCE)
        for clip in job.stretches:
            times = [number / CAMERA_FPS for number in clip.numbers]
            frames = (_picture(job.pictures.file(number)) for number in clip.numbers)
            yield follow_face(frames, times, landmarker, min_eye_distance=job.min_eye_distance, gray=job.gray)
        return
    points = _points(job, bundle)
    for clip in job.stretches:
        yield (_seen(job, number, points) for number in clip.numbers)


def _seen(job: FrameJob, number: int, points: Points) -> Seen:
    image = _picture(job.pictures.file(number))
    if isinstance(image, str):
        return unseen(image)
    return cropped(image, points(number, image), min_eye_distance=job.min_eye_distance, gray=job.gray)


def _points(job: FrameJob, bundle: Path | None) -> Points:
    if job.landmarks == "face":
        landmarker = landmarker_of_process(find_bundle(bundle), 1, STILL_CONFIDENCE)
        return lambda number, image: landmarks_of_still(image, landmarker)
    published = _published(job)
    return lambda number, image: published.get(number)


def _published(job: FrameJob) -> dict[int, NDArray[np.float32]]:
    """Return the published points by number of the frame; DataError lists every bad file."""
    points, problems = dict[int, NDArray[np.float32]](), Problems(str(job.path))
    if job.points is not None:
        for number in sorted({number for clip in job.stretches for number in clip.numbers}):
            try:
                points[number] = read_points(job.points.file(number))
            except DataError as problem:
                problems.add(str(problem), kind="points")
    problems.raise_if_any(DataError)
    return points


def _picture(path: Path) -> NDArray[np.uint8] | str:
    """Return a frame's picture, or the reason why there is none."""
    if not path.exists():
        return NO_PICTURE
    try:
        return read_image(path)
    except DataError:
        return DAMAGED


def _check_damage(path: Path, outcomes: Counter[str]) -> None:
    """Raise DataError where more than :data:`MOST_DAMAGED` of the frames are damaged."""
    if outcomes[DAMAGED] > MOST_DAMAGED * outcomes.total():
        raise DataError(f"{path}: {outcomes[DAMAGED]} of {outcomes.total()} frames are damaged; copy the folder again")
