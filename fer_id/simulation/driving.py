"""Animation of a still by its landmarks: from a face at rest to the apex, with head motion, lids, light and obstacles.

Moving the landmarks to rest is not enough: furrows, teeth, shading and their warped traces disclose the expression to a
network before its onset (measured in docs/RESULTS.md). So within its outline a face at rest is the picture of another
neutral face of the same shape, and the expression is a morph of two aligned faces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.preprocessing.alignment import move_points
from fer_id.simulation.drawn.acting import Performance
from fer_id.simulation.drawn.canvas import Array, Canvas
from fer_id.simulation.drawn.geometry import HeadShape, Pose, landmarks
from fer_id.simulation.drawn.rendering import ALIGN_NOISE, HIDDEN, eye_camera
from fer_id.simulation.neutral_shape import EYE_DISTANCE
from fer_id.simulation.warping import backward_maps, folded
from fer_id.types import CROP, StoredClip

_CAMERA = np.array([[EYE_DISTANCE, 0, 31.5], [0, EYE_DISTANCE, 24.0]])  # eye distances from between the eyes -> pixels
_LIDS = ((range(36, 42), (37, 38), (40, 41)), (range(42, 48), (43, 44), (46, 47)))
_INNER, _SOFT = 0.9, 2.0  # border between two faces: share of the way from the nose to the outline, and blur in pixels
_FOREHEAD = 0.35  # eye distances above the brows
_GAINS = (0.75, 1.33)  # allowed contrast ratio of two pictures; beyond it noise is amplified, or a face washed out
_PLANE = np.stack([np.ones(CROP * CROP), *(np.mgrid[:CROP, :CROP].reshape(2, -1) / CROP)], axis=1)
_HEAD = landmarks(HeadShape(), np.zeros(14))


@dataclass(frozen=True)
class Still:
    """A face at the apex of its expression, or a neutral one: an aligned crop, its landmarks (68, 2) in pixels, and
    their estimate ``rest`` for the same face at rest."""

    picture: NDArray[np.uint8]
    points: Array
    rest: Array
    calm: NDArray[np.uint8]  # another person's neutral face, visible within the outline at rest
    calm_points: Array
    gray: bool  # True where the pictures have no colour


class Driven(NamedTuple):
    """Clip made from a still; a frame in which a detector would miss the face is black."""

    clip: StoredClip
    folded: Array  # (T,) share of each frame that the motion folds over itself


def drive(
    still: Still,
    act: Performance,
    times: Array,
    rng: np.random.Generator,
    *,
    gaze: float = 0.06,
    landmark_noise: float = 0.015,
    noise: float = 0.02,
) -> Driven:
    """Animate a still, at ``times`` (T,) in seconds.

    The ``intensity`` of the performance scales the still's own expression; its ``activation`` adds movements and must
    contain no expression. ``rng`` draws alignment, sensor noise and landmark errors; the amplitudes are those of
    ``DomainConfig``.
    """
    points = _aligned(_moved(still, act), rng)
    maps, calm_maps = _maps(still, points, act.gaze * gaze * EYE_DISTANCE)
    calm = _matched(still, calm_maps[-1])
    light = act.light if not still.gray else replace(act.light, warmth=0.0)
    field = light.field(CROP, CROP)
    grain = rng.standard_normal((len(times), CROP, CROP, 1), np.float32) * (255 * rng.uniform(0, noise))
    frames = np.zeros((len(times), CROP, CROP, 3), np.uint8)
    valid = np.zeros(len(times), np.bool_)
    for t, intensity in enumerate(act.intensity):
        own, other = _warp(still.picture, maps[t]), _warp(calm, calm_maps[t])
        resting = (1 - np.float32(intensity)) * inner_face(points[t])
        lit = cv2.multiply(own + resting * (other - own), field, dtype=cv2.CV_8U)
        obstructed, hidden = _obstructed(np.asarray(lit, np.uint8), act, points[t], float(times[t]), still.gray)
        valid[t] = not (act.away[t] or hidden > HIDDEN)
        if valid[t]:
            frames[t] = np.clip(obstructed + grain[t], 0, 255).round()
    missed = landmark_noise * EYE_DISTANCE * rng.standard_normal(points.shape)
    placed = np.where(valid[:, None, None], points + missed, np.nan).astype(np.float32)
    return Driven(StoredClip(frames, placed, valid), folded(maps))


def _warp(picture: NDArray[np.uint8], where: NDArray[np.float32]) -> NDArray[np.float32]:
    warped = cv2.remap(picture, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, np.float32)


def _moved(still: Still, act: Performance) -> Array:
    """Compute the landmarks (T, 68, 2) under expression, head motion, lids and stray movements."""
    expression = act.intensity[:, None, None] * (still.points - still.rest)
    heads = landmarks(HeadShape(), act.activation)
    seen = [Pose(*place).project(head) for place, head in zip(act.head.tolist(), heads, strict=True)]
    beside = (np.stack(seen) - _HEAD[:, :2]) * EYE_DISTANCE
    moved: Array = still.rest + expression
    for eye, upper, lower in _LIDS:
        # The lid motion is that of a drawn eye: scaled to this eye, so that its lids meet and do not cross.
        opening = moved[:, lower, 1].mean(axis=1) - moved[:, upper, 1].mean(axis=1)
        drawn = (_HEAD[list(lower), 1].mean() - _HEAD[list(upper), 1].mean()) * EYE_DISTANCE
        middle = beside[:, list(eye)].mean(axis=1, keepdims=True)
        scale = np.clip(opening / drawn, 0, 1)[:, None]
        beside[:, list(eye), 1] = middle[..., 1] + (beside[:, list(eye), 1] - middle[..., 1]) * scale
    return moved + beside


def _aligned(points: Array, rng: np.random.Generator) -> Array:
    """Align the points (T, 68, 2) of each frame by its eye centres with a detector's error, as crops are aligned."""
    off = ALIGN_NOISE * EYE_DISTANCE * rng.normal(size=(len(points), 2, 2))
    placed = np.empty_like(points)
    for t, shape in enumerate(points):
        placed[t] = move_points(eye_camera(shape, off[t], CROP), shape)
    return placed


