"""Choice of the target among several faces from marks that a person has set on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_id.errors import DataError
from fer_id.preprocessing.landmarks import Face, FaceLandmarker
from fer_id.preprocessing.tracking import Follower
from fer_id.preprocessing.video import gap_s, pictures_end, sample_frames

_MARGIN = 0.25  # of a face's size: a mark on hair or an ear, outside the mesh, is on the face


class MarkError(DataError):
    """Mark that lies on no face."""


@dataclass(frozen=True, order=True)
class Mark:
    """Point on the target's face at a moment."""

    time_s: float  # seconds in the video
    x: float  # share of the displayed picture's width, from its left edge, in [0, 1]
    y: float  # likewise of its height, from its upper edge
    row: str = ""  # origin of the mark for messages, such as ``faces.csv, line 2``


class MarkedFace(Follower):
    """Result of :func:`follow_marks`: ``places`` maps moments to the target's index among the faces of that frame, and
    has no entry where the target is absent."""

    def __init__(self, places: Mapping[float, int]) -> None:
        super().__init__()
        self._places = places

    def choose(self, faces: list[Face], time: float, width: int, height: int) -> Face | None:
        place = self._places.get(float(time))
        return None if place is None else faces[place]


class _Glimpse(NamedTuple):
    """Faces at a moment, without their meshes, and the size of the picture (0 without a picture)."""

    time: float
    faces: list[Face]
    width: int
    height: int


def follow_marks(
    path: Path, marks: Sequence[Mark], times: Sequence[float], fps: float, landmarker: FaceLandmarker
) -> MarkedFace:
    """Follow the target from each mark, forwards and backwards; at any moment the mark nearest in time counts.

    The moments are ``times``, at ``fps`` frames a second; frames between a mark and them are sampled too, at the same
    rate. Raise MarkError, with the rows of all marks after the video's end or on no face, and DataError where the video
    cannot be read. The landmarker is the same as for ``follow_face``.
    """
    end = pictures_end(path)
    late = [mark for mark in marks if mark.time_s > end]
    if late:
        raise MarkError(
            "; ".join(f"{mark.row}: {mark.time_s:g} s is after the end of {path} at {end:.2f} s" for mark in late)
        )
    marks = sorted(marks)
    moments = _moments(marks, times, 1 / fps)
    images = sample_frames(path, moments, gap_s(fps))
    glimpses = [_glimpse(image, time, landmarker) for image, time in zip(images, moments, strict=True)]
    places, missed = dict[float, int](), list[str]()
    for mark in marks:
        try:
            places |= _from_mark(mark, [glimpse for glimpse in glimpses if _nearest(marks, glimpse.time) == mark])
        except MarkError as problem:
            missed.append(f"{problem} in {path}")
    if missed:
        raise MarkError("; ".join(missed))
    return MarkedFace(places)


def _nearest(marks: Sequence[Mark], time: float) -> Mark:
    return min(marks, key=lambda mark: abs(mark.time_s - time))


def _moments(marks: Sequence[Mark], times: Sequence[float], step: float) -> list[float]:
    """Return the sorted moments of ``times`` and ``marks``, with moments every ``step`` seconds between them."""
    wanted = sorted({*map(float, times), *(mark.time_s for mark in marks)})
    filled = wanted[:1]
    for before, after in pairwise(wanted):
        if _nearest(marks, before) == _nearest(marks, after):
            filled += (before + step * np.arange(1, max(1, round((after - before) / step)))).tolist()
        filled.append(after)
    return sorted(filled)


def _glimpse(image: NDArray[np.uint8] | str, time: float, landmarker: FaceLandmarker) -> _Glimpse:
    if isinstance(image, str):
        return _Glimpse(time, [], 0, 0)
    faces = [replace(face, points478=np.reshape(face.box, (2, 2))) for face in landmarker.detect(image)]
    return _Glimpse(time, faces, image.shape[1], image.shape[0])


def _from_mark(mark: Mark, glimpses: list[_Glimpse]) -> dict[float, int]:
    """Return moment -> index of the marked face, over the moments for which this mark counts."""
    at = next(glimpse for glimpse in glimpses if glimpse.time == mark.time_s)
    marked = _marked(mark, at)
    places = {mark.time_s: marked}
    after = [glimpse for glimpse in glimpses if glimpse.time > mark.time_s]
    before = [glimpse for glimpse in reversed(glimpses) if glimpse.time < mark.time_s]
    for sign, side in ((1, after), (-1, before)):
        follower = Follower()
        follower.begin(at.faces[marked], sign * mark.time_s)
        for glimpse in side:
            face = follower.choose(glimpse.faces, sign * glimpse.time, glimpse.width, glimpse.height)
            place = next((place for place, other in enumerate(glimpse.faces) if other is face), None)
            if place is not None:
                places[glimpse.time] = place
    return places


def _marked(mark: Mark, at: _Glimpse) -> int:
    """Return the index of the face under the mark, of several the nearest; MarkError where it lies on no face."""
    x, y = mark.x * at.width, mark.y * at.height
    distances = {}
    for place, face in enumerate(at.faces):
        left, top, right, bottom = face.box
        margin = _MARGIN * face.size
        if left - margin <= x <= right + margin and top - margin <= y <= bottom + margin:
            distances[place] = math.dist(face.middle, (x, y))
    if distances:
        return min(distances, key=distances.__getitem__)
    centres = sorted(face.middle for face in at.faces)
    there = ", ".join(f"({mx / at.width:.2f}, {my / at.height:.2f})" for mx, my in centres)
    picture = f"faces are seen at {there}" if there else "no face is seen" if at.width else "there is no picture"
    raise MarkError(f"{mark.row}: no face at x {mark.x:g}, y {mark.y:g}; {picture} at {mark.time_s:g} s")
