"""Emotions as facial action units, and their time course: onset, apex, offset.

Source of the units: Ekman, Friesen & Hager, *Facial Action Coding System*, 2002, and the prototypes of its
Investigator's Guide (table 10-1) for the five emotions of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_id.simulation.drawn.canvas import Array

ACTION_UNITS: dict[int, str] = {
    1: "inner brow raiser", 2: "outer brow raiser", 4: "brow lowerer", 5: "upper lid raiser", 6: "cheek raiser",
    7: "lid tightener", 12: "lip corner puller", 15: "lip corner depressor", 17: "chin raiser", 20: "lip stretcher",
    23: "lip tightener", 25: "lips part", 26: "jaw drop", 45: "blink",
}  # fmt: skip
"""The action units that are drawn; a face is a vector of their activations, 0 (rest) to 1 (maximum), in this order."""

AU_INDEX: dict[int, int] = {unit: index for index, unit in enumerate(ACTION_UNITS)}

PROTOTYPES: dict[str, dict[int, float]] = {
    "happy": {6: 0.8, 12: 1.0, 25: 0.7},
    "sad": {1: 1.0, 4: 0.35, 15: 1.0, 17: 0.4},
    "angry": {4: 1.0, 5: 0.35, 7: 0.8, 23: 0.9, 17: 0.3},
    "fear": {1: 1.0, 2: 0.7, 4: 0.4, 5: 1.0, 20: 0.7, 25: 0.7, 26: 0.65},
    "neutral": {},
}
"""Activations at full intensity, by emotion of the target label space."""


def units(**activation: float) -> Array:
    """Return a vector of activations from keywords such as ``AU12=0.8``; all others are 0.

    KeyError: an action unit that is not drawn.
    """
    vector = np.zeros(len(ACTION_UNITS))
    for name, value in activation.items():
        vector[AU_INDEX[int(name.removeprefix("AU"))]] = value
    return vector


def prototype(emotion: str) -> Array:
    """Return the activations of ``emotion`` at full intensity.

    >>> float(prototype("happy")[AU_INDEX[12]])
    1.0
    """
    return units(**{f"AU{unit}": value for unit, value in PROTOTYPES[emotion].items()})


@dataclass(frozen=True)
class TimeCourse:
    """Time course of an expression in seconds from the start of the clip; ``peak`` is its intensity, 0 to 1.

    ``lapse`` is the moment at which an involuntary movement interrupts the expression (None: never), for ``lapse_s``
    seconds.
    """

    onset_s: float
    rise_s: float
    apex_s: float
    fall_s: float
    peak: float
    lapse: float | None = None
    lapse_s: float = 0.3

    def intensity(self, times: Array) -> Array:
        """Return e(t) in [0, peak] at ``times`` (T,) seconds: a smooth rise, a plateau, a smooth fall."""
        rise = _smoothstep((times - self.onset_s) / self.rise_s)
        fall = _smoothstep((times - self.onset_s - self.rise_s - self.apex_s) / self.fall_s)
        curve: Array = self.peak * rise * (1 - fall)
        if self.lapse is not None:
            # Half the lapse on each side of its middle; a tenth of the expression stays, as muscles relax slowly.
            curve = curve * (1 - 0.9 * np.exp(-0.5 * ((times - self.lapse) / (self.lapse_s / 2)) ** 2))
        return curve


def _smoothstep(x: Array) -> Array:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
