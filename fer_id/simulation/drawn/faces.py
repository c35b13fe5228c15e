"""Drawing of a person at any size: head, features moved by action units, glasses, clothes.

A person is painted back to front in scene units (``geometry``), so the same code draws the 64-pixel crop of a store and
a 480p video.
"""

from __future__ import annotations

import numpy as np

from fer_id.simulation.drawn.canvas import Array, Canvas, Colour, at_depth, columns, even, mix, smooth
from fer_id.simulation.drawn.expression import AU_INDEX
from fer_id.simulation.drawn.geometry import BROWS, EYES, INNER_LIP, JAW, NOSTRILS, OUTER_LIP, Pose, landmarks, skull
from fer_id.simulation.drawn.hair import covers_ears, paint_behind, paint_front
from fer_id.simulation.drawn.traits import Look

_WHITE: Colour = (255, 255, 255)
_SHINE: Colour = (255, 236, 216)
_DARK: Colour = (40, 18, 16)
_FRECKLES = np.array([
    [side * x, y, 0.4]
    for x, y in ((0.5, 0.42), (0.62, 0.5), (0.4, 0.52), (0.72, 0.40), (0.25, 0.45), (0.55, 0.58))
    for side in (-1, 1)
])  # fmt: skip


def _shade(look: Look, amount: float) -> Colour:
    """Return the colour of skin in shadow: darker and warmer, as light scatters in skin."""
    return mix(look.skin, (96, 34, 22), amount)


def draw_person(
    canvas: Canvas,
    look: Look,
    activation: Array,
    pose: Pose,
    gaze: tuple[float, float] = (0, 0),
    head: Array | None = None,
) -> Array:
    """Paint a person over the background of ``canvas`` and return the 68 landmarks in its pixels, (68, 2).

    ``activation`` is that of ``geometry.landmarks``; ``head`` are these landmarks, where already computed; ``gaze`` is
    the direction of the eyes, -1 to 1 to the right and down, 0 the viewer.
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
        _eye(canvas, look, points[EYES[side]], half, gaze, side)
        _brow(canvas, look, points[BROWS[side]])
    _nose(canvas, look, points, pose)
    _mouth(canvas, look, points)
    paint_front(canvas, look, pose)
    if look.glasses is not None:
        _glasses(canvas, look.glasses, points, pose)
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
    canvas.glow(spot, (0.9, 0.6), mix(look.hair, _WHITE, 0.25), 0.5)


def _body(canvas: Canvas, look: Look, pose: Pose) -> None:
    """Paint neck and shirt, which follow 60 % of the head's movement."""
    base = np.array([pose.x * 0.6, pose.y * 0.6])
    chin = look.shape.chin
    wide = 0.50 + 0.12 * look.age
    half = np.array([[0.75, 0.50], [1.5, 0.78], [2.45, 1.25], [2.7, 3.0]])
    shoulders = np.concatenate([half[::-1] * [-1, 1], [[0.0, 0.62]], half]) + [0, chin]
    neck = np.array([[-wide, -0.5 * chin], [wide, -0.5 * chin], [wide, 0.50], [0.0, 0.85], [-wide, 0.50]]) + [0, chin]
    canvas.fill(smooth(shoulders + base), look.shirt)
    canvas.fill(neck + base, _shade(look, 0.22))
    canvas.line(neck[[2, 3, 4]] + base, mix(look.shirt, (0, 0, 0), 0.25), 0.07)
    canvas.glow(np.array([0.0, chin + 0.10]) + base, (wide, 0.5), _shade(look, 0.55), 0.75)


def _ears(canvas: Canvas, look: Look, pose: Pose) -> None:
    for side in (-1, 1):
        x = side * (look.shape.half_width - 0.02)
        ear = np.array([[0, -0.12], [0.17, -0.16], [0.20, 0.12], [0.10, 0.44], [0, 0.46]]) * [side, 1] + [x, 0]
        flat = pose.project(at_depth(ear, -0.45))
        canvas.fill(smooth(flat), _shade(look, 0.14))
        canvas.glow(flat.mean(axis=0), (0.12, 0.22), _shade(look, 0.45), 0.6)