def _maps(still: Still, points: Array, gaze: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute backward maps of the frames into the still (T, 64, 64, 2) and into the neutral face (T + 1, 64, 64, 2).

    The last map lays the neutral face over the still. The irises move as points of their own.
    """
    eyes = [list(eye) for eye, _, _ in _LIDS]

    def with_irises(shapes: Array, looking: Array) -> Array:
        middles = [shapes[:, eye].mean(axis=1) + looking for eye in eyes]
        return np.concatenate([shapes, np.stack(middles, axis=1)], axis=1)

    sources = with_irises(np.stack([still.points, still.calm_points]), np.zeros((2, 2)))
    targets = np.concatenate([with_irises(points, gaze), sources[:1]])
    own, other = backward_maps(sources, targets)
    return own[:-1], other


def _matched(still: Still, over: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Match the neutral face to the still's light along their common border: one contrast, and a plane of brightness.

    ``over`` (64, 64, 2) is the backward map that lays the neutral face over the still.
    """
    inner = inner_face(still.points)[..., 0]
    weight = (inner * (1 - inner)).reshape(-1, 1).astype(np.float64)
    here, there = (picture.reshape(-1, 3).astype(np.float64) for picture in (_warp(still.calm, over), still.picture))
    gain = np.clip(_spread(there, weight) / np.maximum(_spread(here, weight), 1.0), *_GAINS)
    fitted, *_ = np.linalg.lstsq(_PLANE * weight, (there - gain * here) * weight, rcond=None)
    lit = gain * still.calm + (_PLANE @ fitted).reshape(CROP, CROP, 3)
    return np.asarray(np.clip(lit, 0, 255).round(), np.uint8)


def _spread(values: Array, weight: Array) -> Array:
    """Compute the standard deviation of each channel under weights (N, 1), (N, 3) -> (3,)."""
    share = weight / weight.sum()
    return np.asarray(np.sqrt((share * (values - (share * values).sum(axis=0)) ** 2).sum(axis=0)))


def inner_face(points: Array) -> NDArray[np.float32]:
    """Return a soft mask (64, 64, 1) of the face within its outline and the lower forehead."""
    forehead = points[[19, 24]] - [0, _FOREHEAD * EYE_DISTANCE]
    middle = points[30]
    outline = np.concatenate([points[:17], forehead[::-1]])
    mask = np.zeros((CROP, CROP), np.uint8)
    cv2.fillPoly(mask, [np.rint((middle + _INNER * (outline - middle)) * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _SOFT) / np.float32(255)
    return np.asarray(soft, np.float32)[..., None]


def _obstructed(
    picture: NDArray[np.uint8], act: Performance, points: Array, time: float, gray: bool
) -> tuple[NDArray[np.uint8], float]:
    """Paint the obstacle over the picture; return the picture and the share of hidden landmarks."""
    if act.obstacle is None:
        return picture, 0.0
    colour = (float(np.mean(act.obstacle.colour)),) * 3 if gray else act.obstacle.colour
    obstacle = replace(act.obstacle, colour=colour)
    canvas = Canvas((CROP, CROP), _CAMERA)
    canvas.pixels[:] = picture
    obstacle.paint(canvas, time)
    return np.asarray(canvas.pixels, np.uint8), obstacle.hides((points - _CAMERA[:, 2]) / EYE_DISTANCE, time)
