"""Drawing of a person at any size: head, features moved by action units, glasses, clothes.

A person is painted back to front in scene units (``geometry``), so the same code draws the 64-pixel crop of a store and
a 480p video.
"""

from __future__ import annotations

import numpy as np

from fer_id.simulation.drawn.canvas import Array, Canvas, at_depth, columns, even, mix, smooth
from fer_id.simulation.drawn.expression import AU_INDEX
from fer_id.simulation.drawn.features import (
    SHINE,
    WHITE,
    paint_brow,
    paint_eye,
    paint_glasses,
    paint_mouth,
    paint_nose,
    shade,
)
from fer_id.simulation.drawn.geometry import BROWS, EYES, JAW, Pose, landmarks, skull
from fer_id.simulation.drawn.hair import covers_ears, paint_behind, paint_front
from fer_id.simulation.drawn.look import Look

_FRECKLES = np.array([
    [side * x, y, 0.4]
    for x, y in ((0.5, 0.42), (0.62, 0.5), (0.4, 0.52), (0.72, 0.40), (0.25, 0.45), (0.55, 0.58))
    for side in (-1, 1)
])  # fmt: skip


def draw_person(
    canvas: Canvas,
    look: Look,
    activation: Array,
    pose: Pose,
    gaze: tuple[float, float] = (0, 0),
    head: Array | None = None,
) -> Array:
    """Paint a person over the background of ``canvas`` and return the 68 landmarks in its pixels, (68, 2).

    Args:
        activation: action units, (14,) or (2, 14), see ``geometry.landmarks``.
        gaze: direction of the eyes, -1 to 1 to the right and down; 0 is the viewer.
        head: ``landmarks(look.shape, activation)``, where already computed.
    """
    head = landmarks(look.shape, activation) if head is None else head
    points = pose.project(head)
    mean = np.atleast_2d(activation).mean(axis=0)
    paint_behind(canvas, look, pose)
    _body(canvas, look, pose)
    if not covers_ears(look):
        _ears(canvas, look, pose)
    _skin(canvas, look, head, points, pose, mean)
    for side, half in enumerate(np.broadcast_to(activation, (2, len(mean)))):
        paint_eye(canvas, look, points[EYES[side]], half, gaze, side)
        paint_brow(canvas, look, points[BROWS[side]])
    paint_nose(canvas, look, points, pose)
    paint_mouth(canvas, look, points)
    paint_front(canvas, look, pose)
    if look.glasses is not None:
        paint_glasses(canvas, look.glasses, points, pose)
    return canvas.to_pixels(points)


def draw_back_of_head(canvas: Canvas, look: Look, pose: Pose) -> None:
    """Paint a person from behind, without a visible face."""
    paint_behind(canvas, look, pose)
    _body(canvas, look, pose)
    _ears(canvas, look, pose)
    jaw = landmarks(look.shape, np.zeros(len(AU_INDEX)))[JAW]
    outline = np.concatenate([skull(look.shape), jaw[::-1] * [1, 0.8, 1]])
    canvas.fill(pose.project(smooth(outline)), look.hair)
    spot = pose.project(np.array([[-0.3, -0.8, 0.2]]))[0]
    canvas.glow(spot, (0.9, 0.6), mix(look.hair, WHITE, 0.25), 0.5)


def _body(canvas: Canvas, look: Look, pose: Pose) -> None:
    """Paint neck and shirt, which follow 60 % of the head's movement."""
    base = np.array([pose.x * 0.6, pose.y * 0.6])
    chin = look.shape.chin
    wide = 0.50 + 0.12 * look.age
    half = np.array([[0.75, 0.50], [1.5, 0.78], [2.45, 1.25], [2.7, 3.0]])
    shoulders = np.concatenate([half[::-1] * [-1, 1], [[0.0, 0.62]], half]) + [0, chin]
    neck = np.array([[-wide, -0.5 * chin], [wide, -0.5 * chin], [wide, 0.50], [0.0, 0.85], [-wide, 0.50]]) + [0, chin]
    canvas.fill(smooth(shoulders + base), look.shirt)
    canvas.fill(neck + base, shade(look, 0.22))
    canvas.line(neck[[2, 3, 4]] + base, mix(look.shirt, (0, 0, 0), 0.25), 0.07)
    canvas.glow(np.array([0.0, chin + 0.10]) + base, (wide, 0.5), shade(look, 0.55), 0.75)


def _ears(canvas: Canvas, look: Look, pose: Pose) -> None:
    for side in (-1, 1):
        x = side * (look.shape.half_width - 0.02)
        ear = np.array([[0, -0.12], [0.17, -0.16], [0.20, 0.12], [0.10, 0.44], [0, 0.46]]) * [side, 1] + [x, 0]
        flat = pose.project(at_depth(ear, -0.45))
        canvas.fill(smooth(flat), shade(look, 0.14))
        canvas.glow(flat.mean(axis=0), (0.12, 0.22), shade(look, 0.45), 0.6)


