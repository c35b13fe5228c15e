"""Animation of a child's neutral still: the expression of another still is brought in by landmarks and by appearance.

The points of the base move by e(t) times a displacement; the picture follows by thin-plate splines. What a warp cannot
make (teeth, furrows) is added within the inner face: e(t) times the difference between the other still, warped to the
base's apex and lit as the base, and the base. Before the onset a frame holds nothing of the other still.
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
from fer_id.simulation.drawn.geometry import HeadShape, landmarks, project_each
from fer_id.simulation.drawn.rendering import ALIGN_NOISE, HIDDEN, eye_camera
from fer_id.simulation.neutral_shape import EYE_DISTANCE
from fer_id.simulation.warping import Maps, backward_maps, folded, remap
from fer_id.types import CROP, StoredClip

_CAMERA = np.array([[EYE_DISTANCE, 0, 31.5], [0, EYE_DISTANCE, 24.0]])  # eye distances from between the eyes -> pixels
_LIDS = ((range(36, 42), (37, 38), (40, 41)), (range(42, 48), (43, 44), (46, 47)))
_MEETING = ((37, 41), (38, 40), (43, 47), (44, 46), (61, 67), (62, 66), (63, 65), (50, 58), (51, 57), (52, 56))
"""Upper and lower points of lids and lips, which may meet and must not cross."""

_INNER, _SOFT = 0.95, 3.0  # border of the inner face: share of the way from the nose to the outline, and blur in pixels
_FOREHEAD = 0.25  # eye distances above the brows
_LOW = CROP / 5  # standard deviation in pixels of the Gaussian whose result is tone and light; those stay the base's
_GAINS = (0.75, 1.6)  # allowed contrast ratio of two pictures; beyond it noise is amplified, or a face washed out
_PARTED = (0.5, 2.0)  # pixels between lips parted by a movement where their inside begins to be, and is, dark
_DARK = 0.4  # brightness of the inside of a mouth, as a share of the lips'
_HEAD = landmarks(HeadShape(), np.zeros(14))


@dataclass(frozen=True)
class Still:
    """A face of a benchmark: an aligned crop, its landmarks (68, 2) in pixels, and the ``neutral`` shape (68, 2) that
    its temples, nose and eye corners make likely."""

    picture: NDArray[np.uint8]
    points: Array
    neutral: Array
    gray: bool  # True where the picture has no colour

    @property
    def pixels(self) -> NDArray[np.float32]:
        """The picture as floats, (64, 64, 3), or (64, 64, 1) without colour."""
        return np.ascontiguousarray(self.picture[..., :1] if self.gray else self.picture, np.float32)


@dataclass(frozen=True)
class Expression:
    """Expression in one child's face: the neutral still ``base``, the face at ``rest`` and at the ``apex`` (68, 2), and
    the ``other`` still, whose expression is brought in."""

    base: Still
    other: Still
    rest: Array
    apex: Array


class Driven(NamedTuple):
    """Clip made from stills; a frame in which a detector would miss the face is black."""

    clip: StoredClip
    folded: Array  # (T,) share of each frame that the motion folds over itself


def drive(
    expression: Expression,
    act: Performance,
    times: Array,
    rng: np.random.Generator,
    *,
    gaze: float = 0.06,
    landmark_noise: float = 0.015,
    noise: float = 0.02,
) -> Driven:
    """Animate an expression, at ``times`` (T,) in seconds.

    The ``intensity`` of the performance is e(t); its ``activation`` adds movements and must contain no expression.
    ``rng`` draws alignment, sensor noise and landmark errors; the amplitudes are those of ``DomainConfig``.
    """
    base, pixels = expression.base, expression.base.pixels
    moved, opened = _moved(expression, act)
    points = _aligned(moved, rng)
    brought = difference(expression)
    own_maps, brought_maps = _maps(expression, points, act.gaze * gaze * EYE_DISTANCE)
    light = act.light if not base.gray else replace(act.light, warmth=0.0)
    field = light.field(CROP, CROP)
    grain = rng.standard_normal((len(times), CROP, CROP, 1), np.float32) * (255 * rng.uniform(0, noise))
    frames = np.zeros((len(times), CROP, CROP, 3), np.uint8)
    valid = np.zeros(len(times), np.bool_)
    for t, intensity in enumerate(act.intensity):
        picture = remap(pixels, own_maps[t])
        if intensity > 0:
            picture += np.float32(intensity) * remap(brought, brought_maps[t])
        if opened[t] > 0:
            picture = _open_mouth(picture, points[t], opened[t])
        rgb = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) if base.gray else picture
        lit = np.asarray(cv2.multiply(rgb, field, dtype=cv2.CV_8U), np.uint8)
        obstructed, hidden = _obstructed(lit, act, points[t], float(times[t]), base.gray)
        valid[t] = not (act.away[t] or hidden > HIDDEN)
        if valid[t]:
            frames[t] = cv2.add(
                obstructed.astype(np.float32), cv2.cvtColor(grain[t], cv2.COLOR_GRAY2RGB), dtype=cv2.CV_8U
            )
    missed = landmark_noise * EYE_DISTANCE * rng.standard_normal(points.shape)
    placed = np.where(valid[:, None, None], points + missed, np.nan).astype(np.float32)
    return Driven(StoredClip(frames, placed, valid), folded(own_maps))


def frame_at(expression: Expression, intensity: float) -> NDArray[np.uint8]:
    """Return the face at one ``intensity`` e, 0 at rest to 1 at the apex, without any other movement, (64, 64, 3)."""
    points = expression.rest + intensity * (expression.apex - expression.rest)
    maps = _maps(expression, points[None], np.zeros((1, 2)))[:, 0]
    picture = remap(expression.base.pixels, maps[0]) + np.float32(intensity) * remap(difference(expression), maps[1])
    return np.broadcast_to(np.clip(picture, 0, 255).round().astype(np.uint8), (CROP, CROP, 3)).copy()


def difference(expression: Expression) -> NDArray[np.float32]:
    """Compute what the other still adds to the base within the inner face at the apex, (64, 64, 3), or (64, 64, 1)
    without colour.

    The other still gives the details; tone and light, the frequencies below a fifth of the picture, and the contrast
    stay the base's.
    """
    base, other, apex = expression.base, expression.other, expression.apex
    maps = backward_maps(np.stack([base.points, other.points]), apex[None])
    mask = inner_face(apex)
    warped = [remap(each.pixels, maps[k, 0]) for k, each in enumerate((base, other))]
    fine = [picture - cv2.GaussianBlur(picture, (0, 0), _LOW).reshape(picture.shape) for picture in warped]
    contrast = [float(np.sqrt((mask * detail**2).sum() / (detail.shape[2] * mask.sum()))) for detail in fine]
    gain = np.clip(contrast[0] / max(contrast[1], 1.0), *_GAINS)
    return np.asarray(mask * (np.float32(gain) * fine[1] - fine[0]), np.float32)


def uncrossed(shape: Array) -> Array:
    """Return a face (68, 2) whose lids and lips meet where they would cross."""
    met = shape.copy()
    for upper, lower in _MEETING:
        if met[upper, 1] > met[lower, 1]:
            met[[upper, lower], 1] = met[[upper, lower], 1].mean()
    return met


def _moved(expression: Expression, act: Performance) -> tuple[Array, Array]:
    """Compute the landmarks (T, 68, 2) under expression, head motion, lids and stray movements, and how far the
    movements open the mouth (T,): 0 closed, 1 its inside is dark."""
    moved: Array = expression.rest + act.intensity[:, None, None] * (expression.apex - expression.rest)
    seen = project_each(landmarks(HeadShape(), act.activation), act.head)
    beside = (seen - _HEAD[:, :2]) * EYE_DISTANCE
    for eye, upper, lower in _LIDS:
        # The lid motion is that of a drawn eye: scaled to this eye, so that its lids meet and do not cross.
        opening = moved[:, lower, 1].mean(axis=1) - moved[:, upper, 1].mean(axis=1)
        drawn = (_HEAD[list(lower), 1].mean() - _HEAD[list(upper), 1].mean()) * EYE_DISTANCE
        middle = beside[:, list(eye)].mean(axis=1, keepdims=True)
        scale = np.clip(opening / drawn, 0, 1)[:, None]
        beside[:, list(eye), 1] = middle[..., 1] + (beside[:, list(eye), 1] - middle[..., 1]) * scale
    parted = beside[:, [65, 66, 67], 1].mean(axis=1) - beside[:, [61, 62, 63], 1].mean(axis=1)
    return moved + beside, np.clip((parted - _PARTED[0]) / (_PARTED[1] - _PARTED[0]), 0, 1)


def _aligned(points: Array, rng: np.random.Generator) -> Array:
    """Align the points (T, 68, 2) of each frame by its eye centres with a detector's error, as crops are aligned."""
    off = ALIGN_NOISE * EYE_DISTANCE * rng.normal(size=(len(points), 2, 2))
    return move_points(eye_camera(points, off, CROP), points).astype(np.float64)


