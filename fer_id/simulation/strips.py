"""Film strips for visual inspection: emotion by severity (adults: by person), with the intensity under each frame."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.labels import TARGET
from fer_id.simulation.drawn.acting import Subject
from fer_id.simulation.drawn.canvas import Array
from fer_id.simulation.drawn.clip_store import SyntheticConfig, stage_clip
from fer_id.simulation.drawn.rendering import eye_camera
from fer_id.simulation.drawn.traits import SEVERITIES, Traits

_SIDE = 96  # pixels of one frame
_GAP = 4
_MOST_FRAMES = 16  # frames of a longer clip in a strip, evenly spaced: the picture has to fit on a screen


class Strip(NamedTuple):
    """Frames of a clip side by side, uint8 (96, W, 3), and the intensity of each, (N,), drawn below."""

    picture: NDArray[np.uint8]
    intensity: Array


def film_strips(config: SyntheticConfig, out: Path) -> Path:
    """Draw the first clip of every emotion at every severity into the PNG ``out`` for visual inspection.

    A severity is represented by the first subject that has it, drawn beyond the cohort where a small cohort has none.
    Adults: the first three. ConfigError: values that cannot be drawn, all listed.
    """
    config.validate()
    if config.population == "adults":
        people = [config.subject(index) for index in range(3)]
    else:
        people = [
            next(subject for subject in map(config.subject, count()) if subject.traits.severity == severity)
            for severity in SEVERITIES
        ]
    frames = strip_frames(config.frames)
    rows = [[_strip(config, person, emotion, frames) for person in people] for emotion in TARGET.names]
    caption = "synthetic: drawn faces; the line is the intensity e(t)"
    return draw(rows, [person.traits for person in people], caption, out)


def strip_frames(frames: int) -> NDArray[np.int64]:
    """Return the indices of the frames in a strip: all, or as many as fit, evenly spaced."""
    return np.linspace(0, frames - 1, min(frames, _MOST_FRAMES)).round().astype(int)


def draw(rows: list[list[Strip]], people: list[Traits], caption: str, out: Path) -> Path:
    """Write strips by row (equally many per emotion) and person to a PNG of mode 0600; return its path."""
    from matplotlib.figure import Figure

    count, step = len(rows[0][0].intensity), len(rows) // len(TARGET.names)
    figure = Figure(figsize=(0.42 * count * len(people) + 1, 0.72 * len(rows) + 0.5), dpi=160)
    axes = figure.subplots(len(rows), len(people), squeeze=False)
    for across, strips in zip(axes, rows, strict=True):
        for axis, (picture, intensity) in zip(across, strips, strict=True):
            height, middles = len(picture), (np.arange(count) + 0.5) * (_SIDE + _GAP)
            axis.imshow(picture)
            axis.plot(middles, height + 26 - 26 * intensity, color="#b33", linewidth=1.2)
            axis.set(xlim=(0, picture.shape[1]), ylim=(height + 30, 0), xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    for axis, person in zip(axes[0], people, strict=True):
        axis.set_title(f"{person.severity} ({person.subject_id})", fontsize=8)
    for axis, emotion in zip(axes[::step, 0], TARGET.names, strict=True):
        axis.set_ylabel(emotion, fontsize=8)
    figure.suptitle(caption, fontsize=7, y=0.02 * 5 / len(rows), va="bottom")
    figure.subplots_adjust(left=0.03, right=0.995, top=0.95, bottom=0.05, wspace=0.02, hspace=0.05)
    out.touch(mode=0o600)
    figure.savefig(out, format="png")
    return out


def film(frames: NDArray[np.uint8], intensity: Array) -> Strip:
    """Place square pictures (N, S, S, 3) side by side, enlarged to 96 pixels."""
    picture = np.full((_SIDE, len(frames) * (_SIDE + _GAP), 3), 255, np.uint8)
    for place, frame in enumerate(frames):
        left = place * (_SIDE + _GAP)
        picture[:, left : left + _SIDE] = cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    return Strip(picture, intensity)


def _strip(config: SyntheticConfig, subject: Subject, emotion: str, frames: NDArray[np.int64]) -> Strip:
    painter, _ = stage_clip(subject, emotion, 0, config, config.times)
    pictures = []
    for frame in frames.tolist():
        camera = eye_camera(painter.points(frame), np.zeros((2, 2)), _SIDE)
        pictures.append(painter.paint(frame, (_SIDE, _SIDE), camera)[0])
    return film(np.stack(pictures), painter.performance.intensity[frames])