def _skin(canvas: Canvas, look: Look, head: Array, points: Array, pose: Pose, a: Array) -> None:
    """Paint the face with its shading on a separate canvas, and paste it within the outline of the face."""
    outline = pose.project(smooth(np.concatenate([head[JAW], skull(look.shape)[::-1][1:-1]]), steps=4))
    c = canvas.inside(outline)
    if c is None:
        return
    c.round_off(outline, 0.22, _shade(look, 0.34), look.skin)
    pale = sum(look.skin) / 765  # dark skin blushes less and shines warmer
    light, blush = mix(look.skin, _SHINE, 0.15 + 0.32 * pale), mix(look.skin, (226, 84, 76), 0.15 + 0.38 * pale)

    def at(x: float, y: float) -> Array:
        return pose.project(np.array([x, y, 0.4]))

    smile, cheek = a[AU_INDEX[12]], max(a[AU_INDEX[6]], 0.0)
    c.glow(at(-0.1, -0.62), (0.75, 0.40), light, 0.55)
    c.glow(at(0.0, look.shape.chin - 0.22), (0.30, 0.18), light, 0.35)
    for side in (-1, 1):
        lift = 0.10 * cheek
        c.glow(at(side * 0.66, 0.60 - lift), (0.46, 0.36), blush, 0.42 + 0.20 * cheek)
        c.glow(at(side * 0.62, 0.42 - lift), (0.32, 0.20), light, 0.28 + 0.35 * cheek)
        c.glow(at(side * 0.47, -0.06), (0.44, 0.30), _shade(look, 0.55), 0.36)
        _folds(c, look, points, side, a)
    c.glow(at(0.0, look.shape.mouth_y + 0.27 + 0.2 * max(a[AU_INDEX[26]], 0)), (0.30, 0.10), _shade(look, 0.5), 0.5)
    if look.freckles:
        for spot in pose.project(_FRECKLES):
            c.glow(spot, (0.035, 0.035), _shade(look, 0.6), 0.7)
    _frown_lines(c, look, points, a)
    c.glow(at(0.0, 0.62 + 0.05 * smile), (0.34, 0.12), _shade(look, 0.5), 0.45)
    canvas.paste(c, outline)


def _folds(c: Canvas, look: Look, points: Array, side: int, a: Array) -> None:
    """Paint the nasolabial fold and the crow's feet, which deepen as the cheek is raised."""
    wing, corner = (points[31], points[48]) if side < 0 else (points[35], points[54])
    depth = 0.10 + 0.55 * max(a[AU_INDEX[12]], 0) + 0.25 * max(a[AU_INDEX[15]], 0) + 0.2 * max(a[AU_INDEX[20]], 0)
    start, end = wing + [side * 0.06, -0.02], corner + [side * 0.10, -0.04]
    bow = (start + end) / 2 + [side * 0.09, -0.05]
    curve = smooth(np.array([start, bow, end]), closed=False)
    c.soft_fill(np.concatenate([curve, curve[::-1] + [side * 0.035, 0.02]]), _shade(look, 0.75), 0.025, min(depth, 0.8))
    crow = max(a[AU_INDEX[6]], 0) * (0.35 + 0.3 * look.age)
    outer = points[36] if side < 0 else points[45]
    rays = np.array([[side * np.cos(angle), np.sin(angle)] for angle in (-0.25, 0.15, 0.5)])
    c.lines([outer + np.outer((0.07, 0.22), ray) for ray in rays], _shade(look, 0.6), 0.018, crow)


def _frown_lines(c: Canvas, look: Look, points: Array, a: Array) -> None:
    """Paint upright lines between lowered brows and lines across the forehead over raised ones."""
    lower, inner, outer = (max(a[AU_INDEX[unit]], 0.0) for unit in (4, 1, 2))
    middle = (points[21] + points[22]) / 2
    c.glow(middle, (0.26, 0.22), _shade(look, 0.8), 0.55 * lower)
    upright = np.array([[0.075, -0.11], [0.055, 0.0], [0.075, 0.09]])
    between = [smooth(middle + upright * (side, 1), closed=False) for side in (-1, 1)]
    c.lines(between, _shade(look, 0.85), 0.022, 0.75 * lower)
    t = even(-1, 1, 9)
    bow = columns(t * (0.45 + 0.3 * outer), -0.05 * np.cos(t * 2))
    c.lines([middle + bow - (0, height) for height in (0.14, 0.26)], _shade(look, 0.6), 0.020, 0.5 * max(inner, outer))


