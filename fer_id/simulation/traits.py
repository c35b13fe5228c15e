"""Who the drawn subjects are, and what their traits do to an expression.

The numbers are assumptions, not measurements: no published distribution exists for children with intellectual
disabilities. They follow the qualitative findings the paper builds on (expressions later, weaker, shorter, interrupted)
and are set so that the task is hard but learnable. Gender and ethnicity change looks only, never movement, so a
model's gap between those groups is the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_id.simulation.look import SKIN_BY_ETHNICITY

GROUPS = ("age_group", "gender", "severity", "ethnicity", "context")
"""Group columns of the store: four of the subject, and the context of each clip."""

AGE_GROUPS = ("05-08", "09-12", "13-17")
ADULT = "18+"
POPULATIONS = ("children", "adults")
GENDERS = ("female", "male")
ETHNICITIES = tuple(SKIN_BY_ETHNICITY)


@dataclass(frozen=True)
class Dynamics:
    """How expressions run at one degree of severity; medians over subjects.

    Attributes:
        peak: intensity at the apex, 0 to 1 of the full action units.
        onset_s: seconds from the cause of the emotion until the face starts to move.
        rise_s: seconds from onset to apex.
        apex_s: seconds the apex holds.
        lapse: probability that an involuntary movement breaks the expression off for a moment.
        stray: involuntary brow, lid or mouth movements per clip that mean nothing, on average.
        jerk: probability per clip of a head jerk.
    """

    peak: float
    onset_s: float
    rise_s: float
    apex_s: float
    lapse: float
    stray: float
    jerk: float


SEVERITIES: dict[str, Dynamics] = {
    # Mild: close to typical posed expressions, which reach their apex within half a second.
    "mild": Dynamics(peak=0.92, onset_s=0.15, rise_s=0.30, apex_s=0.60, lapse=0.10, stray=0.35, jerk=0.10),
    # Moderate: later and weaker; the apex still fills a quarter of a two-second clip.
    "moderate": Dynamics(peak=0.82, onset_s=0.35, rise_s=0.40, apex_s=0.55, lapse=0.20, stray=0.50, jerk=0.20),
    # Severe: late, subtle and short, with an interruption in every third clip.
    "severe": Dynamics(peak=0.72, onset_s=0.60, rise_s=0.45, apex_s=0.50, lapse=0.33, stray=0.60, jerk=0.30),
}
SEVERITY_SHARES = (0.4, 0.35, 0.25)
"""Shares of mild, moderate and severe among subjects: most school cohorts are mild, but a test needs some of each."""


TYPICAL = Dynamics(peak=0.97, onset_s=0.05, rise_s=0.25, apex_s=1.1, lapse=0.0, stray=0.10, jerk=0.02)
"""Adults as benchmarks show them, severity ``none``: at once, in full, held, and not interrupted."""


@dataclass(frozen=True)
class Setting:
    """Where a clip is filmed.

    Attributes:
        gain: (low, high) brightness factor of the picture.
        warmth: (low, high) colour of the light: above 0 redder, below 0 bluer; 0.1 is 10 % more red, 10 % less blue.
        shadow: (low, high) how much darker the side away from the light is, 0 to 1.
        occlusion: probability per clip that something passes before the face.
        motion: factor on how far the head wanders.
    """

    gain: tuple[float, float]
    warmth: tuple[float, float]
    shadow: tuple[float, float]
    occlusion: float
    motion: float


CONTEXTS: dict[str, Setting] = {
    "classroom": Setting((0.85, 1.05), (-0.05, 0.02), (0.05, 0.20), 0.16, 1.2),  # ceiling tubes, other children pass by
    "therapy": Setting((0.95, 1.08), (-0.02, 0.04), (0.00, 0.12), 0.10, 1.0),  # even light, a toy or a hand in the way
    "home": Setting((0.65, 0.98), (0.02, 0.12), (0.10, 0.35), 0.12, 0.9),  # one lamp or a window, warmer and darker
}


@dataclass(frozen=True)
class Traits:
    """One subject. The numbers are drawn around the medians of its severity, so that groups overlap."""

    subject_id: str
    age_group: str
    gender: str
    severity: str
    ethnicity: str
    dynamics: Dynamics


def sample_traits(index: int, seed: int, rng: np.random.Generator, population: str = "children") -> Traits:
    """Draws the subject with that number of the cohort of that seed, whose name holds both: two cohorts share nobody.

    Gender and age group go round in turn, so that a dozen subjects hold some of each; severity and ethnicity are drawn.
    Between subjects, times vary by 20 % and the peak by 0.07 (standard deviations); children under nine jerk their
    head half as often again (and let it wander a quarter further, which is drawn with each clip). Adults are all of
    one age group and severity.
    """
    severity = str(rng.choice(list(SEVERITIES), p=SEVERITY_SHARES))
    age_group = AGE_GROUPS[(index // 2) % 3]
    if population == "adults":
        severity, age_group = "none", ADULT
    middle, spread = SEVERITIES.get(severity, TYPICAL), rng.normal(size=4).clip(-2, 2)
    own = Dynamics(
        peak=float(np.clip(middle.peak + 0.07 * spread[0], 0.4, 1.0)),
        onset_s=float(middle.onset_s * np.exp(0.2 * spread[1])),
        rise_s=float(middle.rise_s * np.exp(0.2 * spread[2])),
        apex_s=float(middle.apex_s * np.exp(0.2 * spread[3])),
        lapse=middle.lapse,
        stray=middle.stray,
        jerk=min(middle.jerk * (1.5 if age_group == "05-08" else 1.0), 1.0),
    )
    return Traits(
        subject_id=f"drawn{seed}-{index:03d}",
        age_group=age_group,
        gender=GENDERS[index % 2],
        severity=severity,
        ethnicity=str(rng.choice(ETHNICITIES)),
        dynamics=own,
    )
