"""Features of a drawn face: eyes, brows, nose, mouth and glasses, painted around the landmarks."""

from __future__ import annotations

import numpy as np

from fer_id.simulation.drawn.canvas import Array, Canvas, Colour, columns, even, mix, smooth
from fer_id.simulation.drawn.expression import AU_INDEX
from fer_id.simulation.drawn.geometry import EYES, INNER_LIP, NOSTRILS, OUTER_LIP, Pose
from fer_id.simulation.drawn.look import Look

WHITE: Colour = (255, 255, 255)
SHINE: Colour = (255, 236, 216)
_DARK: Colour = (40, 18, 16)


def shade(look: Look, amount: float) -> Colour:
    """Return the colour of skin in shadow: darker and warmer, as light scatters in skin."""
    return mix(look.skin, (96, 34, 22), amount)


def paint_eye(canvas: Canvas, look: Look, eye: Array, a: Array, gaze: tuple[float, float], side: int) -> None:
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
        c.glow(middle + 0.04 * down, (radius * 0.8, radius * 0.6), mix(look.iris, WHITE, 0.4), 0.6)
        c.disc(middle, radius * 0.46, (12, 8, 10))
        c.soft_fill(np.concatenate([upper - 0.05 * down, upper[::-1] + 0.03 * down]), (90, 66, 66), 0.03, 0.55)
        c.disc(middle + [-0.04, -0.045], 0.034, WHITE)
        c.disc(middle + [0.045, 0.04], 0.014, (220, 224, 232))
        canvas.paste(c, outline)
    lash = mix(look.hair, (20, 12, 12), 0.75)
    crease = upper[2:-2] - down * (0.055 + 0.02 * max(a[AU_INDEX[5]], 0))
    canvas.line(crease, shade(look, 0.7), 0.022, 0.7)
    canvas.line(lower, shade(look, 0.85), 0.018, 0.7)
    pouch = max(a[AU_INDEX[6]], a[AU_INDEX[7]], 0)
    canvas.line(lower[3:-3] + down * 0.055, shade(look, 0.6), 0.022, 0.15 + 0.5 * min(pouch, 1))
    canvas.fill(np.concatenate([upper + down * 0.012, upper[::-1] - down * 0.030]), lash)
    tip = eye[0] if side == 0 else eye[3]
    outward = -right if side == 0 else right
    canvas.line(np.array([tip - outward * 0.03, tip + outward * 0.05 - down * 0.035]), lash, 0.03, 0.9)


def paint_brow(canvas: Canvas, look: Look, brow: Array) -> None:
    """Paint a brow along its landmarks, thick at the inner end and fine at the outer one."""
    thick = look.shape.brow_thick * np.array([0.30, 0.75, 0.95, 1.0, 0.75])
    if brow[0, 0] > brow[:, 0].mean() or abs(brow[0, 0]) < abs(brow[4, 0]):
        thick = thick[::-1]
    middle = smooth(brow, closed=False, steps=4)
    half = smooth(thick[:, None], closed=False, steps=4) * (0, 0.5)
    colour = mix(mix(look.hair, (30, 20, 18), 0.35), look.skin, 0.08)
    canvas.soft_fill(np.concatenate([middle - half, (middle + half)[::-1]]), colour, 0.014, 0.95)


def paint_nose(canvas: Canvas, look: Look, points: Array, pose: Pose) -> None:
    wide, tip = look.shape.nose_width, points[30]
    base = points[NOSTRILS]
    shadow, light = shade(look, 0.55), mix(look.skin, SHINE, 0.20 + 0.35 * sum(look.skin) / 765)
    canvas.glow((points[28] + points[29]) / 2 + [0.10, 0], (0.07, 0.30), shadow, 0.42, turn=pose.roll)
    canvas.glow(points[28] + [-0.02, 0.05], (0.07, 0.34), light, 0.5, turn=pose.roll)
    canvas.glow(tip + [-0.02, -0.02], (0.13, 0.11), light, 0.7)
    canvas.glow(base[2] + [0, 0.04], (wide * 1.1, 0.09), shadow, 0.55, turn=pose.roll)
    for corner, inner in ((base[0], base[1]), (base[4], base[3])):
        outward = (corner - inner) / max(float(np.hypot(*(corner - inner))), 1e-6)
        wing = corner + outward * np.array([[0.01], [0.05], [0.02]]) - np.array([[0, 0.13], [0, 0.06], [0, 0]])
        canvas.line(smooth(wing, closed=False), shade(look, 0.65), 0.024, 0.5)
        canvas.glow((corner * 0.45 + inner * 0.55), (0.07, 0.042), mix(shade(look, 0.8), _DARK, 0.3), 0.9)


def paint_mouth(canvas: Canvas, look: Look, points: Array) -> None:
    outer, inner = points[OUTER_LIP], points[INNER_LIP]
    lip = mix(look.skin, (178, 48, 60), 0.48)
    upper_edge = smooth(outer[:7], closed=False)
    lower_edge = smooth(outer[[6, 7, 8, 9, 10, 11, 0]], closed=False)
    canvas.soft_fill(np.concatenate([upper_edge, lower_edge]), lip, 0.010)
    seam = smooth(inner[[0, 1, 2, 3, 4]], closed=False)
    canvas.soft_fill(np.concatenate([upper_edge, seam[::-1]]), mix(lip, _DARK, 0.22), 0.010, 0.8)
    low = (outer[9] + inner[6]) / 2
    canvas.glow(low + [-0.03, 0.0], (0.17, 0.045), mix(lip, WHITE, 0.5), 0.55)
    opening = float(inner[6, 1] - inner[2, 1])
    if opening > 0.02:
        _open_mouth(canvas, inner, opening)
    line = np.concatenate([outer[:1], inner[:5], outer[6:7]])
    canvas.line(smooth(line, closed=False), mix(lip, _DARK, 0.72), 0.026, 0.95)
    for corner in (outer[0], outer[6]):
        canvas.glow(corner, (0.06, 0.05), mix(shade(look, 0.8), _DARK, 0.3), 0.6)


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


def paint_glasses(canvas: Canvas, colour: Colour, points: Array, pose: Pose) -> None:
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
