"""Traits of drawn subjects (age group, gender, severity, ethnicity) and their effect on expressions.

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
from fer_id.simulation.drawn.look import SKIN_BY_ETHNICITY

GROUPS = ("age_group", "gender", "severity", "ethnicity", "context")
"""Group columns of the store: four of the subject, and the context of each clip."""

AGE_GROUPS = ("05-08", "09-12", "13-17")
ADULT = "18+"
GENDERS = ("female", "male")
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


SEVERITIES: dict[str, Dynamics] = {
    # Mild: close to typical posed expressions, which reach their apex within half a second.
    "mild": Dynamics(peak=0.92, onset_s=0.15, rise_s=0.30, apex_s=0.60, lapse=0.10, stray=0.35, jerk=0.10),
    # Moderate: later and weaker; the apex still fills a quarter of a two-second clip.
    "moderate": Dynamics(peak=0.82, onset_s=0.35, rise_s=0.40, apex_s=0.55, lapse=0.20, stray=0.50, jerk=0.20),
    # Severe: late, subtle and short, with an interruption in every third clip.
    "severe": Dynamics(peak=0.72, onset_s=0.60, rise_s=0.45, apex_s=0.50, lapse=0.33, stray=0.60, jerk=0.30),
}
YOUNG = {"jerk": 0.5, "wander": 0.25}
"""Relative increase of head jerks and of head motion in children under nine."""

SPREAD = {"peak": 0.07, "times": 0.2}
"""Standard deviations between subjects of one severity: of the peak, and of the logarithm of all times."""

LEAST_PEAK = 0.05
"""Lower limit of the peak intensity."""

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
