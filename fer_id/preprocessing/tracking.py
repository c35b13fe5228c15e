"""Tracking of one person's face through video frames, aligned crops of it, and windows of T frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_id.preprocessing.alignment import align, eye_centres
from fer_id.preprocessing.landmarks import Face, FaceLandmarker
from fer_id.preprocessing.video import DAMAGED, NO_PICTURE
from fer_id.types import CROP, LANDMARKS

FOUND, NO_FACE, SOMEONE_ELSE, TOO_SMALL = "found", "no face", "another face only", "too small"
OUTCOMES = (FOUND, NO_FACE, SOMEONE_ELSE, TOO_SMALL, NO_PICTURE, DAMAGED)
"""Outcomes of a frame; all but the first are reasons for a frame without a usable face."""

MOST_FACES = 4  # faces detected per frame, at most; enough to distinguish a therapist or a parent from the child
PATIENCE_S = 1.0  # seconds of absence over which the search region of the target grows; then it stays constant
Box = tuple[float, float, float, float]

_REACH = 0.75  # face sizes that the target may move between two frames, plus as much per second of absence
_GROWTH = 1.6  # factor by which its size may change likewise


class Seen(NamedTuple):
    """Sampled frame."""

    # uint8 (64, 64, 3), RGB; black unless found, so that no other part of the picture is stored
    crop: NDArray[np.uint8]
    landmarks: NDArray[np.float32]  # float32 (68, 2) in crop pixels, NaN unless found
    outcome: str  # one of OUTCOMES
    # left, top, right, bottom of every face in the frame, as shares of the picture's width and height
    boxes: tuple[Box, ...] = ()
    chosen: int | None = None  # index of the target in ``boxes``; None where the target is absent


class Follower:
    """Tracker of one face: it begins with the largest and most central face and continues by position and size.

    No other face takes the target's place: a face that returns elsewhere, or larger, is taken for another person's.
    ``patience`` (seconds) is explained at :data:`PATIENCE_S`. After ``reacquire_s`` seconds without the target (None:
    never) tracking starts anew; ``restarts`` counts these new starts.
    """

    def __init__(self, patience: float = PATIENCE_S, reacquire_s: float | None = None) -> None:
        self.patience, self.reacquire_s, self.restarts = patience, reacquire_s, 0
        self._last: tuple[Face, float] | None = None

    def begin(self, face: Face, time: float) -> None:
        """Set the target to this face, seen at ``time``."""
        self._last = face, time

    def choose(self, faces: list[Face], time: float, width: int, height: int) -> Face | None:
        """Return the target's face among a frame's faces, None where it is absent; ``time`` (s) ascends from call to
        call."""
        if not faces:
            return None
        if self._last is None or (self.reacquire_s is not None and time - self._last[1] > self.reacquire_s):
            self.restarts += self._last is not None
            chosen = max(faces, key=lambda face: _prominence(face, width, height))
        else:
            last, since = self._last
            near = [face for face in faces if _goes_on(face, last, min(time - since, self.patience))]
            if not near:
                return None
            chosen = min(near, key=lambda face: math.dist(face.middle, last.middle))
        self.begin(chosen, time)
        return chosen


def follow_face(
    frames: Iterable[NDArray[np.uint8] | str],
    times: Iterable[float],
    landmarker: FaceLandmarker,
    *,
    min_eye_distance: float,
    gray: bool = False,
    follower: Follower | None = None,
) -> Iterator[Seen]:
    """Yield the target's aligned crop in every frame, uint8 (H, W, 3), RGB, or the reason of a missing frame.

    ``frames`` are those of :func:`fer_id.preprocessing.video.sample_frames` at ``times`` (s); the landmarker has
    ``max_faces`` of :data:`MOST_FACES`. A face with less than ``min_eye_distance`` pixels between the eye centres is
    too small. ``gray``: without colour, as FER2013. ``follower`` chooses the target's face; by default a new one.
    """
    follower = follower or Follower()
    for image, time in zip(frames, times, strict=True):
        if isinstance(image, str):
            yield unseen(image)
            continue
        faces = landmarker.detect(image)
        height, width = image.shape[:2]
        face = follower.choose(faces, time, width, height)
        if face is None:
            seen = unseen(SOMEONE_ELSE if faces else NO_FACE)
        else:
            seen = cropped(image, face.points68, min_eye_distance=min_eye_distance, gray=gray)
        boxes = tuple(
            (x0 / width, y0 / height, x1 / width, y1 / height) for x0, y0, x1, y1 in (face.box for face in faces)
        )
        chosen = next((index for index, detected in enumerate(faces) if detected is face), None)
        yield seen._replace(boxes=boxes, chosen=chosen)


def cropped(
    image: NDArray[np.uint8], points68: NDArray[np.floating] | None, *, min_eye_distance: float, gray: bool
) -> Seen:
    """Return the face of a frame, aligned by its landmarks, (68, 2) in its pixels; the whole frame where they are None.

    All NaN: no face. ``min_eye_distance`` and ``gray`` are explained at :func:`follow_face`.
    """
    if points68 is not None and np.isnan(points68).all():
        return unseen(NO_FACE)
    if points68 is not None and not math.dist(*eye_centres(points68)) >= min_eye_distance:
        return unseen(TOO_SMALL)
    crop, landmarks = align(image, points68)
    return Seen(_without_colour(crop) if gray else crop, landmarks, FOUND)


def windows(length: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Return windows (start, end) over ``length`` frames; the last is moved back to end with the clip.

    A clip shorter than a window gives one window of its own length.

    >>> windows(25, 10, 10)
    [(0, 10), (10, 20), (15, 25)]
    """
    if length <= size:
        return [(0, length)] if length else []
    starts = list(range(0, length - size + 1, stride))
    if starts[-1] + size < length:
        starts.append(length - size)
    return [(start, start + size) for start in starts]


def sample_times(start_s: float, end_s: float, fps: float) -> NDArray[np.float64]:
    """Return the moments from ``start_s`` on, every 1/``fps`` seconds, before ``end_s``; at least one moment."""
    count = max(1, math.ceil((end_s - start_s) * fps - 1e-6))
    times: NDArray[np.float64] = start_s + np.arange(count) / fps
    return times


def unseen(outcome: str) -> Seen:
    """Return a frame without a usable face, for a reason of :data:`OUTCOMES`."""
    return Seen(np.zeros((CROP, CROP, 3), np.uint8), np.full((LANDMARKS, 2), np.nan, np.float32), outcome)


def _goes_on(face: Face, last: Face, away: float) -> bool:
    """Return whether a face's position and size are possible for the target after ``away`` seconds."""
    slack = 1 + away
    growth = abs(math.log(face.size / last.size))
    return math.dist(face.middle, last.middle) <= _REACH * slack * last.size and growth <= math.log(_GROWTH) * slack


def _prominence(face: Face, width: int, height: int) -> float:
    """Return the area of a face, weighted by its distance from the picture's centre: half at 1/4 of the diagonal."""
    x, y = face.middle
    off = math.hypot(x - width / 2, y - height / 2) / (0.25 * math.hypot(width, height))
    return float(face.size**2 * 0.5 ** (off**2))


def _without_colour(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
