"""Traits of drawn subjects (age group, gender, severity, ethnicity), their effect on expressions, and appearance.

The numbers are assumptions, not measurements: no published distribution exists for children with intellectual
disabilities. They follow the qualitative findings the paper builds on (expressions later, weaker, shorter, interrupted)
and are set so that the task is hard but learnable. Gender and ethnicity of drawn subjects change looks only, never
movement, so a gap between those groups is due to the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fer_id.settings import setting
from fer_id.simulation.drawn.canvas import Colour
from fer_id.simulation.drawn.geometry import HeadShape

GROUPS = ("age_group", "gender", "severity", "ethnicity", "context")
"""Group columns of the store: four of the subject, and the context of each clip."""

AGE_GROUPS = ("05-08", "09-12", "13-17")
ADULT = "18+"
GENDERS = ("female", "male")
SKIN_BY_ETHNICITY: dict[str, tuple[int, int]] = {
    "african": (6, 9), "east_asian": (1, 3), "european": (0, 2), "latin_american": (2, 5), "south_asian": (4, 7),
}  # fmt: skip
"""Range of skin tones by group. It affects looks only: expressions do not depend on it."""
ETHNICITIES = tuple(SKIN_BY_ETHNICITY)


@dataclass
class Dynamics:
    """Time course of expressions at one degree of severity; medians over subjects."""

    peak: float = setting(1.0, "intensity at the apex, as a share of the full expression", above=0, max=1)
    onset_s: float = setting(0.0, "seconds from the cause of the emotion until the face starts to move", min=0, max=60)
    rise_s: float = setting(0.3, "seconds from onset to apex", min=0.02, max=60)
    apex_s: float = setting(0.6, "seconds the apex holds", min=0, max=60)
    lapse: float = setting(0.0, "probability that an involuntary movement breaks the expression off", min=0, max=1)
    stray: float = setting(0.0, "involuntary brow, lid or mouth movements per clip, on average", min=0, max=20)
    jerk: float = setting(0.0, "probability per clip of a head jerk", min=0, max=1)


@dataclass
class Movements:
    """Rates of movements that express no emotion, beside the stray movements and head jerks of :class:`Dynamics`."""

    blinks: float = setting(20.0, "blinks per minute, as at rest", above=0, max=600)
    openings: float = setting(0.0, "times per clip that the mouth opens without an emotion, on average", min=0, max=20)
    speech: float = setting(0.0, "probability per clip of a second of speech-like lip and jaw movement", min=0, max=1)


SEVERITIES: dict[str, Dynamics] = {
    # Mild: close to typical posed expressions, which reach their apex within half a second.
    "mild": Dynamics(peak=0.92, onset_s=0.15, rise_s=0.30, apex_s=0.60, lapse=0.10, stray=0.35, jerk=0.10),
    # Moderate: later and weaker; the apex still fills a quarter of a two-second clip.
    "moderate": Dynamics(peak=0.82, onset_s=0.35, rise_s=0.40, apex_s=0.55, lapse=0.20, stray=0.50, jerk=0.20),
    # Severe: late, subtle and short, with an interruption in every third clip.
    "severe": Dynamics(peak=0.72, onset_s=0.60, rise_s=0.45, apex_s=0.50, lapse=0.33, stray=0.60, jerk=0.30),
}
YOUNG = {"jerk": 0.5, "wander": 0.25}  # relative increase of head jerks and of head motion in children under nine

SPREAD = {"peak": 0.07, "times": 0.2}
"""Standard deviations between subjects of one severity: of the peak, and of the logarithm of all times."""

LEAST_PEAK = 0.05  # lower limit of the peak intensity

SEVERITY_SHARES = (0.4, 0.35, 0.25)
"""Shares of mild, moderate and severe among subjects: most school cohorts are mild, but a test needs some of each."""


ADULTS: dict[str, Dynamics] = {
    # As in benchmarks: immediate, full, held, and not interrupted.
    "none": Dynamics(peak=0.97, onset_s=0.05, rise_s=0.25, apex_s=1.1, lapse=0.0, stray=0.10, jerk=0.02),
}
POPULATIONS = {"children": SEVERITIES, "adults": ADULTS}


@dataclass
class Setting:
    """Filming conditions of a context; ranges are [low, high]."""

    gain: list[float] = setting([1.0, 1.0], "brightness factor of the picture", above=0, max=3)
    warmth: list[float] = setting([0.0, 0.0], "0.1: a tenth more red, a tenth less blue (colour only)", min=-1, max=1)
    shadow: list[float] = setting([0.0, 0.0], "how much darker the side away from the light is", min=0, max=1)
    occlusion: float = setting(0.0, "probability per clip that something passes before the face", min=0, max=1)
    motion: float = setting(1.0, "factor on how far the head wanders", min=0, max=10)


CONTEXTS: dict[str, Setting] = {
    "classroom": Setting([0.85, 1.05], [-0.05, 0.02], [0.05, 0.20], 0.16, 1.2),  # ceiling tubes, other children pass by
    "therapy": Setting([0.95, 1.08], [-0.02, 0.04], [0.00, 0.12], 0.10, 1.0),  # even light, a toy or a hand in the way
    "home": Setting([0.65, 0.98], [0.02, 0.12], [0.10, 0.35], 0.12, 0.9),  # one lamp or a window, warmer and darker
}


@dataclass(frozen=True)
class Traits:
    """Traits of one subject, with dynamics drawn around the medians of its severity, so that groups overlap."""

    subject_id: str
    age_group: str
    gender: str
    severity: str
    ethnicity: str
    dynamics: Dynamics
    restless: float = 1.0  # factor on the amplitude of head motion

    @property
    def number(self) -> int:
        """Number of the subject within its cohort, with which its name ends."""
        return int(self.subject_id.rsplit("-", 1)[1])


def sample_traits(
    index: int,
    seed: int,
    rng: np.random.Generator,
    degrees: Mapping[str, Dynamics] = SEVERITIES,
    shares: Sequence[float] = SEVERITY_SHARES,
    young: float = 1.0,
) -> Traits:
    """Draw the traits of a subject, whose name contains seed and index, so that cohorts of two seeds share no subject.

    Gender and age group alternate, so that a dozen subjects include each; severity and ethnicity are drawn at random.
    Times and peak vary between subjects by :data:`SPREAD`; children under nine also move by :data:`YOUNG`. All adults
    have one age group and severity.

    ``degrees`` are the dynamics by severity (:data:`ADULTS` for adults), ``shares`` those of the three severities, and
    ``young`` is a factor on :data:`YOUNG`.
    """
    severity = str(rng.choice(list(SEVERITIES), p=shares))
    age_group = AGE_GROUPS[(index // 2) % 3]
    if "none" in degrees:
        severity, age_group = "none", ADULT
    youth = young if age_group == "05-08" else 0.0
    middle, spread = degrees[severity], rng.normal(size=4).clip(-2, 2)
    own = replace(
        middle,
        peak=float(np.clip(middle.peak + SPREAD["peak"] * spread[0], LEAST_PEAK, 1.0)),
        onset_s=float(middle.onset_s * np.exp(SPREAD["times"] * spread[1])),
        rise_s=float(middle.rise_s * np.exp(SPREAD["times"] * spread[2])),
        apex_s=float(middle.apex_s * np.exp(SPREAD["times"] * spread[3])),
        jerk=min(middle.jerk * (1 + YOUNG["jerk"] * youth), 1.0),
    )
    return Traits(
        subject_id=f"drawn{seed}-{index:03d}",
        age_group=age_group,
        gender=GENDERS[index % 2],
        severity=severity,
        ethnicity=str(rng.choice(ETHNICITIES)),
        dynamics=own,
        restless=1 + YOUNG["wander"] * youth,
    )


SKIN: tuple[Colour, ...] = (
    (250, 226, 210), (245, 214, 193), (238, 202, 174), (226, 184, 148), (205, 158, 118),
    (178, 128, 90), (146, 100, 70), (116, 77, 54), (90, 60, 44), (70, 47, 37),
)  # fmt: skip
"""Ten skin tones from light to dark, after the Monk Skin Tone scale (Monk, 2019), warmed to look alive when drawn."""

HAIR_COLOURS: dict[str, Colour] = {
    "black": (34, 28, 30), "dark brown": (62, 42, 32), "brown": (104, 68, 44), "chestnut": (128, 74, 44),
    "ginger": (178, 92, 44), "dark blond": (160, 122, 74), "blond": (214, 180, 116),
}  # fmt: skip

STYLES: dict[str, tuple[str, ...]] = {
    "female": ("long", "bob", "fringe_long", "bun", "ponytail", "side", "curly"),
    "male": ("short", "side", "fringe", "buzz", "curly", "short"),
}
AFRICAN_STYLES: dict[str, tuple[str, ...]] = {
    "female": ("afro", "bun", "curly", "long"),
    "male": ("buzz", "afro", "curly", "short"),
}

_SHIRTS: tuple[Colour, ...] = (
    (78, 121, 167), (225, 111, 86), (88, 150, 118), (232, 190, 84),
    (134, 104, 160), (214, 214, 220), (70, 78, 96), (92, 168, 178),
)  # fmt: skip
_IRISES: tuple[Colour, ...] = ((66, 42, 28), (86, 58, 34), (84, 110, 72), (78, 120, 152))


@dataclass(frozen=True)
class Look:
    """Appearance of a person; colours are RGB, 0 to 255; ``age`` is 0 at six years, 1 at seventeen, more for adults."""

    shape: HeadShape
    skin: Colour
    hair: Colour
    style: str
    iris: Colour
    shirt: Colour
    glasses: Colour | None
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
    frames: tuple[Colour, ...] = ((40, 40, 46), (122, 46, 52), (52, 76, 120))
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
