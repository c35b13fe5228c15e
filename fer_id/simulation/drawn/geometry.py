"""Geometry of a drawn head: 68 landmarks in three dimensions from head shape and action units.

Unit of length: one interocular distance (about 6 cm in a child). The origin lies between the eye centres, x points to
the right of the picture, y down, z to the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fer_id.simulation.drawn.canvas import Array, columns, even
from fer_id.simulation.drawn.expression import AU_INDEX

JAW, BROWS, BRIDGE, NOSTRILS = slice(0, 17), (slice(17, 22), slice(22, 27)), slice(27, 31), slice(31, 36)
EYES, OUTER_LIP, INNER_LIP = (slice(36, 42), slice(42, 48)), slice(48, 60), slice(60, 68)

_LEFT, _RIGHT = -1, 1  # signs of the sides of the picture


@dataclass(frozen=True)
class HeadShape:
    """Proportions of a face in interocular distances; the defaults are those of a child of about nine."""

    half_width: float = 1.08
    chin: float = 1.62
    jaw_taper: float = 0.16  # share of the width lost towards the chin
    squareness: float = 2.15  # exponent of the superellipse: 2 round, 2.6 square
    crown: float = -1.45
    hairline: float = -0.98
    eye_width: float = 0.47
    eye_height: float = 0.20
    eye_tilt: float = 0.02  # height of the outer corner above the inner one
    brow_height: float = 0.29
    brow_arch: float = 0.07
    brow_thick: float = 0.07
    nose_length: float = 0.60
    nose_width: float = 0.23
    mouth_y: float = 1.02
    mouth_width: float = 0.38
    upper_lip: float = 0.075
    lower_lip: float = 0.105


@dataclass(frozen=True)
class Pose:
    """Position of the head and its rotation in radians (yaw: to the right, pitch: down, roll: clockwise)."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0

    def project(self, points: Array) -> Array:
        """Rotate head points about the neck and project them orthographically, (..., 3) -> scene points (..., 2)."""
        return points @ self._matrix + self._shift

    @cached_property
    def _shift(self) -> Array:
        return _shift(self._matrix, np.array([self.x, self.y]))

    @cached_property
    def _matrix(self) -> Array:
        return _rotation(np.array([self.yaw, self.pitch, self.roll]))


def project_each(heads: Array, places: Array) -> Array:
    """Project the head points (T, N, 3) of each frame in a pose of its own, (T, 5) as in :class:`Pose`; (T, N, 2)."""
    matrices = _rotation(places[:, :3])
    return np.asarray(heads @ matrices + _shift(matrices, places[:, 3:])[:, None])


def _rotation(angles: Array) -> Array:
    """Return the rotation by pitch, yaw and roll, then projection along z, (..., 3) yaw, pitch, roll -> (..., 3, 2)."""
    (cy, cp, cr), (sy, sp, sr) = (np.moveaxis(part, -1, 0) for part in (np.cos(angles), np.sin(angles)))
    across = [cr * cy + sr * sp * sy, -sr * cp, cr * sy - sr * sp * cy]
    down = [sr * cy - cr * sp * sy, cr * cp, sr * sy + cr * sp * cy]
    return np.stack([np.stack(across, axis=-1), np.stack(down, axis=-1)], axis=-1)


def _shift(rotation: Array, place: Array) -> Array:
    """Return what to add to rotated points (..., 2), so that the neck is the pivot and the head at its place."""
    pivot = np.array([0.0, 0.6, -0.7])
    return pivot[:2] - pivot @ rotation + place


def landmarks(shape: HeadShape, activation: Array) -> Array:
    """Compute the 68 iBUG points (..., 68, 3) of faces with action units ``activation``.

    ``activation`` is (14,) for both halves of one face alike, or (..., 2, 14) for the left and right half of the
    picture. Values are 0 to 1; a resting face may have slightly negative ones (brows or mouth corners set the other
    way). ValueError: ``activation`` has another shape.
    """
    sides = np.broadcast_to(activation, (2, len(activation))) if activation.ndim == 1 else activation
    if sides.shape[-2:] != (2, len(AU_INDEX)):
        raise ValueError(f"activation {activation.shape}: expected (14,) or (..., 2, 14)")
    mean = sides.mean(axis=-2)
    points = np.empty((*sides.shape[:-2], 68, 3))
    _put(points[..., JAW, :], _jaw(shape, mean))
    down = even(0, 1, 4)
    _put(points[..., BRIDGE, :], (np.zeros(4), 0.04 + (shape.nose_length - 0.10) * down, 0.5 + 0.32 * down))
    _put(points[..., NOSTRILS, :], _nostrils(shape, sides))
    _put(points[..., 48:, :], _mouth(shape, sides, mean))
    for index, side in enumerate((_LEFT, _RIGHT)):
        half = sides[..., index, :]
        # A half is built from the outer corner inwards; iBUG counts both brows and eyes from the left of the picture.
        brow, eye = points[..., BROWS[index], :], points[..., EYES[index], :]
        _put(brow if side == _LEFT else brow[..., ::-1, :], _brow(shape, half, side))
        _put(eye, _eye(shape, half, side))
        if side == _RIGHT:
            eye[:] = eye[..., [3, 2, 1, 0, 5, 4], :]
    return points


Places = tuple[Array, Array, Array]  # x, y and z of N points, each (..., N), or (N,) where no action unit moves it


def _put(points: Array, places: Places) -> None:
    for axis, values in enumerate(places):
        points[..., axis] = values


def _au(activation: Array, unit: int) -> Array:
    """Return the activation of one action unit, (..., 14) -> (..., 1)."""
    return activation[..., AU_INDEX[unit], None]


def _share(values: Array) -> Array:
    return np.minimum(np.maximum(values, 0.0), 1.0)


