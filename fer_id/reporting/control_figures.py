"""Figures of temporal controls: their accuracies, also by how the expression shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fer_id.evaluation.controls import CHOSEN, HINDSIGHT, MEAN, REVERSED, SHUFFLED, WHOLE
from fer_id.reporting import style
from fer_id.reporting.result_shapes import Bin, ControlScores
from fer_id.reporting.words import percent

_COLOURS = {WHOLE: style.BLUE, MEAN: style.VERMILION, CHOSEN: style.GREEN}


@style.styled()
def control_figure(controls: ControlScores) -> Figure:
    """Draw the accuracy of every control with its interval (left), and the accuracy of each frame alone (right)."""
    rows = controls.accuracy
    title = f"{controls.model}: whole clips beside fewer or reordered frames"
    figure = style.new_figure(12.0, 1.6 + 0.34 * len(rows), title, controls.provenance)
    left, right = figure.subplots(1, 2, width_ratios=[6, 5])
    for place, (name, row) in enumerate(rows.items()):
        colour = _COLOURS.get(name, style.MUTED)
        filled = "none" if name == HINDSIGHT else colour
        _estimate(left, place, row.value, row.low, row.high, color=colour, markerfacecolor=filled)
    left.axvline(rows[WHOLE].value, color=style.BLUE, linewidth=0.8, linestyle=style.DASHED)
    style.name_rows(left, list(rows), above=0.7)
    style.percent_axis(left, "x")
    left.set_xlabel(
        "accuracy, 95\u202f% interval over subjects; hollow: chosen on the test clips\n"
        f"{SHUFFLED}, {REVERSED}: what this model, which never learned them, loses;\n"
        "no evidence that order helps",
        fontsize=8,
    )
    for (reader, values), colour in zip(controls.by_frame.items(), (style.SKY, style.GREEN), strict=True):
        moments = range(1, len(values) + 1)
        right.plot(moments, values, color=colour, marker="o", markersize=3, label=f"one frame, {reader}")
    for name in (WHOLE, MEAN):
        right.axhline(rows[name].value, color=_COLOURS[name], linewidth=1, linestyle=style.DASHED, label=name)
    style.percent_axis(right, "y", grid=False)
    right.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    style.epoch_axis(right)
    right.set(xlabel="frame", ylabel="accuracy")
    right.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


def _estimate(
    axes: Axes, place: int, value: float, low: float | None, high: float | None, *, color: str, **look: Any
) -> None:
    """Draw an accuracy in row ``place`` as a point under its percentage, with its interval."""
    style.draw_extent(axes, low, high, place, color=color, linewidth=1.6)
    axes.plot(value, place, "o", color=color, **look)
    axes.annotate(percent(value), (value, place), (0, 5), textcoords="offset points", ha="center", fontsize=7.5)


@style.styled()
def intensity_figure(controls: ControlScores) -> Figure | None:
    """Draw the accuracy by the clip's peak intensity and by its delay; None where the store has neither."""
    peak, delay = controls.peak.bins, controls.delay.bins
    if peak is None or delay is None:
        return None
    title = f"Weak and late expressions: accuracy of {controls.model}"
    figure = style.new_figure(12.0, 3.7, title, controls.provenance)
    left, right = figure.subplots(1, 2, sharey=True)
    _bins(left, peak, digits=2)
    _bins(right, delay, digits=0)
    left.set(xlabel="peak intensity of the expression", ylabel="accuracy")
    right.set_xlabel("delay: first frame at half the peak (0: the first)")
    style.legend_beside(right)
    return figure


def _bins(axes: Axes, bins: Sequence[Bin], *, digits: int) -> None:
    places = np.arange(len(bins))
    for shift, (name, colour) in zip((-0.08, 0.0, 0.08), _COLOURS.items(), strict=True):
        rows = [part.accuracy[name] for part in bins]
        axes.plot(places + shift, [row.value for row in rows], color=colour, marker="o", markersize=4, label=name)
        for place, row in zip(places + shift, rows, strict=True):
            if row.low is not None and row.high is not None:
                axes.plot([place, place], [row.low, row.high], color=colour, linewidth=1)
    axes.set_xticks(places, [f"{_span(part, digits)}\n{part.n_clips:,} clips" for part in bins])
    axes.set_xlim(-0.5, len(bins) - 0.5)
    style.percent_axis(axes, "y", 0, 1.03)


def _span(part: Bin, digits: int) -> str:
    first, last = f"{part.first:.{digits}f}", f"{part.last:.{digits}f}"
    return first if first == last else f"{first}–{last}"
