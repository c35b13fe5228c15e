"""Appearance of a drawn person (skin, hair, eyes, glasses, clothes, proportions) and its random sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_id.simulation.drawn.geometry import HeadShape

RGB = tuple[float, float, float]

SKIN: tuple[RGB, ...] = (
    (250, 226, 210), (245, 214, 193), (238, 202, 174), (226, 184, 148), (205, 158, 118),
    (178, 128, 90), (146, 100, 70), (116, 77, 54), (90, 60, 44), (70, 47, 37),
)  # fmt: skip
"""Ten skin tones from light to dark, after the Monk Skin Tone scale (Monk, 2019), warmed to look alive when drawn."""

HAIR_COLOURS: dict[str, RGB] = {
    "black": (34, 28, 30),
    "dark brown": (62, 42, 32),
    "brown": (104, 68, 44),
    "chestnut": (128, 74, 44),
    "ginger": (178, 92, 44),
    "dark blond": (160, 122, 74),
    "blond": (214, 180, 116),
}

SKIN_BY_ETHNICITY: dict[str, tuple[int, int]] = {
    "african": (6, 9),
    "east_asian": (1, 3),
    "european": (0, 2),
    "latin_american": (2, 5),
    "south_asian": (4, 7),
}
"""Range of skin tones by group. It affects looks only: expressions do not depend on it (see ``traits``)."""

STYLES: dict[str, tuple[str, ...]] = {
    "female": ("long", "bob", "fringe_long", "bun", "ponytail", "side", "curly"),
    "male": ("short", "side", "fringe", "buzz", "curly", "short"),
}
AFRICAN_STYLES: dict[str, tuple[str, ...]] = {
    "female": ("afro", "bun", "curly", "long"),
    "male": ("buzz", "afro", "curly", "short"),
}

_SHIRTS: tuple[RGB, ...] = (
    (78, 121, 167), (225, 111, 86), (88, 150, 118), (232, 190, 84),
    (134, 104, 160), (214, 214, 220), (70, 78, 96), (92, 168, 178),
)  # fmt: skip
_IRISES: tuple[RGB, ...] = ((66, 42, 28), (86, 58, 34), (84, 110, 72), (78, 120, 152))


@dataclass(frozen=True)
class Look:
    """Appearance of a person; colours are RGB, 0 to 255; ``age`` is 0 at six years, 1 at seventeen, more for adults."""

    shape: HeadShape
    skin: RGB
    hair: RGB
    style: str
    iris: RGB
    shirt: RGB
    glasses: RGB | None
    freckles: bool
    age: float


def sample_look(age_group: str, gender: str, ethnicity: str, rng: np.random.Generator) -> Look:
    """Draw the appearance of a person at random, within the ranges of its groups."""
    age = {"05-08": 0.1, "09-12": 0.45, "13-17": 0.85, "18+": 1.15}[age_group] + rng.uniform(-0.1, 0.1)
    low, high = SKIN_BY_ETHNICITY[ethnicity]
    skin = SKIN[int(rng.integers(low, high + 1))]
    light = ethnicity == "european"
    colours = list(HAIR_COLOURS) if light else ["black", "black", "dark brown"]
    styles = (AFRICAN_STYLES if ethnicity == "african" else STYLES)[gender]
    frames: tuple[RGB, ...] = ((40, 40, 46), (122, 46, 52), (52, 76, 120))
    return Look(
        shape=_sample_shape(age, gender, ethnicity, rng),
        skin=skin,
        hair=HAIR_COLOURS[str(rng.choice(colours))],
        style=str(rng.choice(styles)),
        iris=_IRISES[int(rng.integers(0, 4 if light else 2))],
        shirt=_SHIRTS[int(rng.integers(len(_SHIRTS)))],
        glasses=frames[int(rng.integers(3))] if rng.random() < 0.2 else None,
        freckles=light and bool(rng.random() < 0.3),
        age=age,
    )


def _sample_shape(age: float, gender: str, ethnicity: str, rng: np.random.Generator) -> HeadShape:
    """Draw proportions: with age the face grows longer below the eyes and the eyes smaller (after Farkas, 1994)."""

    def around(middle: float, spread: float) -> float:
        return float(middle + spread * np.clip(rng.normal(), -2, 2))

    male = gender == "male"
    nose = {"african": 0.035, "european": -0.015}.get(ethnicity, 0.0)
    lips = {"african": 0.03}.get(ethnicity, 0.0)
    return HeadShape(
        half_width=around(1.11 - 0.05 * age, 0.03),
        chin=around(1.54 + 0.18 * age, 0.035),
        jaw_taper=around(0.15 + 0.02 * age - 0.04 * male, 0.025),
        squareness=around(2.1 + 0.12 * age + 0.08 * male, 0.06),
        crown=around(-1.45 + 0.03 * age, 0.03),
        hairline=around(-0.99 + 0.03 * age, 0.03),
        eye_width=around(0.50 - 0.03 * age, 0.014),
        eye_height=around(0.235 - 0.035 * age, 0.014),
        eye_tilt=around(0.045 if ethnicity == "east_asian" else 0.02, 0.012),
        brow_height=around(0.292 - 0.025 * male, 0.014),
        brow_arch=around(0.07 - 0.02 * male, 0.012),
        brow_thick=around(0.06 + 0.025 * male + 0.01 * age, 0.01),
        nose_length=around(0.55 + 0.09 * age, 0.02),
        nose_width=around(0.215 + 0.02 * age + nose, 0.014),
        mouth_y=around(0.975 + 0.10 * age, 0.02),
        mouth_width=around(0.355 + 0.03 * age, 0.018),
        upper_lip=around(0.066 + lips, 0.008),
        lower_lip=around(0.092 + lips, 0.010),
    )
