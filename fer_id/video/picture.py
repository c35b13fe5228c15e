"""Figure of a timeline: class probabilities stacked over time, below them lanes of answers and of detected faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from fer_id.reporting import style
from fer_id.video.timeline import ANSWERED, FOR_REVIEW, NO_FACE, TOO_LITTLE, Timeline

Array = NDArray[np.float64]

COLOURS = {
    "happy": style.ORANGE,
    "sad": style.BLUE,
    "angry": style.VERMILION,
    "fear": style.PURPLE,
    "neutral": "#7b8794",
    "surprise": style.GREEN,
    "disgust": "#8c6d31",
    "contempt": style.SKY,
}
"""Colour of a class in every figure."""

WIDTH = 11.0  # inches
LONGEST_ROW_S = 300.0
MOST_ROWS = 12

MOST_ENTRIES = 8
"""Entries of the legend on one line, beside the words on what the model is for."""

_ABSENT, _HATCH = "#e4e7ec", "////"
_LANE = (-0.26, -0.06)  # lane of answers, below the probabilities
_FACES = (-0.38, -0.31)  # lane of frames with and without a face, below the answers
_SHARE_OF_ROW = 0.05  # share of a row below which a segment is too short for its word


def draw(timeline: Timeline) -> Figure:
    """Draw the stacked probabilities: pale and hatched where a window is for review, gray where there is no face.

    A long video continues in further rows of equal length, of LONGEST_ROW_S at most unless that needs over MOST_ROWS,
    so that a window stays wide enough to be visible.
    """
    count = min(max(1, math.ceil(timeline.video.length_s / LONGEST_ROW_S)), MOST_ROWS)
    part = timeline.video.length_s / count
    rows = [(part * number, part * (number + 1)) for number in range(count)]
    height = 1.15 + 1.7 * len(rows)
    with style.styled():
        figure = style.new_figure(WIDTH, height, "What the model says, over time", timeline.about.provenance)
        many = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for axes, (start, end) in zip(many, rows, strict=True):
            _draw_row(axes, timeline, start, end)
        many[-1].set_xlabel("time in the video (min:s)")
        entries = _legend(timeline)
        figure.legend(
            handles=entries,
            loc="outside lower left",
            ncols=len(entries) if len(entries) <= MOST_ENTRIES else math.ceil(len(entries) / 2),
            frameon=False,
            fontsize=8,
        )
        use = "assists, does not diagnose"
        figure.text(1 - 0.12 / WIDTH, 0.12 / height, use, ha="right", va="bottom", fontsize=8, color=style.MUTED)
    return figure


def _draw_row(axes: Axes, timeline: Timeline, start: float, end: float) -> None:
    """Draw one row of the figure: the probabilities from ``start`` to ``end`` and both lanes."""
    windows = timeline.windows
    windows = windows[(windows["to_s"] > start) & (windows["from_s"] < end)]
    _stack(axes, timeline, windows, windows["status"] == ANSWERED, 1.0)
    _stack(axes, timeline, windows, windows["status"] == FOR_REVIEW, 0.45)
    axes.vlines(windows["from_s"], 0, 1, color=style.PAPER, linewidth=min(0.6, 120 / len(windows)))
    here = [gap for gap in timeline.gaps() if gap.end_s > start and gap.start_s < end]
    gaps = [(gap.start_s, gap.end_s - gap.start_s) for gap in here]
    axes.broken_barh(gaps, (_FACES[0], 1 - _FACES[0]), facecolor=_ABSENT, alpha=0.75, linewidth=0, zorder=3)
    _draw_answers(axes, timeline, start, end)
    low, high = _FACES  # the lowest lane: dark where the face was found
    axes.broken_barh([(start, end - start)], (low, high - low), facecolor=style.MUTED, linewidth=0)
    axes.broken_barh(gaps, (low, high - low), facecolor=_ABSENT, linewidth=0)
    axes.set_xlim(start, end)
    axes.set_ylim(_FACES[0], 1)
    axes.set_yticks([0, 0.5, 1, sum(_LANE) / 2, sum(_FACES) / 2], ["0", "50\u202f%", "100\u202f%", "answer", "face"])
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 1.5, 2, 3, 6, 10], integer=end - start > 12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value, tenths=end - start <= 12)))


def _stack(axes: Axes, timeline: Timeline, windows: pd.DataFrame, chosen: pd.Series, alpha: float) -> None:
    """Draw the probabilities of the chosen windows as one stacked area per class."""
    if not chosen.any():
        return
    edges = np.append(windows["from_s"].to_numpy(), windows["to_s"].iloc[-1])
    base = np.zeros(len(edges))
    here = np.append(chosen.to_numpy(), chosen.iloc[-1])
    for name in timeline.labels.names:
        values = windows[f"{timeline.kind}_{name}"].to_numpy()
        top = base + np.append(values, values[-1])
        _area(axes, edges, np.where(here, base, np.nan), np.where(here, top, np.nan), color=colour(name), alpha=alpha)
        base = top
    if alpha < 1:
        whole = np.where(here, 1.0, np.nan)
        _area(axes, edges, 0 * whole, whole, facecolor="none", edgecolor=style.PAPER, hatch=_HATCH)


def _area(axes: Axes, edges: Array, low: Array, high: Array, **look: Any) -> None:
    """Fill between two step functions, with gaps at NaN; each step is drawn with both its ends."""
    x = np.repeat(edges, 2)[1:-1]
    low, high = (np.repeat(values[:-1], 2) for values in (low, high))
    axes.fill_between(x, low, high, linewidth=0, **look)


def _draw_answers(axes: Axes, timeline: Timeline, start: float, end: float) -> None:
    """Draw the lane of answers, with a word on each segment that is long enough for it."""
    low, high = _LANE
    for (status, answer), group in groupby(timeline.segments(), key=lambda segment: (segment.status, segment.answer)):
        segments = list(group)
        begin, stop = max(segments[0].start_s, start), min(segments[-1].end_s, end)
        if stop <= begin:
            continue
        look: dict[str, Any] = {
            ANSWERED: {"facecolor": colour(answer or ""), "edgecolor": style.PAPER},
            FOR_REVIEW: {"facecolor": style.PAPER, "edgecolor": style.MUTED, "hatch": _HATCH},
            TOO_LITTLE: {"facecolor": _ABSENT, "edgecolor": style.MUTED, "hatch": _HATCH},
            NO_FACE: {"facecolor": _ABSENT, "edgecolor": style.PAPER},
        }[status]
        axes.bar(begin, high - low, stop - begin, low, align="edge", linewidth=0.6, **look)
        if stop - begin > _SHARE_OF_ROW * (end - start):
            box = {"boxstyle": "round,pad=0.15", "facecolor": style.PAPER, "edgecolor": "none"}
            axes.text(
                (begin + stop) / 2, (low + high) / 2, answer or status, ha="center", va="center", fontsize=7.5, bbox=box
            )


def _legend(timeline: Timeline) -> Sequence[Patch]:
    classes = [Patch(facecolor=colour(name), label=name) for name in timeline.labels.names]
    review = Patch(facecolor="#f3f4f6", edgecolor=style.MUTED, hatch=_HATCH, linewidth=0.4, label="for review (pale)")
    little = Patch(facecolor=_ABSENT, edgecolor=style.MUTED, hatch=_HATCH, linewidth=0.4, label=TOO_LITTLE)
    return [*classes, review, little, Patch(facecolor=_ABSENT, label="no face")]


def colour(label: str) -> str:
    """The colour of a class."""
    return COLOURS.get(label, style.MUTED)


def clock(seconds: float, *, tenths: bool = False) -> str:
    """Return seconds as minutes and seconds: ``75.5`` -> ``1:16``, with ``tenths`` ``1:15.5``."""
    seconds = round(seconds, 1) if tenths else round(seconds)
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}:{rest:04.1f}" if tenths else f"{minutes:.0f}:{rest:02.0f}"
