"""Hair styles, painted in two layers: behind the head, and over the skull and forehead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fer_id.simulation.drawn.canvas import Array, Canvas, at_depth, columns, even, mix, smooth
from fer_id.simulation.drawn.geometry import Pose, skull
from fer_id.simulation.drawn.traits import Look


@dataclass(frozen=True)
class Style:
    """Hair cut; lengths in interocular distances, heights counted downwards from the eyes."""

    volume: float  # over the skull
    fringe: float  # lowering of the hairline: 0 none, 1 to the brows
    sides: float  # height of the lower end of sideburns or curtains
    parting: float = 0.0  # -1 to 1: position of the highest point of the hairline; 0 is a symmetric arch
    length: float | None = None  # height of the lower end of the hair behind the head; None: no such hair
    waves: int = 0  # scallops of a curly outline
    knot: tuple[float, float, float] | None = None  # x, y, radius of a bun or a ponytail's root


STYLES: dict[str, Style] = {
    "short": Style(volume=0.16, fringe=0.22, sides=0.10),
    "side": Style(volume=0.20, fringe=0.50, parting=0.55, sides=0.12),
    "fringe": Style(volume=0.18, fringe=0.72, sides=0.30),
    "buzz": Style(volume=0.06, fringe=0.02, sides=-0.05),
    "curly": Style(volume=0.28, fringe=0.32, sides=0.35, waves=17),
    "afro": Style(volume=0.46, fringe=0.05, sides=0.10, length=0.85, waves=27),
    "long": Style(volume=0.18, fringe=0.30, parting=0.25, sides=2.3, length=2.6),
    "fringe_long": Style(volume=0.18, fringe=0.75, sides=1.9, length=2.2),
    "bob": Style(volume=0.20, fringe=0.45, parting=-0.5, sides=1.25, length=1.35),
    "bun": Style(volume=0.12, fringe=0.05, sides=0.0, knot=(0.0, -1.80, 0.44)),
    "ponytail": Style(volume=0.12, fringe=0.30, parting=0.4, sides=0.05, knot=(1.10, -1.15, 0.34)),
}


def covers_ears(look: Look) -> bool:
    """Return True where the hair hides the ears."""
    return STYLES[look.style].sides > 0.5


def paint_behind(canvas: Canvas, look: Look, pose: Pose) -> None:
    """Paint the hair behind head and neck."""
    style, dark = STYLES[look.style], mix(look.hair, (0, 0, 0), 0.28)
    width = look.shape.half_width + style.volume
    if style.knot is not None:
        x, y, radius = style.knot
        angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        ring = np.stack([x + radius * np.cos(angle), y + radius * 0.9 * np.sin(angle), np.full(20, -0.8)], axis=1)
        canvas.fill(pose.project(ring), mix(look.hair, (0, 0, 0), 0.12))
        middle = pose.project(np.array([[x - 0.1, y - 0.12, -0.8]]))[0]
        canvas.glow(middle, (radius * 0.8, radius * 0.6), mix(look.hair, (255, 255, 255), 0.3), 0.5)
    if style.length is None:
        return
    if style.waves:
        angle = even(0, 2 * np.pi, 25)
        ball = np.array([0, style.length - 1.45]) + columns(np.cos(angle), np.sin(angle)) * (width, 1.45)
        canvas.fill(pose.project(_wavy(at_depth(ball, -0.6), style, look.shape.half_width)), dark)
        return
    # Straight hair falls behind the shoulders.
    end, wide = style.length, 1.10 if style.length > 1 else 1.0
    half = np.array([[0.5, -1.0], [0.97, -0.3], [wide, 0.6], [wide, end * 0.85], [0.80, end], [0.3, end * 0.98]])
    half[:, 0] *= width
    outline = np.concatenate([half, half[::-1] * [-1, 1]])
    canvas.fill(pose.project(smooth(at_depth(outline, -0.6))), dark)


def paint_front(canvas: Canvas, look: Look, pose: Pose) -> None:
    """Paint the hair over the skull, with the hairline over the forehead, strands and a highlight."""
    style, flat = STYLES[look.style], pose.project(_outline(look))
    canvas.soft_fill(flat + [0.0, 0.05], mix(look.skin, (60, 20, 10), 0.55), 0.06, 0.45)
    canvas.soft_fill(flat, look.hair, *((0.05, 0.85) if look.style == "buzz" else (0.012, 1.0)))
    light, dark = mix(look.hair, (255, 235, 215), 0.26), mix(look.hair, (0, 0, 0), 0.35)
    spot = pose.project(np.array([[-0.35, (look.shape.crown - style.volume) * 0.80, 0.1]]))[0]
    canvas.glow(spot, (0.75, 0.28), light, 0.55, turn=-0.25 + pose.roll)
    if not style.waves and look.style != "buzz":
        strands = [pose.project(strand) for strand in _strands(look)]
        canvas.lines(strands[::2], dark, 0.022, 0.45)
        canvas.lines(strands[1::2], light, 0.022, 0.45)


@lru_cache(maxsize=64)
def _outline(look: Look) -> Array:
    """Return the outline (N, 3) of the hair in front; the same in every frame."""
    style, shape = STYLES[look.style], look.shape
    outer = skull(shape, 15)
    outer[:, :2] *= 1 + style.volume / np.array([shape.half_width, -shape.crown])
    outer = _wavy(outer, style, shape.half_width)
    right = _side(look, style)
    left = right * [-1, 1, 1]
    return smooth(np.concatenate([outer, right, _hairline(look, style), left[::-1]]), steps=4)


def _wavy(points: Array, style: Style, half_width: float) -> Array:
    """Add scallops to the outline (N, 3) of curly hair."""
    if not style.waves:
        return points
    dense = smooth(points, closed=False, steps=4)
    phase = even(0, style.waves * np.pi, len(dense))
    dense[:, :2] *= 1 + (0.05 / half_width) * np.abs(np.sin(phase))[:, None]
    return dense


def _hairline(look: Look, style: Style) -> Array:
    """Return the hairline (9, 3) over the forehead, from the right temple to the left one."""
    shape = look.shape
    t = even(1, -1, 9)
    brow = -shape.brow_height - 0.12
    low = shape.hairline + style.fringe * (brow - shape.hairline)
    peak = np.abs(t - style.parting) / (1 + abs(style.parting))
    y = shape.hairline + (low - shape.hairline) * np.clip(peak * 1.5, 0, 1) if style.parting else np.full(9, low)
    y = y + (0.42 - 0.30 * style.fringe) * np.abs(t) ** 3.2
    y = y + 0.05 * style.fringe * np.array([0, 1, -1, 1, -1, 1, -1, 1, 0])  # locks, not a ruler
    x = t * shape.half_width * 0.90
    return columns(x, y, 0.30 - 0.45 * t**2)


def _side(look: Look, style: Style) -> Array:
    """Return the right sideburn or curtain: down along the outline of the face and up again inside it."""
    end, edge = style.sides, look.shape.half_width
    if end <= 0.5:
        inside = [[edge + 0.02, end, -0.3], [edge * 0.93, end * 0.9, -0.2], [edge * 0.92, end * 0.3 - 0.15, -0.15]]
        return np.array([[edge + style.volume * 0.6, min(end * 0.5, 0.0), -0.3], *inside])
    out = edge + style.volume
    return np.array([
        [out, 0.2, -0.3], [out * 1.06, end * 0.75, -0.2], [out * 0.98, end, -0.1], [edge * 0.94, end * 0.97, 0.0],
        [edge * 0.90, end * 0.55, 0.0], [edge * 0.91, 0.15, -0.1],
    ])  # fmt: skip


@lru_cache(maxsize=64)
def _strands(look: Look) -> list[Array]:
    """Return nine strands (N, 3) from the crown to the hairline; the same in every frame."""
    style, shape = STYLES[look.style], look.shape
    root = np.array([style.parting * 0.6, (shape.crown - style.volume) * 0.98])
    strands = []
    for t in np.linspace(-0.85, 0.85, 9):
        tip = np.array([t * shape.half_width, shape.hairline + 0.16 * abs(t)])
        bend = (root + tip) / 2 + (0.25 * t, -0.14)
        flat = np.array([root + (0.25 * t, 0.05), bend, tip])
        strands.append(smooth(np.c_[flat, [0.0, 0.1, 0.2]], closed=False))
    return strands