def _skin(canvas: Canvas, look: Look, head: Array, points: Array, pose: Pose, a: Array) -> None:
    """Paint the face with its shading on a separate canvas, and paste it within the outline of the face."""
    outline = pose.project(smooth(np.concatenate([head[JAW], skull(look.shape)[::-1][1:-1]]), steps=4))
    c = canvas.inside(outline)
    if c is None:
        return
    c.round_off(outline, 0.22, shade(look, 0.34), look.skin)
    pale = sum(look.skin) / 765  # dark skin blushes less and shines warmer
    light, blush = mix(look.skin, SHINE, 0.15 + 0.32 * pale), mix(look.skin, (226, 84, 76), 0.15 + 0.38 * pale)

    def at(x: float, y: float) -> Array:
        return pose.project(np.array([x, y, 0.4]))

    smile, cheek = a[AU_INDEX[12]], max(a[AU_INDEX[6]], 0.0)
    c.glow(at(-0.1, -0.62), (0.75, 0.40), light, 0.55)
    c.glow(at(0.0, look.shape.chin - 0.22), (0.30, 0.18), light, 0.35)
    for side in (-1, 1):
        lift = 0.10 * cheek
        c.glow(at(side * 0.66, 0.60 - lift), (0.46, 0.36), blush, 0.42 + 0.20 * cheek)
        c.glow(at(side * 0.62, 0.42 - lift), (0.32, 0.20), light, 0.28 + 0.35 * cheek)
        c.glow(at(side * 0.47, -0.06), (0.44, 0.30), shade(look, 0.55), 0.36)
        _folds(c, look, points, side, a)
    c.glow(at(0.0, look.shape.mouth_y + 0.27 + 0.2 * max(a[AU_INDEX[26]], 0)), (0.30, 0.10), shade(look, 0.5), 0.5)
    if look.freckles:
        for spot in pose.project(_FRECKLES):
            c.glow(spot, (0.035, 0.035), shade(look, 0.6), 0.7)
    _frown_lines(c, look, points, a)
    c.glow(at(0.0, 0.62 + 0.05 * smile), (0.34, 0.12), shade(look, 0.5), 0.45)
    canvas.paste(c, outline)


def _folds(c: Canvas, look: Look, points: Array, side: int, a: Array) -> None:
    """Paint the nasolabial fold and the crow's feet, which deepen as the cheek is raised."""
    wing, corner = (points[31], points[48]) if side < 0 else (points[35], points[54])
    depth = 0.10 + 0.55 * max(a[AU_INDEX[12]], 0) + 0.25 * max(a[AU_INDEX[15]], 0) + 0.2 * max(a[AU_INDEX[20]], 0)
    start, end = wing + [side * 0.06, -0.02], corner + [side * 0.10, -0.04]
    bow = (start + end) / 2 + [side * 0.09, -0.05]
    curve = smooth(np.array([start, bow, end]), closed=False)
    c.soft_fill(np.concatenate([curve, curve[::-1] + [side * 0.035, 0.02]]), shade(look, 0.75), 0.025, min(depth, 0.8))
    crow = max(a[AU_INDEX[6]], 0) * (0.35 + 0.3 * look.age)
    outer = points[36] if side < 0 else points[45]
    rays = np.array([[side * np.cos(angle), np.sin(angle)] for angle in (-0.25, 0.15, 0.5)])
    c.lines([outer + np.outer((0.07, 0.22), ray) for ray in rays], shade(look, 0.6), 0.018, crow)


def _frown_lines(c: Canvas, look: Look, points: Array, a: Array) -> None:
    """Paint upright lines between lowered brows and lines across the forehead over raised ones."""
    lower, inner, outer = (max(a[AU_INDEX[unit]], 0.0) for unit in (4, 1, 2))
    middle = (points[21] + points[22]) / 2
    c.glow(middle, (0.26, 0.22), shade(look, 0.8), 0.55 * lower)
    upright = np.array([[0.075, -0.11], [0.055, 0.0], [0.075, 0.09]])
    between = [smooth(middle + upright * (side, 1), closed=False) for side in (-1, 1)]
    c.lines(between, shade(look, 0.85), 0.022, 0.75 * lower)
    t = even(-1, 1, 9)
    bow = columns(t * (0.45 + 0.3 * outer), -0.05 * np.cos(t * 2))
    c.lines([middle + bow - (0, height) for height in (0.14, 0.26)], shade(look, 0.6), 0.020, 0.5 * max(inner, outer))
