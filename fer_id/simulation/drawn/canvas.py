"""Canvas for smooth filled shapes, lines, soft glows and gradients on an RGB picture, seen through a camera.

Small arrays are made by :func:`columns`, :func:`even` and :func:`at_depth`, since numpy's own constructors take ten
times as long in the inner loops of drawing.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]
Colour = tuple[float, float, float]

cv2.setNumThreads(0)
_SHIFT = 4  # fractional bits of cv2's fixed-point coordinates
_ONE = 1 << _SHIFT
_FAINT = 0.04  # smallest weight of a colour that is painted
_SHARP = 0.75  # pixels; an edge with less blur looks like an antialiased one
_SMALL = 200_000  # largest picture, in bytes, that is copied whole
_SPOT = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def columns(*values: Array) -> Array:
    """Stack arrays (N,) as the columns of one (N, D), like ``np.stack(values, axis=1)``."""
    return np.array(values).T


@lru_cache(maxsize=64)
def even(start: float, stop: float, count: int) -> Array:
    """Return ``np.linspace``, cached and read-only."""
    values = np.linspace(start, stop, count)
    values.flags.writeable = False
    return values


def at_depth(points: Array, z: float) -> Array:
    """Place flat points at one depth of the head, (N, 2) -> (N, 3)."""
    placed = np.full((len(points), 3), z)
    placed[:, :2] = points
    return placed


@lru_cache(maxsize=64)
def _spline_basis(count: int, closed: bool, steps: int) -> Array:
    """Return the matrix (M, count) from control points to points of a Catmull-Rom curve through them."""
    segments = count if closed else count - 1
    t = np.arange(steps) / steps
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )
    basis = np.zeros((segments * steps + (not closed), count))
    for segment in range(segments):
        for k in range(4):
            point = segment - 1 + k
            point = point % count if closed else min(max(point, 0), count - 1)
            basis[segment * steps : (segment + 1) * steps, point] += weights[:, k]
    if not closed:
        basis[-1, -1] = 1.0
    return basis


def smooth(points: Array, closed: bool = True, steps: int = 6) -> Array:
    """Return the Catmull-Rom spline (a chain of cubic Bezier curves) through ``points``, (N, D) -> (M, D)."""
    return _spline_basis(len(points), closed, steps) @ points


@lru_cache(maxsize=1)
def _blob() -> NDArray[np.float32]:
    """Return a round spot (33, 33): 1 in the middle, 0 with zero slope at the rim."""
    axis = np.linspace(-1, 1, 33)
    radius = np.minimum(np.hypot(axis[:, None], axis[None, :]), 1)
    return ((1 - radius**2) ** 2).astype(np.float32)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Mix ``share`` (0 to 1) of ``b`` into ``a``."""
    rest = 1 - share
    return a[0] * rest + b[0] * share, a[1] * rest + b[1] * share, a[2] * rest + b[2] * share


