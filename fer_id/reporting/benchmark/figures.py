"""Figure of a benchmark's accuracies beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from fer_id.evaluation.seeds import Estimate
from fer_id.reporting import style
from fer_id.reporting.benchmark.paper import REPORTED, TABLE4
from fer_id.reporting.words import percent


def accuracy_figure(scores: Mapping[str, Estimate], majority: float | None, provenance: str) -> Figure:
    """Draw the accuracy of each model with its interval over subjects; hollow diamonds are the paper's values.

    Args:
        scores: model -> accuracy.
        majority: accuracy of always answering the commonest class.
        provenance: provenance of the clips.
    """
    with style.styled():
        figure = style.new_figure(12.0, 1.4 + 0.34 * len(scores), "Accuracy on the test clips", provenance)
        axes = figure.subplots()
        for place, score in enumerate(scores.values()):
            low, high = score.interval.low, score.interval.high
            if low is not None and high is not None:
                axes.plot([low, high], [place] * 2, color=style.BLUE, linewidth=1.6)
            axes.plot(
                score.value, place, "o", color=style.BLUE, label="ours, 95\u202f% interval" if not place else None
            )
            axes.annotate(
                percent(score.value),
                (score.value, place),
                (0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
            )
        theirs = [(TABLE4[name]["accuracy"], place) for place, name in enumerate(scores) if name in TABLE4]
        if theirs:
            x, y = zip(*theirs, strict=True)
            label = f"{REPORTED}, on other clips"
            axes.plot(x, y, "D", color=style.MUTED, markerfacecolor="none", linestyle="none", markersize=5, label=label)
        if majority is not None:
            label = f"the commonest class: {percent(majority)}"
            axes.axvline(majority, color=style.VERMILION, linewidth=1, linestyle=(0, (4, 3)), label=label)
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set_ylim(len(scores) - 0.5, -0.7)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(style.percent_ticks())
        axes.grid(axis="x")
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
