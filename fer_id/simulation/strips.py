"""Film strips of the drawn cohort: emotion by severity, or of adults by person, with the intensity under each frame."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_id.labels import TARGET
from fer_id.simulation.arrays import Array
from fer_id.simulation.performance import Subject
from fer_id.simulation.rendering import eye_camera
from fer_id.simulation.synthetic import SyntheticConfig, stage_clip
from fer_id.simulation.traits import SEVERITIES

_SIDE = 96  # pixels of one frame
_GAP = 4
_MOST_FRAMES = 16  # of a longer clip as many are shown, evenly spaced: a picture has to fit on a screen


def film_strips(config: SyntheticConfig, out: Path) -> Path:
    """Draws the first clip of every emotion at every severity and writes a picture for a person to judge.

    Args:
        config: the cohort; for each severity its first subject of that severity is shown, or would be the first if a
            small cohort has none. Of adults, its first three.
        out: the PNG to write; its folder must exist.

    Returns:
        ``out``.

    Raises:
        ConfigError: values that cannot be drawn, all listed.
    """
    config.validate()
    from matplotlib.figure import Figure

    shown = np.linspace(0, config.frames - 1, min(config.frames, _MOST_FRAMES)).round().astype(int)
    people = _people(config)
    figure = Figure(figsize=(0.42 * len(shown) * len(people) + 1, 0.72 * len(TARGET.names) + 0.5), dpi=160)
    axes = figure.subplots(len(TARGET.names), len(people), squeeze=False)
    for column, subject in enumerate(people):
        axes[0, column].set_title(f"{subject.traits.severity} ({subject.traits.subject_id})", fontsize=8)
        for row, emotion in enumerate(TARGET.names):
            picture, intensity = _strip(config, subject, emotion, shown)
            axis = axes[row, column]
            axis.imshow(picture)
            middles = (np.arange(len(shown)) + 0.5) * (_SIDE + _GAP)
            height = len(picture)
            axis.plot(middles, height + 26 - 26 * intensity, color="#b33", linewidth=1.2)
            axis.set(xlim=(0, picture.shape[1]), ylim=(height + 30, 0), xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if column == 0:
                axis.set_ylabel(emotion, fontsize=8)
    figure.suptitle("synthetic: drawn faces; the line is the intensity e(t)", fontsize=7, y=0.02, va="bottom")
    figure.subplots_adjust(left=0.03, right=0.995, top=0.94, bottom=0.06, wspace=0.02, hspace=0.05)
    figure.savefig(out, format="png")
    return out


def _people(config: SyntheticConfig) -> list[Subject]:
    if config.population == "adults":
        return [config.subject(index) for index in range(3)]
    return [
        next(subject for subject in map(config.subject, count()) if subject.traits.severity == severity)
        for severity in SEVERITIES
    ]


def _strip(
    config: SyntheticConfig, subject: Subject, emotion: str, shown: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], Array]:
    """The shown frames of one clip side by side, uint8 (96, W, 3), and their intensity (N,)."""
    performance, painter, _ = stage_clip(subject, emotion, 0, config)
    picture = np.full((_SIDE, len(shown) * (_SIDE + _GAP), 3), 255, np.uint8)
    for place, frame in enumerate(shown.tolist()):
        camera = eye_camera(painter.points(frame), np.zeros((2, 2)), _SIDE)
        left = place * (_SIDE + _GAP)
        picture[:, left : left + _SIDE] = painter.paint(frame, (_SIDE, _SIDE), camera)[0]
    return picture, performance.intensity[shown]