class Canvas:
    """RGB picture of a height and width that is painted in scene units.

    The ``camera`` (2, 3) maps them to pixels and is a similarity; ``corner`` is the place (x, y) of a patch in its
    parent, in pixels.
    """

    def __init__(self, size: tuple[int, int], camera: Array) -> None:
        self.camera = camera
        self.pixels: Picture = np.zeros((*size, 3), np.uint8)
        self.corner = (0, 0)
        self._cos, self._sin = float(camera[0, 0]), float(camera[1, 0])
        self.scale = math.hypot(self._cos, self._sin)
        self._linear, self._shift = camera[:, :2].T.copy(), camera[:, 2]
        self._shift_xy: list[float] = camera[:, 2].tolist()

    def to_pixels(self, points: Array) -> Array:
        """Map scene points to pixels, (N, 2) -> (N, 2); (0, 0) is the middle of the first pixel."""
        return points @ self._linear + self._shift

    def fill(self, points: Array, colour: Colour) -> None:
        """Paint the polygon ``points`` (N, 2) with an antialiased edge."""
        cv2.fillPoly(self.pixels, [_fixed(self.to_pixels(points))], colour, cv2.LINE_AA, _SHIFT)

    def disc(self, centre: Array, radius: float, colour: Colour) -> None:
        """Paint a circle with an antialiased edge."""
        x, y = _fixed(self.to_pixels(centre)).tolist()
        cv2.circle(self.pixels, (x, y), round(radius * self.scale * _ONE), colour, -1, cv2.LINE_AA, _SHIFT)

    def line(self, points: Array, colour: Colour, width: float, alpha: float = 1.0) -> None:
        """Paint an open line of ``width`` scene units; a line thinner than a pixel is fainter."""
        self.lines([points], colour, width, alpha)

    def lines(self, curves: list[Array], colour: Colour, width: float, alpha: float = 1.0) -> None:
        """Paint several open lines of one colour and width."""
        thick = width * self.scale
        cover = min(thick, 1.0) * alpha
        if cover < _FAINT:
            return
        thickness, fixed = max(1, round(thick)), [_fixed(self.to_pixels(points)) for points in curves]
        if cover >= 1:
            cv2.polylines(self.pixels, fixed, False, colour, thickness, cv2.LINE_AA, _SHIFT)
            return
        under = self.pixels
        if under.size > _SMALL:  # copying a small picture is faster than finding the changed part
            every = np.concatenate(fixed)
            (left, top), (right, bottom) = ((end >> _SHIFT).tolist() for end in (every.min(axis=0), every.max(axis=0)))
            x, y = max(left - thickness - 2, 0), max(top - thickness - 2, 0)
            under = under[y : max(bottom + thickness + 3, 0), x : max(right + thickness + 3, 0)]
            fixed = [points - np.array([x << _SHIFT, y << _SHIFT], np.int32) for points in fixed]
        if under.size:
            over = under.copy()
            cv2.polylines(over, fixed, False, colour, thickness, cv2.LINE_AA, _SHIFT)
            under[:] = cv2.addWeighted(over, cover, np.ascontiguousarray(under), 1 - cover, 0)

    def mask(self, points: Array, soft: float = 0.0) -> NDArray[np.float32]:
        """Return the coverage (H, W) in [0, 1] of a polygon whose edge is blurred over ``soft`` scene units.

        Wide blurs are computed on a coarse grid: no visible difference, at a tenth of the cost.
        """
        return self._mask(points, soft).astype(np.float32) * np.float32(1 / 255)

    def _mask(self, points: Array, soft: float) -> NDArray[np.uint8]:
        height, width = self.pixels.shape[:2]
        radius = soft * self.scale
        step = min(max(round(radius / 1.5), 1), 16)
        small = np.zeros((-(-height // step), -(-width // step)), np.uint8)
        fixed = _fixed((self.to_pixels(points) + 0.5) / step - 0.5)
        cv2.fillPoly(small, [fixed], (255,), cv2.LINE_AA, _SHIFT)
        if radius > _SHARP:
            side = 2 * round(2.45 * radius / step) + 1  # gives the triangle the Gaussian's standard deviation
            small = cv2.stackBlur(small, (side, side))
        if step > 1:
            small = cv2.resize(small, (small.shape[1] * step, small.shape[0] * step), interpolation=cv2.INTER_LINEAR)
        return np.asarray(small[:height, :width], np.uint8)

    def round_off(self, points: Array, soft: float, edge: Colour, middle: Colour) -> None:
        """Fill the canvas with ``middle`` inside ``points``, shading to ``edge`` near the outline, as on a ball."""
        share = np.clip(np.arange(256) / 255 * 1.9 - 0.85, 0, 1)[:, None]
        table = np.rint(share * middle + (1 - share) * edge).astype(np.uint8)
        self.pixels[:] = cv2.applyColorMap(self._mask(points, soft), table[:, None])

    def soft_fill(self, points: Array, colour: Colour, soft: float, alpha: float = 1.0) -> None:
        """Paint a polygon whose edge fades over ``soft`` scene units, computing only the pixels around it."""
        if alpha < _FAINT:
            return
        if alpha > 0.9 and soft * self.scale < _SHARP:
            self.fill(points, colour)
            return
        patch = self.inside(points, 2.5 * soft * self.scale)
        if patch is not None:
            (x, y), weight = patch.corner, patch.mask(points, soft) * np.float32(alpha)
            under = self.pixels[y : y + len(weight), x : x + weight.shape[1]]
            under[:] = cv2.blendLinear(_flat(colour, weight.shape), patch.pixels, weight, 1 - weight)

    def glow(self, centre: Array, radii: tuple[float, float], colour: Colour, alpha: float, turn: float = 0.0) -> None:
        """Paint a soft elliptic spot, strongest inside: ``radii`` in scene units by axis, ``turn`` in radians."""
        rx, ry = radii[0] * self.scale, radii[1] * self.scale
        if alpha * min(rx, ry, 1.0) < _FAINT:
            return
        u, v = centre.tolist()
        x = self._cos * u - self._sin * v + self._shift_xy[0]
        y = self._sin * u + self._cos * v + self._shift_xy[1]
        angle = turn + math.atan2(self._sin, self._cos)
        cos, sin = math.cos(angle), math.sin(angle)
        half_x, half_y = math.hypot(cos * rx, sin * ry), math.hypot(sin * rx, cos * ry)
        height, width = self.pixels.shape[:2]
        x0, y0 = max(math.floor(x - half_x), 0), max(math.floor(y - half_y), 0)
        x1, y1 = min(math.ceil(x + half_x) + 1, width), min(math.ceil(y + half_y) + 1, height)
        if x1 <= x0 or y1 <= y0:
            return
        a, b, c, d = (16 * value for value in (cos / rx, sin / rx, -sin / ry, cos / ry))
        dx, dy = x0 - x, y0 - y
        to_blob = np.array([[a, b, 16 + a * dx + b * dy], [c, d, 16 + c * dx + d * dy]])
        spot = cv2.warpAffine(_blob(), to_blob, (x1 - x0, y1 - y0), flags=_SPOT) * np.float32(alpha)
        region = self.pixels[y0:y1, x0:x1]
        region[:] = cv2.blendLinear(_flat(colour, spot.shape), np.ascontiguousarray(region), spot, 1 - spot)

    def inside(self, points: Array, margin: float = 0.0) -> Canvas | None:
        """Return a canvas of the pixels around the polygon, for ``paste``; None outside the picture."""
        pixels = self.to_pixels(points)
        (x0, y0), (x1, y1) = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
        height, width = self.pixels.shape[:2]
        left, top = max(math.floor(x0 - margin) - 2, 0), max(math.floor(y0 - margin) - 2, 0)
        right, bottom = min(math.ceil(x1 + margin) + 3, width), min(math.ceil(y1 + margin) + 3, height)
        if right <= left or bottom <= top:
            return None
        camera = self.camera.copy()
        camera[:, 2] -= (left, top)
        patch = Canvas((0, 0), camera)
        patch.corner = (left, top)
        patch.pixels = self.pixels[top:bottom, left:right].copy()
        return patch

    def paste(self, patch: Canvas, outline: Array) -> None:
        """Copy the pixels of ``patch`` inside ``outline`` back, so that an iris stays between its lids."""
        x, y = patch.corner
        height, width = patch.pixels.shape[:2]
        under = self.pixels[y : y + height, x : x + width]
        weight = patch.mask(outline)
        under[:] = cv2.blendLinear(patch.pixels, np.ascontiguousarray(under), weight, 1 - weight)


def _fixed(pixels: Array) -> NDArray[np.int32]:
    return np.rint(pixels * _ONE).astype(np.int32)


def _flat(colour: Colour, shape: tuple[int, ...]) -> Picture:
    row = np.empty((shape[1], 3), np.uint8)
    row[:] = [round(value) for value in colour]
    picture = np.empty((*shape[:2], 3), np.uint8)
    picture[:] = row  # row by row: three times as fast as pixel by pixel
    return picture
