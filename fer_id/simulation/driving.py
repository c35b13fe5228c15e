"""A still at its apex, driven through time by its landmarks: rest, expression, and all that is not expression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.preprocessing.alignment import move_points
from fer_id.simulation.arrays import Array
from fer_id.simulation.canvas import Canvas
from fer_id.simulation.geometry import HeadShape, Pose, landmarks
from fer_id.simulation.neutral_shape import EYE_DISTANCE
from fer_id.simulation.performance import Performance
from fer_id.simulation.rendering import ALIGN_NOISE, HIDDEN, eye_camera
from fer_id.simulation.warping import backward_maps, folded
from fer_id.types import CROP, StoredClip

_CAMERA = np.array([[EYE_DISTANCE, 0, 31.5], [0, EYE_DISTANCE, 24.0]])  # eye distances from the eyes' middle -> pixels
_LIDS = ((range(36, 42), (37, 38), (40, 41)), (range(42, 48), (43, 44), (46, 47)))
_BROWS_AND_EYES, _MOUTH = [*range(17, 27), *range(36, 48)], list(range(48, 68))
_MOVED_UPPER, _MOVED_LOWER = 0.06, 0.10  # eye distances by which points move where furrows are deepest
_FURROW = 0.16 * EYE_DISTANCE  # radius of what is smoothed around each furrow, pixels
_SMOOTH = 2.0  # pixels; wrinkles are finer, shading is not
_LIP_LINE = 0.8  # brightness of the line between closed lips, as a share of theirs
_HEAD = landmarks(HeadShape(), np.zeros(14))


@dataclass(frozen=True)
class Still:
    """A face at the apex of its expression, or a neutral one.

    Attributes:
        picture: uint8 (64, 64, 3), an aligned crop.
        points: (68, 2) its landmarks, pixels.
        rest: (68, 2) where they would be at rest.
        gray: whether its light has no colour.
    """

    picture: NDArray[np.uint8]
    points: Array
    rest: Array
    gray: bool


class Driven(NamedTuple):
    """A clip of a still.

    Attributes:
        clip: frames, landmarks and valid flags; a frame in which no face would be found is black.
        folded: (T,) share of each frame that the motion folded over itself.
    """

    clip: StoredClip
    folded: Array


def drive(
    still: Still,
    act: Performance,
    times: Array,
    rng: np.random.Generator,
    *,
    gaze: float = 0.06,
    texture: float = 1.0,
    landmark_noise: float = 0.015,
    noise: float = 0.02,
) -> Driven:
    """One clip of a still.

    Args:
        still: the face.
        act: what happens; its ``intensity`` scales the still's own expression, its ``activation`` moves the face
            beside it, and must hold no expression of its own.
        times: (T,) seconds of the frames.
        rng: of alignment, noise and the eyes.
        gaze, texture, landmark_noise, noise: as in ``DomainConfig``.
    """
    points = _aligned(_moved(still, act), rng)
    maps = _maps(still, points, act.gaze * gaze * EYE_DISTANCE)
    calm = _calm(still, texture)
    light = act.light if not still.gray else replace(act.light, warmth=0.0)
    field = light.field(CROP, CROP)
    grain = rng.standard_normal((len(times), CROP, CROP, 1), np.float32) * (255 * rng.uniform(0, noise))
    frames = np.zeros((len(times), CROP, CROP, 3), np.uint8)
    valid = np.zeros(len(times), np.bool_)
    for t, shown in enumerate(act.intensity):
        seen = cv2.addWeighted(still.picture, float(shown), calm, 1 - float(shown), 0)
        warped = cv2.remap(seen, maps[t, ..., 0], maps[t, ..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        lit = cv2.multiply(warped, field, dtype=cv2.CV_8U)
        passed, hidden = _obstructed(np.asarray(lit, np.uint8), act, points[t], float(times[t]), still.gray)
        valid[t] = not (act.away[t] or hidden > HIDDEN)
        if valid[t]:
            frames[t] = np.clip(passed + grain[t], 0, 255).round()
    missed = landmark_noise * EYE_DISTANCE * rng.standard_normal(points.shape)
    placed = np.where(valid[:, None, None], points + missed, np.nan).astype(np.float32)
    return Driven(StoredClip(frames, placed, valid), folded(maps))


def _moved(still: Still, act: Performance) -> Array:
    """Where the points go (T, 68, 2): from rest by the expression, and with head, lids and stray movements."""
    expression = act.intensity[:, None, None] * (still.points - still.rest)
    beside = np.empty_like(expression)
    for t, activation in enumerate(act.activation):
        pose = Pose(*(float(value) for value in act.head[t]))
        beside[t] = pose.project(landmarks(HeadShape(), activation)) - _HEAD[:, :2]
    beside = beside * EYE_DISTANCE
    moved: Array = still.rest + expression
    for eye, upper, lower in _LIDS:
        # Drawn lids close a drawn eye: scaled to this one, so that they meet and do not cross.
        opening = moved[:, lower, 1].mean(axis=1) - moved[:, upper, 1].mean(axis=1)
        drawn = (_HEAD[list(lower), 1].mean() - _HEAD[list(upper), 1].mean()) * EYE_DISTANCE
        middle = beside[:, list(eye)].mean(axis=1, keepdims=True)
        scale = np.clip(opening / drawn, 0, 1)[:, None]
        beside[:, list(eye), 1] = middle[..., 1] + (beside[:, list(eye), 1] - middle[..., 1]) * scale
    return moved + beside


def _aligned(points: Array, rng: np.random.Generator) -> Array:
    """The points (T, 68, 2) as crops show them: each frame by its own eye centres, as a detector misses them."""
    off = ALIGN_NOISE * EYE_DISTANCE * rng.normal(size=(len(points), 2, 2))
    placed = np.empty_like(points)
    for t, shape in enumerate(points):
        placed[t] = move_points(eye_camera(shape, off[t], CROP), shape)
    return placed


def _maps(still: Still, points: Array, gaze: Array) -> NDArray[np.float32]:
    """Where each pixel of each frame comes from (T, 64, 64, 2); the irises move as points of their own."""
    eyes = [list(eye) for eye, _, _ in _LIDS]
    source = np.concatenate([still.points, [still.points[eye].mean(axis=0) for eye in eyes]])
    looking = np.stack([points[:, eye].mean(axis=1) + gaze for eye in eyes], axis=1)
    return backward_maps(source, np.concatenate([points, looking], axis=1))


def _calm(still: Still, texture: float) -> NDArray[np.uint8]:
    """The picture without what the expression wrote into it, more where it moved the face more: furrows are smoothed
    away, and teeth get the colour of the lips, which close over them."""
    moved = np.linalg.norm(still.points - still.rest, axis=1) / EYE_DISTANCE
    upper = min(float(moved[_BROWS_AND_EYES].mean()) / _MOVED_UPPER, 1.0)
    lower = min(float(moved[_MOUTH].mean()) / _MOVED_LOWER, 1.0)
    p, unit = still.points, EYE_DISTANCE
    furrows = [
        (p[[21, 22, 27]].mean(axis=0), upper),
        (p[17:22].mean(axis=0) - [0, 0.25 * unit], upper),
        (p[22:27].mean(axis=0) - [0, 0.25 * unit], upper),
        (p[36] - [0.2 * unit, 0], max(upper, lower)),
        (p[45] + [0.2 * unit, 0], max(upper, lower)),
        *((p[pair].mean(axis=0), lower) for pair in ([31, 48], [35, 54])),
        *((p[corner], lower) for corner in (48, 54)),
        (p[57] + [0, 0.2 * unit], lower),
    ]
    y, x = np.mgrid[:CROP, :CROP]
    weight = np.zeros((CROP, CROP), np.float32)
    for (cx, cy), strength in furrows:
        near = np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / _FURROW**2)
        weight = np.maximum(weight, strength * near)
    weight = (texture * weight)[..., None]
    smooth = cv2.GaussianBlur(still.picture, (0, 0), _SMOOTH)
    calm = still.picture * (1 - weight) + smooth * weight
    outer, inner = (_polygon(points) for points in (p[48:60], p[60:68]))
    rim = np.clip(outer - inner, 0, 1)[..., None]
    lips = (still.picture * rim).sum(axis=(0, 1)) / max(float(rim.sum()), 1.0)
    gap = texture * lower * cv2.GaussianBlur(inner, (0, 0), 0.7)[..., None]
    closed: NDArray[np.uint8] = (calm * (1 - gap) + _LIP_LINE * lips * gap).round().astype(np.uint8)
    return closed


def _polygon(points: Array) -> NDArray[np.float32]:
    """Coverage (64, 64) in [0, 1] of a polygon of crop pixels."""
    mask = np.zeros((CROP, CROP), np.uint8)
    cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    return mask.astype(np.float32) / np.float32(255)


def _obstructed(
    picture: NDArray[np.uint8], act: Performance, points: Array, time: float, gray: bool
) -> tuple[NDArray[np.uint8], float]:
    """The picture with whatever passes before it, and the share of the landmarks that this hides."""
    if act.obstacle is None:
        return picture, 0.0
    colour = (float(np.mean(act.obstacle.colour)),) * 3 if gray else act.obstacle.colour
    obstacle = replace(act.obstacle, colour=colour)
    canvas = Canvas((CROP, CROP), _CAMERA)
    canvas.pixels[:] = picture
    obstacle.paint(canvas, time)
    return np.asarray(canvas.pixels, np.uint8), obstacle.hides((points - _CAMERA[:, 2]) / EYE_DISTANCE, time)
