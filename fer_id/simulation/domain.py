"""Settings of the simulated target domain: assumed expressions of children with intellectual disabilities.

Every number is an assumption, not a measurement: no published distribution exists. They follow the paper (expressions
later, weaker, shorter, interrupted) and can be changed. The reason for a value, where there is one, stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from fer_id.settings import Clash, setting
from fer_id.simulation.drawn.acting import LATEST
from fer_id.simulation.drawn.canvas import Array
from fer_id.simulation.drawn.traits import CONTEXTS, SEVERITY_SHARES, Dynamics, Setting

T = TypeVar("T", Dynamics, Setting)


@dataclass
class DomainConfig:
    """Settings of the simulation of clips and subjects from stills."""

    subjects: int = setting(
        0, "simulated subjects in each split at most; 0: as many as its stills allow", min=0, max=100_000
    )
    clips_per_emotion: int = setting(
        3, "clips of each of the five emotions per subject; more make fewer subjects, and fear is rare", min=1, max=1000
    )
    frames: int = setting(10, "frames per clip; the paper's T", min=2, max=1000)
    fps: float = setting(5.0, "frames per second: ten are two seconds, time for a late expression", min=0.5, max=120)
    seed: int = setting(7, "draws subjects, their traits and their clips", min=0, max=2**32 - 1)
    gaps: float = setting(1.0, "factor on the differences between groups; 0: none, so that no gap exists", min=0, max=1)
    shares: list[float] = setting(
        list(SEVERITY_SHARES),
        "of mild, moderate, severe: most school cohorts are mild, a test needs some of each",
        min=0,
        max=1_000_000,
    )
    # Mild: close to a posed expression, which reaches its apex within half a second.
    mild: Dynamics = field(default_factory=lambda: Dynamics(0.90, 0.15, 0.30, 0.60, 0.10, 0.35, 0.10))
    # Moderate: three quarters of the still's expression, later; the apex still fills a quarter of the clip.
    moderate: Dynamics = field(default_factory=lambda: Dynamics(0.75, 0.35, 0.40, 0.55, 0.20, 0.50, 0.20))
    # Severe: half of it, late and short, broken off in every third clip.
    severe: Dynamics = field(default_factory=lambda: Dynamics(0.55, 0.60, 0.45, 0.45, 0.33, 0.60, 0.30))
    classroom: Setting = field(default_factory=lambda: replace(CONTEXTS["classroom"]))
    therapy: Setting = field(default_factory=lambda: replace(CONTEXTS["therapy"]))
    home: Setting = field(default_factory=lambda: replace(CONTEXTS["home"]))
    gender_peak: float = setting(
        0.06, "peak of female above male subjects; the sign follows Chaplin & Aldao (2013)", min=-0.5, max=0.5
    )
    young_onset: float = setting(1.25, "factor on the onset of the youngest, who react later", min=0.1, max=10)
    strays: float = setting(1.0, "factor on involuntary movements; 0: never", min=0, max=10)
    gaze: float = setting(0.06, "amplitude of gaze, eye distances; 0.06 is half of an iris", min=0, max=0.2)
    landmark_noise: float = setting(
        0.015, "standard deviation of a detector's error at each point, eye distances; an assumption", min=0, max=0.2
    )
    noise: float = setting(0.02, "largest standard deviation of sensor noise, of the full range", min=0, max=0.2)
    agreement: float = setting(
        0.8, "neutral faces with a smaller share of votes for neutral do not enter the model of rest", min=0, max=1
    )
    max_turn: float = setting(
        0.2, "stills turned aside further are left out; 0.2 eye distances are about 20 degrees", above=0, max=2
    )
    max_misfit: float = setting(
        0.025,
        "stills whose temples, nose and eyes fit a neutral face worse than this are left out, eye distances",
        above=0,
        max=1,
    )
    max_fold: float = setting(
        0.01, "stills of which a larger share folds over when brought to rest are left out", min=0, max=1
    )

    @property
    def times(self) -> Array:
        """(frames,) time of each frame in seconds."""
        return np.arange(self.frames) / self.fps

    @property
    def degrees(self) -> dict[str, Dynamics]:
        """Dynamics by severity; with ``gaps`` below 1, shrunk towards their mean, weighted by their shares."""
        degrees = {"mild": self.mild, "moderate": self.moderate, "severe": self.severe}
        return _drawn_together(degrees, self.gaps, self.parts)

    @property
    def parts(self) -> Array:
        """(3,) shares of mild, moderate and severe, which sum to 1."""
        return np.array(self.shares, float) / sum(self.shares)

    @property
    def contexts(self) -> dict[str, Setting]:
        """Settings by context; with ``gaps`` below 1, shrunk towards their mean."""
        contexts = {"classroom": self.classroom, "therapy": self.therapy, "home": self.home}
        return _drawn_together(contexts, self.gaps, np.full(3, 1 / 3))

    def clashes(self) -> Iterator[Clash]:
        """Yield the impossible distributions."""
        if len(self.shares) != 3 or sum(self.shares) <= 0:
            yield Clash(("shares",), "expected three numbers that are not all 0: of mild, moderate, severe")
        for name in ("classroom", "therapy", "home"):
            place: Setting = getattr(self, name)
            for key in ("gain", "warmth", "shadow"):
                limits = getattr(place, key)
                if len(limits) != 2 or limits[0] > limits[1]:
                    yield Clash((f"{name}.{key}",), f"is {limits}, expected [low, high]")
        for name in ("mild", "moderate", "severe"):
            degree: Dynamics = getattr(self, name)
            length = float(self.times[-1])
            if degree.onset_s > LATEST * length:
                yield Clash(
                    (f"{name}.onset_s", "frames", "fps"),
                    f"is {degree.onset_s:g}, but no expression begins after {LATEST * length:g} s, or it would not be "
                    f"seen before the clip of {length:g} s ends; make clips longer",
                )
            if degree.onset_s + degree.rise_s > length:
                yield Clash(
                    (f"{name}.onset_s", f"{name}.rise_s", "frames", "fps"),
                    f"the expression would still rise when the clip of {length:g} s is over",
                )


def _drawn_together(distributions: dict[str, T], gaps: float, weights: Array) -> dict[str, T]:
    """Shrink each number towards the weighted mean over the names; ``gaps`` is the factor on the differences."""
    if gaps == 1:
        return distributions
    shrunk: dict[str, T] = {}
    for name, distribution in distributions.items():
        values = {}
        for key in vars(distribution):
            mean = weights @ np.array([getattr(each, key) for each in distributions.values()], float)
            value = mean + gaps * (np.array(getattr(distribution, key), float) - mean)
            values[key] = value.tolist()
        shrunk[name] = type(distribution)(**values)
    return shrunk
