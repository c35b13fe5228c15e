"""Performance of a drawn subject in a clip: action units, head, gaze and obstacles, frame by frame.

A single frame is ambiguous on purpose. Resting faces differ (low brows look angry, lowered mouth corners look sad), so
only the change from the subject's own rest is informative; and stray movements resemble an expression for a frame or
two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fer_id.simulation.drawn.canvas import Array
from fer_id.simulation.drawn.expression import ACTION_UNITS, AU_INDEX, TimeCourse, prototype, units
from fer_id.simulation.drawn.scene import Light, Obstacle, sample_light, sample_obstacle
from fer_id.simulation.drawn.traits import (
    CONTEXTS,
    LEAST_PEAK,
    POPULATIONS,
    Look,
    Movements,
    Setting,
    Traits,
    sample_look,
    sample_traits,
)

LATEST = 0.65  # share of the clip after which no expression begins, as too little of it would be visible

CAUSE_WITHIN = 0.4
"""Share of the clip, from its start, in which the cause of the emotion occurs: clips are cut without knowing it."""

FALL = 1.2  # ratio of the fall of an expression to its rise: onsets are quicker than offsets
BLINK_S = 0.2  # duration of a blink
AWAY = 0.04  # probability per clip that the subject turns away for two frames, without a visible face

HEAD_MOTION = (0.07, 0.05, 0.04, 0.05, 0.04)
"""Standard deviations of yaw, pitch, roll (radians), x, y (eye distances) in a calm place: 2 to 4 degrees."""

HEAD_JERK = (0.25, 0.18, 0.22, 0.20, 0.15)  # the same for a jerk: 10 to 15 degrees, within the range of a detector

FIXED = {
    "cause_within": CAUSE_WITHIN, "latest_onset": LATEST, "fall_over_rise": FALL, "blink_s": BLINK_S,
    "away": AWAY, "head_motion": HEAD_MOTION, "head_jerk": HEAD_JERK,
}  # fmt: skip
"""Constants outside the configuration, recorded in a store's card."""

REST_SPREAD: dict[int, tuple[float, float]] = {
    1: (0.02, 0.12), 2: (0.02, 0.12), 4: (0.10, 0.24), 5: (0.02, 0.18), 6: (0.05, 0.10),
    7: (0.05, 0.15), 12: (0.00, 0.16), 15: (0.06, 0.22), 20: (0.05, 0.12), 25: (0.05, 0.12),
}  # fmt: skip
"""Mean and standard deviation over subjects of each action unit's activation in a resting face."""

STRAYS: tuple[dict[str, float], ...] = (
    {"AU12": 0.8}, {"AU15": 0.8}, {"AU4": 0.8}, {"AU1": 0.8, "AU2": 0.8}, {"AU20": 0.7, "AU25": 0.6},
    {"AU25": 0.8, "AU26": 0.7}, {"AU5": 0.9}, {"AU7": 0.8, "AU4": 0.5}, {"AU23": 0.8, "AU17": 0.6},
)  # fmt: skip
"""Involuntary movements; each resembles part of an expression."""


Row = dict[str, object]
"""Row of a store's table."""

PLAIN = Movements()
"""Movements of the drawn cohort, beside its stray ones: blinks alone."""


@dataclass(frozen=True)
class Subject:
    """Drawn person: traits, appearance, resting face and individual expressions."""

    traits: Traits
    look: Look
    rest: Array  # (14,) action units of the resting face; may be negative
    habits: dict[str, Array]  # emotion -> (14,) individual activations of the emotion at full intensity
    imbalance: Array  # (2, 14) factors on the left and right half of the picture


@dataclass(frozen=True)
class Performance:
    """Performance of a subject in a clip of T frames, before rendering."""

    emotion: str
    intensity: Array  # (T,) e(t), 0 to 1; all 0 for neutral
    activation: Array  # (T, 2, 14) action units per half of the face
    head: Array  # (T, 5) yaw, pitch, roll in radians, x, y in interocular distances
    gaze: Array  # (T, 2), -1 to 1
    away: Array  # (T,) bool, True where the subject is turned away
    obstacle: Obstacle | None  # what passes before the face
    light: Light  # of the whole clip
    context: str  # of filming

    def row(self, subject: Subject, number: int, fps: float, groups: Sequence[str]) -> Row:
        """Return the clip's row of a store's table: the subject's clip ``number`` of the emotion, without its source.

        ``groups`` are the traits that become group columns, beside ``context``.
        """
        traits = subject.traits
        name = f"{traits.subject_id}-{self.emotion}-{number:02d}"
        return {
            **{"clip_id": name, "subject_id": traits.subject_id, "label": self.emotion, "video_id": name, "t0_s": 0.0},
            **{"fps": fps, "intensity": self.intensity.tolist(), "context": self.context},
            **{group: getattr(traits, group) for group in groups},
        }