def _eye(canvas: Canvas, look: Look, eye: Array, a: Array, gaze: tuple[float, float], side: int) -> None:
    outline = smooth(eye, steps=6)
    upper = smooth(eye[:4], closed=False, steps=6)
    lower = smooth(eye[[3, 4, 5, 0]], closed=False, steps=6)
    across = eye[3] - eye[0]
    width = float(np.hypot(*across))
    right, down = across / width, np.array([-across[1], across[0]]) / width
    opening = float((eye[4] + eye[5] - eye[1] - eye[2]) / 2 @ down)
    c = canvas.inside(outline) if opening > 0.015 else None
    if c is not None:
        c.pixels[:] = (244, 240, 238)
        # The iris stays when the lids move, so a raised lid uncovers the white above it.
        rest = (eye[0] + eye[3]) / 2 - 0.035 * down
        middle = rest + right * 0.09 * gaze[0] + down * 0.06 * gaze[1]
        radius = 0.118 + 0.01 * (1 - look.age)
        c.disc(middle, radius, mix(look.iris, (0, 0, 0), 0.55))
        c.disc(middle, radius * 0.84, look.iris)
        c.glow(middle + 0.04 * down, (radius * 0.8, radius * 0.6), mix(look.iris, _WHITE, 0.4), 0.6)
        c.disc(middle, radius * 0.46, (12, 8, 10))
        c.soft_fill(np.concatenate([upper - 0.05 * down, upper[::-1] + 0.03 * down]), (90, 66, 66), 0.03, 0.55)
        c.disc(middle + [-0.04, -0.045], 0.034, _WHITE)
        c.disc(middle + [0.045, 0.04], 0.014, (220, 224, 232))
        canvas.paste(c, outline)
    lash = mix(look.hair, (20, 12, 12), 0.75)
    crease = upper[2:-2] - down * (0.055 + 0.02 * max(a[AU_INDEX[5]], 0))
    canvas.line(crease, _shade(look, 0.7), 0.022, 0.7)
    canvas.line(lower, _shade(look, 0.85), 0.018, 0.7)
    pouch = max(a[AU_INDEX[6]], a[AU_INDEX[7]], 0)
    canvas.line(lower[3:-3] + down * 0.055, _shade(look, 0.6), 0.022, 0.15 + 0.5 * min(pouch, 1))
    canvas.fill(np.concatenate([upper + down * 0.012, upper[::-1] - down * 0.030]), lash)
    tip = eye[0] if side == 0 else eye[3]
    outward = -right if side == 0 else right
    canvas.line(np.array([tip - outward * 0.03, tip + outward * 0.05 - down * 0.035]), lash, 0.03, 0.9)


def _brow(canvas: Canvas, look: Look, brow: Array) -> None:
    """Paint a brow along its landmarks, thick at the inner end and fine at the outer one."""
    thick = look.shape.brow_thick * np.array([0.30, 0.75, 0.95, 1.0, 0.75])
    if brow[0, 0] > brow[:, 0].mean() or abs(brow[0, 0]) < abs(brow[4, 0]):
        thick = thick[::-1]
    middle = smooth(brow, closed=False, steps=4)
    half = smooth(thick[:, None], closed=False, steps=4) * (0, 0.5)
    colour = mix(mix(look.hair, (30, 20, 18), 0.35), look.skin, 0.08)
    canvas.soft_fill(np.concatenate([middle - half, (middle + half)[::-1]]), colour, 0.014, 0.95)


def _nose(canvas: Canvas, look: Look, points: Array, pose: Pose) -> None:
    wide, tip = look.shape.nose_width, points[30]
    base = points[NOSTRILS]
    shadow, light = _shade(look, 0.55), mix(look.skin, _SHINE, 0.20 + 0.35 * sum(look.skin) / 765)
    canvas.glow((points[28] + points[29]) / 2 + [0.10, 0], (0.07, 0.30), shadow, 0.42, turn=pose.roll)
    canvas.glow(points[28] + [-0.02, 0.05], (0.07, 0.34), light, 0.5, turn=pose.roll)
    canvas.glow(tip + [-0.02, -0.02], (0.13, 0.11), light, 0.7)
    canvas.glow(base[2] + [0, 0.04], (wide * 1.1, 0.09), shadow, 0.55, turn=pose.roll)
    for corner, inner in ((base[0], base[1]), (base[4], base[3])):
        outward = (corner - inner) / max(float(np.hypot(*(corner - inner))), 1e-6)
        wing = corner + outward * np.array([[0.01], [0.05], [0.02]]) - np.array([[0, 0.13], [0, 0.06], [0, 0]])
        canvas.line(smooth(wing, closed=False), _shade(look, 0.65), 0.024, 0.5)
        canvas.glow((corner * 0.45 + inner * 0.55), (0.07, 0.042), mix(_shade(look, 0.8), _DARK, 0.3), 0.9)


