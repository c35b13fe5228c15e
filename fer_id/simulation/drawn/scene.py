"""Scene of a drawn clip: the room in the background, the light, and obstacles in front of the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.simulation.drawn.canvas import Array, Canvas, Colour, mix
from fer_id.simulation.drawn.traits import Setting

ROOM_SCALE = 20.0  # pixels of the room's picture per interocular distance
ROOM_SIZE = (200, 280)  # its height and width: 10 by 14 interocular distances, more than a 16:9 frame sees

_THINGS: tuple[Colour, ...] = ((196, 148, 118), (120, 82, 60), (70, 110, 160), (196, 84, 70), (230, 214, 170))


@dataclass(frozen=True)
class Light:
    """Light of a clip: brightness factor, colour (see ``Setting``), darkening of one side, and its direction."""

    gain: float
    warmth: float
    shadow: float
    angle: float

    def field(self, height: int, width: int) -> NDArray[np.float32]:
        """Return the factor (H, W, 3) on every pixel of a picture."""
        x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)
        side = np.clip(0.5 + 0.5 * (x[None, :] * np.cos(self.angle) + y[:, None] * np.sin(self.angle)), 0, 1)
        bright = (self.gain * (1 - self.shadow * side)).astype(np.float32)
        return np.asarray(bright[..., None] * np.array([1 + self.warmth, 1, 1 - self.warmth], np.float32))


@dataclass(frozen=True)
class Obstacle:
    """Obstacle that crosses the picture: a hand, a book, a toy. Lengths in interocular distances."""

    colour: Colour
    radii: tuple[float, float]  # half width and height
    start: tuple[float, float]  # position (x, y) at time 0
    speed: tuple[float, float]  # per second

    def place(self, time: float) -> Array:
        """Return the centre (2,) at a time in seconds."""
        return np.array(self.start) + time * np.array(self.speed)

    def paint(self, canvas: Canvas, time: float) -> None:
        """Paint the obstacle as a soft-edged rounded block."""
        angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        cos, sin = np.cos(angle), np.sin(angle)
        block = np.stack([np.sign(cos) * np.abs(cos) ** 0.5, np.sign(sin) * np.abs(sin) ** 0.5], axis=1)
        middle = self.place(time)
        canvas.soft_fill(middle + block * self.radii, self.colour, 0.03)
        inner = (self.radii[0] * 0.8, self.radii[1] * 0.8)
        canvas.glow(middle - [0.2, 0.2], inner, mix(self.colour, (255, 255, 255), 0.3), 0.5)

    def hides(self, points: Array, time: float) -> float:
        """Return the share of ``points`` (N, 2), scene units, that the obstacle hides."""
        distance = np.abs(points - self.place(time)) / self.radii
        return float(np.mean((distance**4).sum(axis=1) < 1))


def sample_light(setting: Setting, rng: np.random.Generator) -> Light:
    """Draw the light of a clip at random from its setting."""
    ranges = setting.gain, setting.warmth, setting.shadow
    gain, warmth, shadow = (float(rng.uniform(low, high)) for low, high in ranges)
    return Light(gain, warmth, shadow, float(rng.choice([0.0, np.pi]) + rng.uniform(-0.6, 0.6)))


def sample_obstacle(rng: np.random.Generator, length: float) -> Obstacle:
    """Draw an obstacle that passes before the face once in ``length`` seconds; one in four hides it entirely."""
    big = rng.random() < 0.25
    radius = rng.uniform(1.5, 1.8) if big else rng.uniform(0.35, 0.65)
    middle = np.array([0.0, rng.uniform(0.3, 0.6) if big else rng.uniform(-0.4, 1.5)])
    speed = np.array([rng.choice([-1, 1]) * rng.uniform(3.0, 6.0), rng.uniform(-0.5, 0.5)])
    start = middle - speed * rng.uniform(0.2, 0.8) * length
    colour, radii = _THINGS[int(rng.integers(len(_THINGS)))], (float(radius), float(radius * rng.uniform(0.8, 1.1)))
    return Obstacle(colour, radii, tuple(start.tolist()), tuple(speed.tolist()))


def draw_room(context: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a blurred room (200, 280, 3) as the background of a clip."""
    camera = np.array([[ROOM_SCALE, 0, ROOM_SIZE[1] / 2], [0, ROOM_SCALE, 0.4 * ROOM_SIZE[0]]])
    canvas = Canvas(ROOM_SIZE, camera)
    walls: dict[str, Colour] = {"classroom": (206, 212, 206), "therapy": (214, 208, 226), "home": (224, 206, 182)}
    wall = mix(walls[context], tuple(rng.uniform(120, 250, 3)), 0.25)
    canvas.pixels[:] = np.rint(wall)
    _furnish(canvas, context, rng)
    return np.asarray(cv2.GaussianBlur(canvas.pixels, (0, 0), 3.0), np.uint8)


def lay_room(canvas: Canvas, room: NDArray[np.uint8]) -> None:
    """Paint the room over the whole canvas."""
    linear = canvas.camera[:, :2] * (1 / ROOM_SCALE)
    origin = np.array([-ROOM_SIZE[1] / 2, -0.4 * ROOM_SIZE[0]]) / ROOM_SCALE
    matrix = np.c_[linear, canvas.camera[:, :2] @ origin + canvas.camera[:, 2]]
    height, width = canvas.pixels.shape[:2]
    canvas.pixels[:] = cv2.warpAffine(room, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def _box(canvas: Canvas, x: float, y: float, width: float, height: float, colour: Colour) -> None:
    canvas.fill(np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]]), colour)


def _furnish(canvas: Canvas, context: str, rng: np.random.Generator) -> None:
    if context == "classroom":  # a board, posters, a table
        x = rng.uniform(-6, -1)
        _box(canvas, x - 0.15, -3.15, 5.3, 2.8, (150, 112, 78))
        _box(canvas, x, -3, 5, 2.5, (54, 96, 78))
        for _ in range(3):
            _box(canvas, rng.uniform(-7, 6), rng.uniform(-3, 0), 0.8, 1.0, tuple(rng.uniform(120, 240, 3)))
        _box(canvas, -7, 3.0, 14, 3.5, (176, 140, 100))
    elif context == "therapy":  # a shelf with balls, a lamp
        _box(canvas, -7, 0.9, 14, 0.18, (188, 158, 124))
        for x in np.arange(-6.5, 7, 1.3):
            size, colour = rng.uniform(0.3, 0.5), mix(tuple(rng.uniform(60, 250, 3)), (255, 255, 255), 0.2)
            canvas.glow(np.array([x + rng.uniform(-0.2, 0.2), 0.9 - size]), (size * 1.5, size * 1.5), colour, 1.0)
        canvas.glow(np.array([rng.uniform(-5, 5), -1.8]), (1.6, 1.6), (250, 226, 160), 0.8)
    else:  # a window, a picture, a sofa
        x = rng.choice([-1, 1]) * rng.uniform(2.4, 4.5)
        _box(canvas, x - 1.2, -3, 2.4, 3.4, (244, 240, 230))
        _box(canvas, x - 1.05, -2.85, 2.1, 3.1, (186, 214, 234))
        _box(canvas, -x - 0.7, -2, 1.4, 1.1, (140, 100, 70))
        _box(canvas, -x - 0.55, -1.85, 1.1, 0.8, tuple(rng.uniform(120, 230, 3)))
        _box(canvas, -7, 2.2, 14, 4, mix((150, 92, 84), tuple(rng.uniform(60, 200, 3)), 0.5))