def sample_subject(
    index: int, seed: int, resting: float, emotions: tuple[str, ...], population: str = "children"
) -> Subject:
    """Draw a subject of ``population``, a function of ``seed`` and ``index``, independent of other subjects.

    ``resting`` is the factor on the differences between resting faces; 0: none.
    """
    rng = np.random.default_rng([seed, index])
    traits = sample_traits(index, seed, rng, POPULATIONS[population])
    look = sample_look(traits.age_group, traits.gender, traits.ethnicity, rng)
    rest = np.zeros(len(ACTION_UNITS))
    for unit, (mean, spread) in REST_SPREAD.items():
        rest[AU_INDEX[unit]] = resting * (mean + spread * rng.normal())
    habits = {
        emotion: np.clip(prototype(emotion) * np.exp(0.22 * rng.normal(size=len(ACTION_UNITS))), 0, 1.15)
        for emotion in emotions
    }
    imbalance = 1 + 0.10 * rng.normal(size=len(ACTION_UNITS)) * np.array([[1], [-1]])
    return Subject(traits, look, np.clip(rest, -0.3, 0.6), habits, np.clip(imbalance, 0.75, 1.25))


def perform(
    subject: Subject,
    emotion: str,
    times: Array,
    rng: np.random.Generator,
    subtlety: float = 0.0,
    strays: float = 1.0,
    contexts: Mapping[str, Setting] = CONTEXTS,
    interrupting: bool = False,
    movements: Movements = PLAIN,
) -> Performance:
    """Draw the performance of a subject in one clip, at ``times`` (T,) in seconds from 0, by a generator of its own.

    ``subtlety`` is the share taken from the peak intensity (below 0 makes it stronger), ``strays`` a factor on the
    number of involuntary movements, mouth openings and speech included. ``interrupting`` adds a visible stray movement
    at the moment that interrupts an expression; False for drawn subjects. ``movements`` are the rates of the others.
    """
    context = str(rng.choice(list(contexts)))
    setting, length = contexts[context], float(times[-1])
    intensity, course = np.zeros(len(times)), None
    if emotion != "neutral":
        course = _course(subject, rng, subtlety, length)
        intensity = course.intensity(times)
        intensity = np.clip(intensity * (1 + _wander(rng, times, 0.08, 0.4)), 0, 1)
    activation = subject.rest + intensity[:, None] * subject.habits[emotion]
    stray = np.zeros_like(activation)
    for _ in range(int(rng.poisson(subject.traits.dynamics.stray * strays))):
        stray += _stray(rng, times, None)
    for _ in range(int(rng.poisson(movements.openings * strays))):
        opened = units(AU25=0.9, AU26=rng.uniform(0.3, 1.0))
        stray += _pulse(times, rng.uniform(0, times[-1]), rng.uniform(0.3, 0.8))[:, None] * opened
    if movements.speech and rng.random() < movements.speech * strays:
        stray += _speech(rng, times)
    activation = activation + stray + _restless(rng, times)
    if interrupting and course is not None and course.lapse is not None:
        activation = activation + _stray(rng, times, course.lapse)
    activation[:, AU_INDEX[45]] += _blinks(rng, times, 60 / movements.blinks)
    away = np.zeros(len(times), dtype=bool)
    if rng.random() < AWAY:
        start = int(rng.integers(len(times)))
        away[start : start + 2] = True
    gaze = np.stack([_wander(rng, times, 0.35, 0.5), _wander(rng, times, 0.2, 0.5)], axis=1)
    return Performance(
        emotion=emotion,
        intensity=intensity,
        activation=np.clip(activation[:, None] * subject.imbalance, -0.35, 1.2),
        head=_head(subject, setting, rng, times),
        gaze=np.clip(gaze, -1, 1),
        away=away,
        obstacle=sample_obstacle(rng, length) if rng.random() < setting.occlusion else None,
        light=sample_light(setting, rng),
        context=context,
    )