def _jaw(shape: HeadShape, a: Array) -> Places:
    angle = even(np.pi, 0, 17)
    sine = np.sin(angle)
    power = 2 / shape.squareness
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * shape.half_width * (1 - shape.jaw_taper * sine**2)
    drop = 0.36 * _au(a, 26) - 0.03 * _au(a, 17)
    y = (shape.chin + drop) * sine**power
    return x, y, -0.35 + 0.55 * sine


def skull(shape: HeadShape, points: int = 15) -> Array:
    """Return the outline (N, 3) over the top of the head, from the left temple to the right one, at eye level."""
    angle = even(np.pi, 2 * np.pi, points)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = np.sign(cos) * np.abs(cos) ** 0.85, -(np.abs(sin) ** 0.85)
    return columns(x * shape.half_width, y * -shape.crown, np.full(points, -0.35))


def _brow(shape: HeadShape, a: Array, side: int) -> Places:
    """Return five brow points from the outer end inwards."""
    share = even(0, 1, 5)
    inner, outer, lower = _au(a, 1), _au(a, 2), _au(a, 4)
    x = 0.86 - 0.66 * share - 0.07 * lower * share**2
    arch = shape.brow_arch * np.sin(np.pi * np.clip(share * 0.9 + 0.05, 0, 1))
    raised = 0.21 * inner * share**2 + 0.17 * outer * (1 - share) ** 0.7 + 0.07 * outer
    lowered = lower * (0.10 + 0.14 * share**1.2)
    y = -shape.brow_height - arch - raised + lowered + 0.02 * (1 - share)
    return side * x, y, 0.30 + 0.2 * share


def _eye(shape: HeadShape, a: Array, side: int) -> Places:
    """Return six eye points: outer corner, two points above, inner corner, two points below (inner first)."""
    raise_, cheek, tight, blink = _au(a, 5), _au(a, 6), _au(a, 7), _share(_au(a, 45))
    smile, frown = _au(a, 12), np.maximum(0.0, _au(a, 4))
    upper = shape.eye_height * (0.56 + 0.52 * raise_ - 0.20 * tight - 0.06 * cheek - 0.10 * frown)
    lower = shape.eye_height * (0.42 + 0.12 * raise_ - 0.22 * tight - 0.26 * cheek - 0.05 * smile)
    upper = np.maximum(upper, 0.0) * (1 - blink) - lower * 0.8 * blink
    tilt = shape.eye_tilt
    x = 0.5 + shape.eye_width / 2 * np.array([1, 0.36, -0.36, -1, -0.36, 0.36])
    y = np.array([-tilt, -0.7 * tilt, 0, 0.02, 0, -0.7 * tilt])
    y = y - upper * np.array([0, 1, 1, 0, 0, 0]) + lower * np.array([0, 0, 0, 0, 1, 1])
    return side * x, y, np.array([0.25, 0.4, 0.42, 0.35, 0.4, 0.38])


def _nostrils(shape: HeadShape, sides: Array) -> Places:
    t = even(-1, 1, 5)
    smiles = _au(sides, 12)
    smile = np.where(t < 0, smiles[..., 0, :], smiles[..., 1, :]) * np.abs(t)
    x = shape.nose_width * t * 0.9 * (1 + 0.10 * smile)
    y = shape.nose_length + 0.05 * (1 - t**2) - 0.02 * smile
    return x, y, 0.62 + 0.15 * (1 - np.abs(t))


def _mouth(shape: HeadShape, sides: Array, mean: Array) -> Places:
    """Return the mouth points: outer lip 48-59, inner lip 60-67."""
    part = _share(_au(mean, 25)) * (1 - 0.5 * _share(_au(mean, 23)))
    drop, tight, chin = _share(_au(mean, 26)), _au(mean, 23), _au(mean, 17)
    upper_lip = shape.upper_lip * (1 - 0.45 * tight - 0.12 * _au(mean, 12))
    lower_lip = shape.lower_lip * (1 - 0.45 * tight - 0.12 * _au(mean, 12))
    gap_up, gap_down = 0.045 * part + 0.02 * drop, 0.075 * part + 0.44 * drop + 0.03 * part * _au(mean, 12)

    outer_t = np.array([-1, -0.62, -0.22, 0, 0.22, 0.62, 1, 0.60, 0.25, 0, -0.25, -0.60])
    inner_t = np.array([-0.90, -0.38, 0, 0.38, 0.90, 0.38, 0, -0.38])
    up, down = np.array([0, 0.72, 1.08, 0.86, 1.08, 0.72, 0]), np.array([0.70, 1, 1.05, 1, 0.70])
    inner_up, inner_down = np.array([0, 0.92, 1, 0.92, 0]), np.array([0.93, 1, 0.93])
    outer_y = (-(upper_lip + gap_up) * up, (lower_lip + gap_down) * down)
    y = np.concatenate([*outer_y, -gap_up * inner_up, gap_down * inner_down], axis=-1)

    t = np.concatenate([outer_t, inner_t])
    right = (t > 0).astype(int)
    smile, frown, stretch = (sides[..., right, AU_INDEX[unit]] for unit in (12, 15, 20))
    reach = shape.mouth_width * (1 + 0.36 * smile + 0.22 * stretch - 0.10 * tight + 0.04 * frown - 0.05 * drop)
    corner = np.abs(t) ** 1.8
    sag = np.abs(t) ** 2.4
    bend = -0.21 * smile * corner + 0.03 * smile + frown * (0.16 * sag - 0.03) + 0.05 * stretch * corner
    bend = bend - 0.03 * chin * (1 - corner) * (1 - part)
    return t * reach, shape.mouth_y + y + bend, 0.56 - 0.22 * t**2
