"""Settings of the simulated target domain: assumed expressions of children with intellectual disabilities.

No distribution of such expressions is published. The numbers follow the paper (later, weaker, shorter, interrupted);
``docs/SIMULATION.md`` has a table with the source of each, or the word "assumption".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from fer_id.evaluation.config import SPLITS
from fer_id.settings import Clash, setting
from fer_id.simulation.drawn.acting import LATEST
from fer_id.simulation.drawn.canvas import Array
from fer_id.simulation.drawn.traits import CONTEXTS, SEVERITY_SHARES, Dynamics, Movements, Setting

T = TypeVar("T", Dynamics, Setting)


@dataclass
class DomainConfig:
    """Settings of the simulation of clips and subjects from stills."""

    subjects: list[int] = setting(
        [400, 60, 200],
        "simulated children in train, validation and test at most; each is one neutral still",
        min=1,
        max=100_000,
    )
    clips_per_emotion: int = setting(
        2, "clips of each of the five emotions per child; with 200 children in test: 2,000 clips", min=1, max=1000
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
    movements: Movements = field(default_factory=lambda: Movements(blinks=20.0, openings=0.15, speech=0.15))
    peak: float = setting(1.0, "factor on e(t) of all children; above 1 e(t) is cut off at 1", above=0, max=3)
    resting: float = setting(
        1.0,
        "strength of the resting face: 1 as photographed, 0 the average neutral shape of such a head",
        min=0,
        max=3,
    )
    own_way: float = setting(
        0.0,
        "how far a child's own way of each class lies from the usual one: a mixture of three stills' displacements, "
        "less the class's mean, is added to the still's; 0: the still's own way",
        min=0,
        max=3,
    )
    class_speed: float = setting(
        0.0, "how far classes rise at speeds of their own (angry and fear fast, sad slow); 0: alike", min=0, max=1
    )
    gender_peak: float = setting(
        0.06, "peak of female above male subjects; the sign follows Chaplin & Aldao (2013)", min=-0.5, max=0.5
    )
    young_onset: float = setting(1.25, "factor on the onset of the youngest, who react later", min=0.1, max=10)
    strays: float = setting(
        1.0, "factor on movements that are no emotion: strays, opening mouths, speech; 0: never", min=0, max=10
    )
    gaze: float = setting(0.06, "amplitude of gaze, eye distances; 0.06 is half of an iris", min=0, max=0.2)
    landmark_noise: float = setting(
        0.015, "standard deviation of a detector's error at each point, eye distances; an assumption", min=0, max=0.2
    )
    noise: float = setting(0.02, "largest standard deviation of sensor noise, of the full range", min=0, max=0.2)
    agreement: float = setting(
        0.8, "neutral faces with a smaller share of votes for neutral do not enter the model of rest", min=0, max=1
    )
    max_turn: float = setting(
        0.3, "stills turned aside further are left out; 0.3 eye distances are about 30 degrees", above=0, max=2
    )
    max_misfit: float = setting(
        0.025,
        "stills whose temples, nose and eyes fit a neutral face worse than this are left out, eye distances",
        above=0,
        max=1,
    )
    max_fold: float = setting(
        0.02, "stills of which a larger share folds over when brought to the average shape are left out", min=0, max=1
    )
    max_residual: float = setting(
        0.4,
        "stills that a model of usual faces misses by more are left out: hands, glasses, beards, drawings; in standard "
        "deviations of the face's own brightness; chosen by eye",
        above=0,
        max=10,
    )
    max_base_residual: float = setting(
        0.3,
        "the same for the neutral stills that children are made of: what lies on their faces would fade",
        above=0,
        max=10,
    )
    max_side_light: float = setting(
        1.35,
        "neutral stills of which one half is brighter by more become no child: hard light; in the same unit",
        above=0,
        max=10,
    )
    test_share: float = setting(
        0.4,
        "test takes as many stills of each class as are this share of the rarest one's usable ones (fear), at least; "
        "the published test has fewer",
        min=0,
        max=0.8,
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
        if len(self.subjects) != len(SPLITS):
            yield Clash(("subjects",), f"expected three numbers, of {', '.join(SPLITS)}; say 'subjects=[400,60,200]'")
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
