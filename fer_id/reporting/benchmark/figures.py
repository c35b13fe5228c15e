"""Figures of a benchmark: macro recall of encoders and readers, and the contrasts with what they could detect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from fer_id.evaluation.contrasts import SHOWN, SMALLER, UNDECIDED, Verdict
from fer_id.readers.results import Encoder
from fer_id.reporting import style

if TYPE_CHECKING:
    from fer_id.readers.low_resource import LearningCurve

_COLOURS = {SHOWN: style.BLUE, SMALLER: style.GREEN, UNDECIDED: style.MUTED}


@style.styled()
def recall_figure(encoders: Sequence[Encoder], provenance: str) -> Figure:
    """Draw the macro recall of each reader (rows) on each encoder (colours) with its interval."""
    readers = list(encoders[0].recalls)
    height = 1.5 + 0.42 * len(readers)
    figure, axes = style.one_panel(12.0, height, "Macro recall on the test clips, by reader", provenance)
    shifts = np.linspace(-0.28, 0.28, len(encoders)) if len(encoders) > 1 else [0.0]
    for encoder, shift, colour in zip(encoders, shifts, style.CYCLE * 3, strict=False):
        for place, reader in enumerate(readers):
            estimate, row = encoder.recalls[reader], place + float(shift)
            interval = estimate.interval()
            style.draw_extent(axes, interval.low, interval.high, row, color=colour, linewidth=1.4)
            label = encoder.name if not place else None
            axes.plot(estimate.value, row, "o", color=colour, markersize=4, label=label)
    axes.axvline(1 / len(encoders[0].by_class[readers[0]]), color=style.MUTED, linestyle=style.DOTTED, label="chance")
    style.name_rows(axes, readers)
    style.percent_axis(axes, "x")
    axes.set_xlabel("macro recall, 95\u202f% interval over bases and stills")
    style.legend_beside(axes)
    return figure


@style.styled()
def curve_figure(curve: LearningCurve, provenance: str) -> Figure:
    """Draw the macro recall of each reader over the number of children of a cohort, each left out in turn, and at the
    right of a reader that learned from the training split."""
    figure, axes = style.one_panel(9.0, 3.6, "Macro recall by number of children, leave one child out", provenance)
    sizes = [*next(iter(curve.estimates.values())), curve.learned]
    shifts = np.linspace(-0.15, 0.15, len(curve.estimates)) if len(curve.estimates) > 1 else [0.0]
    for (reader, of), shift, colour in zip(curve.estimates.items(), shifts, style.CYCLE, strict=False):
        estimates = [*of.values(), curve.full[reader]]
        places = np.arange(len(sizes)) + float(shift)
        axes.plot(places[:-1], [estimate.value for estimate in of.values()], "-", color=colour, linewidth=1.2)
        axes.plot(places, [estimate.value for estimate in estimates], "o", color=colour, markersize=4, label=reader)
        for place, interval in zip(places, (estimate.interval() for estimate in estimates), strict=True):
            if interval.low is not None and interval.high is not None:
                axes.plot([place, place], [interval.low, interval.high], color=colour, linewidth=1.2)
    axes.set_xticks(range(len(sizes)), [*map(str, sizes[:-1]), f"{sizes[-1]}\n(training split)"])
    style.percent_axis(axes, "y")
    axes.set(xlabel="children of a cohort", ylabel="macro recall, 95\u202f% interval")
    style.legend_beside(axes)
    return figure


@style.styled()
def contrast_figure(results: Mapping[str, Verdict], relevant: float, provenance: str) -> Figure:
    """Draw each contrast with its interval, and grey the differences that the design could not have detected."""
    figure, axes = style.one_panel(12.0, 1.6 + 0.5 * len(results), "Contrasts fixed beforehand", provenance)
    for place, verdict in enumerate(results.values()):
        estimate, colour = verdict.estimate, _COLOURS[verdict.answer]
        detectable, together = estimate.detectable(len(results)), estimate.interval(len(results))
        if not np.isnan(detectable):
            blind = [(-100 * detectable, 200 * detectable)]
            label = "undetectable with 80\u202f% power (Holm)" if not place else None
            axes.broken_barh(blind, (place - 0.36, 0.72), color=style.LINE, alpha=0.7, label=label)
        own = estimate.interval()
        for interval, width in ((together, 1.0), (own, 2.6)):
            if interval.low is not None and interval.high is not None:
                style.draw_extent(axes, 100 * interval.low, 100 * interval.high, place, color=colour, linewidth=width)
        axes.plot(100 * estimate.value, place, "o", color=colour, markersize=5)
        words = f"{100 * estimate.value:+.1f}".replace("-", "−")
        axes.annotate(words, (100 * estimate.value, place), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    axes.axvline(0, color=style.INK, linewidth=0.8)
    for side, label in ((-1, None), (1, "relevant")):
        axes.axvline(100 * side * relevant, color=style.VERMILION, linewidth=0.8, linestyle=style.DASHED, label=label)
    style.name_rows(axes, [f"{name}\n{verdict.answer}" for name, verdict in results.items()], above=0.7)
    axes.set_xlabel("points of macro recall; thick: 95\u202f% interval, thin: for all contrasts at once")
    axes.grid(axis="x")
    style.legend_beside(axes)
    return figure
