"""Figures of ``controls.json``: accuracy of temporal controls, and by intensity and delay of the expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fer_id.evaluation.controls import CHOSEN, HINDSIGHT, MEAN, WHOLE
from fer_id.reporting import style
from fer_id.reporting.words import percent

_COLOURS = {WHOLE: style.BLUE, MEAN: style.VERMILION, CHOSEN: style.GREEN}


def control_figure(controls: Mapping[str, Any]) -> Figure:
    """Draw the accuracy of every control with its interval (left), and the accuracy of each frame alone (right)."""
    rows = controls["accuracy"]
    title = f"Does time matter to {controls['model']}?"
    with style.styled():
        figure = style.new_figure(12.0, 1.6 + 0.34 * len(rows), title, controls["provenance"])
        left, right = figure.subplots(1, 2, width_ratios=[6, 5])
        for place, (name, row) in enumerate(rows.items()):
            colour = _COLOURS.get(name, style.MUTED)
            if row["low"] is not None:
                left.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.6)
            filled = "none" if name == HINDSIGHT else colour
            left.plot(row["value"], place, "o", color=colour, markerfacecolor=filled)
            left.annotate(
                percent(row["value"]),
                (row["value"], place),
                (0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
            )
        left.axvline(rows[WHOLE]["value"], color=style.BLUE, linewidth=0.8, linestyle=(0, (4, 3)))
        left.set_yticks(range(len(rows)), list(rows))
        left.set_ylim(len(rows) - 0.5, -0.7)
        left.xaxis.set_major_formatter(style.percent_ticks())
        left.grid(axis="x")
        left.set_xlabel("accuracy, 95\u202f% interval over subjects; hollow: chosen on the test clips")
        _by_frame(right, controls)
    return figure


def _by_frame(axes: Axes, controls: Mapping[str, Any]) -> None:
    for (reader, values), colour in zip(controls["by_frame"].items(), (style.SKY, style.GREEN), strict=True):
        axes.plot(
            range(1, len(values) + 1), values, color=colour, marker="o", markersize=3, label=f"one frame, {reader}"
        )
    for name in (WHOLE, MEAN):
        axes.axhline(
            controls["accuracy"][name]["value"], color=_COLOURS[name], linewidth=1, linestyle=(0, (4, 3)), label=name
        )
    axes.yaxis.set_major_formatter(style.percent_ticks())
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    style.epoch_axis(axes)
    axes.set_xlabel("frame")
    axes.set_ylabel("accuracy")
    axes.legend(frameon=False, fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


def intensity_figure(controls: Mapping[str, Any]) -> Figure | None:
    """Draw the accuracy by the clip's peak intensity and by its delay; None where the store has neither."""
    if controls["peak"]["bins"] is None:
        return None
    axes_of = {
        "peak": "peak intensity of the expression",
        "delay": "delay: first frame at half the peak (0: the first)",
    }
    with style.styled():
        title = f"Weak and late expressions: accuracy of {controls['model']}"
        figure = style.new_figure(12.0, 3.7, title, controls["provenance"])
        for axes, (key, label) in zip(figure.subplots(1, 2, sharey=True), axes_of.items(), strict=True):
            _bins(axes, controls[key]["bins"], whole_numbers=key == "delay")
            axes.set_xlabel(label)
        figure.axes[0].set_ylabel("accuracy")
        figure.axes[1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _bins(axes: Axes, bins: list[dict[str, Any]], *, whole_numbers: bool) -> None:
    places = np.arange(len(bins))
    for shift, (name, colour) in zip((-0.08, 0.0, 0.08), _COLOURS.items(), strict=True):
        rows = [part["accuracy"][name] for part in bins]
        axes.plot(places + shift, [row["value"] for row in rows], color=colour, marker="o", markersize=4, label=name)
        for place, row in zip(places + shift, rows, strict=True):
            if row["low"] is not None:
                axes.plot([place, place], [row["low"], row["high"]], color=colour, linewidth=1)
    spans = [_span(part["from"], part["to"], whole_numbers) for part in bins]
    axes.set_xticks(places, [f"{span}\n{part['n_clips']:,} clips" for span, part in zip(spans, bins, strict=True)])
    axes.set_xlim(-0.5, len(bins) - 0.5)
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(style.percent_ticks())
    axes.grid(axis="y")


def _span(low: float, high: float, whole_numbers: bool) -> str:
    first, last = (f"{value:.0f}" if whole_numbers else f"{value:.2f}" for value in (low, high))
    return first if first == last else f"{first}–{last}"