def _mouth(canvas: Canvas, look: Look, points: Array) -> None:
    outer, inner = points[OUTER_LIP], points[INNER_LIP]
    lip = mix(look.skin, (178, 48, 60), 0.48)
    upper_edge = smooth(outer[:7], closed=False)
    lower_edge = smooth(outer[[6, 7, 8, 9, 10, 11, 0]], closed=False)
    canvas.soft_fill(np.concatenate([upper_edge, lower_edge]), lip, 0.010)
    seam = smooth(inner[[0, 1, 2, 3, 4]], closed=False)
    canvas.soft_fill(np.concatenate([upper_edge, seam[::-1]]), mix(lip, _DARK, 0.22), 0.010, 0.8)
    low = (outer[9] + inner[6]) / 2
    canvas.glow(low + [-0.03, 0.0], (0.17, 0.045), mix(lip, _WHITE, 0.5), 0.55)
    opening = float(inner[6, 1] - inner[2, 1])
    if opening > 0.02:
        _open_mouth(canvas, inner, opening)
    line = np.concatenate([outer[:1], inner[:5], outer[6:7]])
    canvas.line(smooth(line, closed=False), mix(lip, _DARK, 0.72), 0.026, 0.95)
    for corner in (outer[0], outer[6]):
        canvas.glow(corner, (0.06, 0.05), mix(_shade(look, 0.8), _DARK, 0.3), 0.6)


def _open_mouth(canvas: Canvas, inner: Array, opening: float) -> None:
    """Paint an open mouth: dark inside, teeth below the upper lip, the tongue where there is room."""
    outline = smooth(inner)
    c = canvas.inside(outline)
    if c is None:
        return
    c.pixels[:] = (74, 20, 24)
    if opening > 0.14:
        c.glow(inner[6] + [0, 0.0], (0.26, 0.12), (196, 92, 92), 0.85)
    top = smooth(inner[:5], closed=False)
    depth = min(0.115, opening * 0.85)
    teeth = np.concatenate([top - [0, 0.05], (top * [0.96, 1] + [inner[2, 0] * 0.04, depth])[::-1]])
    c.fill(teeth, (246, 243, 236))
    c.soft_fill(np.concatenate([top - [0, 0.05], top[::-1] + [0, 0.02]]), (110, 60, 60), 0.02, 0.5)
    canvas.paste(c, outline)


def _glasses(canvas: Canvas, colour: Colour, points: Array, pose: Pose) -> None:
    angle = even(0, 2 * np.pi, 25)
    cos, sin = np.cos(angle), np.sin(angle)
    ring = columns(0.42 * np.sign(cos) * np.abs(cos) ** 0.75, 0.34 * np.sign(sin) * np.abs(sin) ** 0.75)
    turn = np.array([[np.cos(pose.roll), np.sin(pose.roll)], [-np.sin(pose.roll), np.cos(pose.roll)]])
    for eye, side in ((EYES[0], -1), (EYES[1], 1)):
        middle = points[eye][[0, 3]].mean(axis=0) + [0, 0.03]
        rim = middle + ring @ turn
        canvas.soft_fill(rim, (235, 242, 250), 0.02, 0.10)
        canvas.line(rim, colour, 0.05)
        arm = pose.project(np.array([[side * 1.08, -0.02, -0.3]]))
        canvas.line(np.concatenate([rim[[0 if side > 0 else 12]], arm]), colour, 0.05)
    bridge = (points[39] + points[42]) / 2
    canvas.line(bridge + np.array([[-0.10, 0.02], [0.0, -0.03], [0.10, 0.02]]), colour, 0.05)