def _maps(expression: Expression, points: Array, gaze: Array) -> Maps:
    """Compute backward maps of the frames into the base's picture and into the apex, (2, T, 64, 64, 2).

    The irises move as points of their own.
    """
    eyes = [list(eye) for eye, _, _ in _LIDS]

    def with_irises(shapes: Array, looking: Array) -> Array:
        middles = [shapes[:, eye].mean(axis=1) + looking for eye in eyes]
        return np.concatenate([shapes, np.stack(middles, axis=1)], axis=1)

    sources = with_irises(np.stack([expression.base.points, expression.apex]), np.zeros((2, 2)))
    return backward_maps(sources, with_irises(points, gaze))


def inner_face(points: Array) -> NDArray[np.float32]:
    """Return a soft mask (64, 64, 1) of the face within its outline and the lower forehead."""
    forehead = points[[19, 24]] - [0, _FOREHEAD * EYE_DISTANCE]
    middle = points[30]
    outline = np.concatenate([points[:17], forehead[::-1]])
    mask = np.zeros((CROP, CROP), np.uint8)
    cv2.fillPoly(mask, [np.rint((middle + _INNER * (outline - middle)) * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _SOFT) / np.float32(255)
    return np.asarray(soft, np.float32)[..., None]


def _open_mouth(picture: NDArray[np.float32], points: Array, opened: float) -> NDArray[np.float32]:
    """Darken the inside of a mouth that a movement opens: a warp only stretches the lips."""
    mask = np.zeros((CROP, CROP), np.uint8)
    cv2.fillPoly(mask, [np.rint(points[60:68] * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    inside = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.6)[..., None] * np.float32(opened / 255)
    x, y = np.clip(points[48:60].round().astype(int), 0, CROP - 1).T
    inner = _DARK * picture[y, x].mean(axis=0)
    return np.asarray(picture + inside * np.minimum(inner - picture, 0), np.float32)


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