def _course(subject: Subject, rng: np.random.Generator, subtlety: float, length: float) -> TimeCourse:
    own = subject.traits.dynamics
    cause = rng.uniform(0, CAUSE_WITHIN * length)
    onset = float(min(cause + own.onset_s * np.exp(0.35 * rng.normal()), LATEST * length))
    rise, apex = own.rise_s * np.exp(0.2 * rng.normal()), own.apex_s * np.exp(0.3 * rng.normal())
    return TimeCourse(
        onset_s=onset,
        rise_s=float(rise),
        apex_s=float(apex),
        fall_s=float(FALL * rise),
        peak=float(np.clip((own.peak + 0.10 * rng.normal()) * (1 - subtlety), LEAST_PEAK, 1)),
        lapse=float(onset + rise * 0.5 + rng.uniform(0, 1) * (apex + rise)) if rng.random() < own.lapse else None,
    )


def _wander(rng: np.random.Generator, times: Array, size: float, period_s: float) -> Array:
    """Draw a smooth random curve (T,) of standard deviation ``size`` and correlation time of about ``period_s``."""
    weights, scale = _smoothing(tuple(times.tolist()), period_s)
    return (weights @ (rng.normal(size=weights.shape[1]) * size)) / scale


@lru_cache(maxsize=64)
def _smoothing(times: tuple[float, ...], period_s: float) -> tuple[Array, Array]:
    """Return weights (T, K) of values ``period_s`` apart, and the standard deviation (T,) of the weighted sum."""
    grid = np.arange(-2, int(times[-1] / period_s) + 4) * period_s
    weights = np.exp(-0.5 * ((np.array(times)[:, None] - grid) / (0.6 * period_s)) ** 2)
    return weights, np.sqrt((weights**2).sum(axis=1))


def _pulse(times: Array, at: float, width_s: float) -> Array:
    return np.exp(-0.5 * ((times - at) / (width_s / 2)) ** 2)


def _stray(rng: np.random.Generator, times: Array, at: float | None) -> Array:
    """Draw one involuntary movement (T, 14) at a time in seconds, or at a random time."""
    movement = units(**STRAYS[int(rng.integers(len(STRAYS)))])
    pulse = _pulse(times, rng.uniform(0, times[-1]) if at is None else at, rng.uniform(0.2, 0.35))
    return rng.uniform(0.5, 1.0) * pulse[:, None] * movement


def _restless(rng: np.random.Generator, times: Array) -> Array:
    """Draw small random movements (T, 14) of every action unit but the blink."""
    noise = np.stack([_wander(rng, times, 0.035, 0.3) for _ in ACTION_UNITS], axis=1)
    noise[:, AU_INDEX[45]] = 0
    return noise


def _speech(rng: np.random.Generator, times: Array) -> Array:
    """Draw about a second of lips and jaw (T, 14) that move as in speech: four to five syllables a second."""
    spoken = _pulse(times, rng.uniform(0, times[-1]), rng.uniform(0.8, 1.6))
    parts = {25: 0.5, 26: 0.25, 20: 0.15, 23: 0.15}
    movement = np.zeros((len(times), len(ACTION_UNITS)))
    for unit, size in parts.items():
        movement[:, AU_INDEX[unit]] = spoken * np.abs(_wander(rng, times, size, 0.11))
    return movement


def _blinks(rng: np.random.Generator, times: Array, every_s: float) -> Array:
    blinks = np.zeros(len(times))
    for _ in range(int(rng.poisson(times[-1] / every_s))):
        blinks += _pulse(times, rng.uniform(0, times[-1]), BLINK_S)
    return np.clip(blinks, 0, 1)


def _head(subject: Subject, setting: Setting, rng: np.random.Generator, times: Array) -> Array:
    sizes = setting.motion * subject.traits.restless * np.array(HEAD_MOTION)
    head = rng.normal(size=5) * sizes * 0.8 + np.stack([_wander(rng, times, size, 0.7) for size in sizes], axis=1)
    if rng.random() < subject.traits.dynamics.jerk:
        pulse = _pulse(times, rng.uniform(0, times[-1]), 0.3)
        head = head + pulse[:, None] * rng.normal(size=5) * HEAD_JERK
    return np.clip(head, -0.42, 0.42)
