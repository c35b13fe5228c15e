"""Rendering of a performance, frame by frame, as aligned 64x64 crops or through the camera of a video."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.preprocessing.alignment import eye_similarity
from fer_id.simulation.drawn.acting import Performance, Subject
from fer_id.simulation.drawn.canvas import Array, Canvas
from fer_id.simulation.drawn.faces import draw_back_of_head, draw_person
from fer_id.simulation.drawn.geometry import Pose, landmarks
from fer_id.simulation.drawn.scene import draw_room, lay_room
from fer_id.types import CROP, LANDMARKS, StoredClip

SUPERSAMPLE = 2  # factor by which crops are drawn larger, then averaged down
HIDDEN = 0.55  # share of landmarks behind an obstacle above which a detector would miss the face
ALIGN_NOISE = 0.010  # interocular distances; eye centres of a landmark detector are off by about 1 % of their distance
_SENSOR_NOISE = 2.5  # grey levels, standard deviation


class ClipPainter:
    """Painter of the frames of one clip, at ``times`` (T,) in seconds; the room is drawn once, by ``rng``."""

    def __init__(self, subject: Subject, performance: Performance, times: Array, rng: np.random.Generator) -> None:
        self.subject, self.performance, self.times = subject, performance, times
        self.room = draw_room(performance.context, rng)
        self.heads = landmarks(subject.look.shape, performance.activation)
        self._points: dict[int, Array] = {}
        self._light: dict[tuple[int, int], NDArray[np.float32]] = {}

    def pose(self, frame: int) -> Pose:
        """Return the pose of the head in a frame."""
        return Pose(*self.performance.head[frame].tolist())

    def points(self, frame: int) -> Array:
        """Return the landmarks (68, 2) of a frame in scene units."""
        if frame not in self._points:
            self._points[frame] = self.pose(frame).project(self.heads[frame])
        return self._points[frame]

    def visible(self, frame: int) -> bool:
        """Return False where the face is turned away or hidden by an obstacle."""
        act = self.performance
        hidden = act.obstacle is not None and act.obstacle.hides(self.points(frame), self.times[frame]) > HIDDEN
        return not (hidden or act.away[frame])

    def paint(self, frame: int, size: tuple[int, int], camera: Array) -> tuple[NDArray[np.uint8], Array]:
        """Paint one frame through a camera (2, 3) from scene units (``geometry``) to pixels.

        Returns the RGB picture of the ``size`` (height, width), and the landmarks (68, 2) in its pixels, NaN where the
        face is not visible.
        """
        act, pose = self.performance, self.pose(frame)
        canvas = Canvas(size, camera)
        lay_room(canvas, self.room)
        if act.away[frame]:
            draw_back_of_head(canvas, self.subject.look, pose)
        else:
            x, y = act.gaze[frame].tolist()
            draw_person(canvas, self.subject.look, act.activation[frame], pose, (x, y), self.heads[frame])
        if act.obstacle is not None:
            act.obstacle.paint(canvas, float(self.times[frame]))
        landmarks_px = canvas.to_pixels(self.points(frame)) if self.visible(frame) else np.full((LANDMARKS, 2), np.nan)
        if size not in self._light:
            self._light[size] = act.light.field(*size)
        lit = cv2.multiply(canvas.pixels, self._light[size], dtype=cv2.CV_8U)
        return np.asarray(lit, np.uint8), landmarks_px


def paint_crops(painter: ClipPainter, rng: np.random.Generator) -> StoredClip:
    """Paint the whole clip as crops, each frame aligned by its eye centres with a detector's small errors.

    A frame without a visible face keeps the alignment of the frame before.
    """
    count, big = len(painter.times), CROP * SUPERSAMPLE
    frames = np.empty((count, CROP, CROP, 3), np.uint8)
    points, valid = np.full((count, LANDMARKS, 2), np.nan, np.float32), np.zeros(count, bool)
    noise = ALIGN_NOISE * rng.normal(size=(count, 2, 2))
    grain = _SENSOR_NOISE * rng.standard_normal(frames.shape, np.float32)
    camera = eye_camera(painter.points(0), noise[0], big)
    for frame in range(count):
        valid[frame] = painter.visible(frame)
        if valid[frame]:
            camera = eye_camera(painter.points(frame), noise[frame], big)
        picture, drawn = painter.paint(frame, (big, big), camera)
        small = cv2.resize(picture, (CROP, CROP), interpolation=cv2.INTER_AREA)
        frames[frame] = cv2.add(small, grain[frame], dtype=cv2.CV_8U)
        points[frame] = (drawn + 0.5) / SUPERSAMPLE - 0.5
    return StoredClip(frames, points, valid)


def eye_camera(points: Array, noise: Array, size: int) -> Array:
    """Return the camera (..., 2, 3) that maps the eye centres of ``points`` (..., 68, 2), shifted by ``noise``
    (..., 2, 2), to those of an aligned crop."""
    pixels_per_unit = 100.0  # eye_similarity takes pixels and refuses eyes less than one pixel apart
    moved = points.copy()
    moved[..., 36:42, :] += noise[..., :1, :]
    moved[..., 42:48, :] += noise[..., 1:, :]
    camera = eye_similarity(moved * pixels_per_unit, size)
    camera[..., :2] *= pixels_per_unit
    return camera
