"""Figures of ``explain.json``: regions against their size, classes by region, moments, and the checks' curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fer_id.explain.regions import OUTSIDE, REGIONS
from fer_id.reporting import style

EVEN = 1.0
"""Where a map without a preference lies."""


def mark(said: Mapping[str, Any]) -> str:
    """What has to stand wherever the maps appear; empty where they passed, or were checked without a verdict."""
    if said["failed"]:
        return f"these maps failed: {', '.join(said['failed'])}"
    return "" if said["checks"] else "these maps were not checked"


def draw(said: Mapping[str, Any]) -> dict[str, Figure]:
    """All figures that have something to show, by name."""
    made = {
        "regions": regions_figure(said),
        "classes": classes_figure(said),
        "frames": frames_figure(said),
        "checks": curves_figure(said),
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def regions_figure(said: Mapping[str, Any]) -> Figure | None:
    """Attribution of each region relative to its area, with intervals; what is no face in another colour."""
    if said["regions"][REGIONS[0]]["value"] is None:
        return None
    with style.styled():
        figure = _figure(said, 7.4, 4.0, "Where the attribution falls")
        axes = figure.subplots()
        for place, name in enumerate(REGIONS):
            one = said["regions"][name]
            colour = style.VERMILION if name in OUTSIDE else style.BLUE
            axes.barh(place, one["value"] or 0.0, color=colour, height=0.62, alpha=0.85)
            if one["low"] is not None:
                axes.plot([one["low"], one["high"]], [place, place], color=style.INK, linewidth=1.4)
            text = f"{100 * one['share']:.0f}\u202f% on {100 * one['area']:.0f}\u202f% of the picture"
            end = max(one["value"] or 0.0, one["high"] or 0.0)
            axes.annotate(text, (end, place), (5, 0), textcoords="offset points", va="center", fontsize=7.5)
        axes.axvline(EVEN, color=style.MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(REGIONS)), REGIONS)
        axes.set_ylim(len(REGIONS) - 0.5, -0.6)
        axes.margins(x=0.32)
        axes.set_xlim(left=0)
        axes.set_xlabel("attribution relative to the region's area; dashed: a map without preference; lines: 95\u202f%")
    return figure


def classes_figure(said: Mapping[str, Any]) -> Figure | None:
    """Region by class: attribution relative to area; framed where FACS expects the emotion."""
    classes = {name: one for name, one in said["by_class"].items() if one["leakage"]["value"] is not None}
    if not classes:
        return None
    values = np.array([[one["regions"][region]["value"] or 0.0 for region in REGIONS] for one in classes.values()])
    with style.styled():
        figure = _figure(said, 8.6, 1.9 + 0.44 * len(classes), "By predicted class")
        axes = figure.subplots()
        # logarithmic: half as much is as far from even as twice as much
        shown = axes.imshow(np.log2(values.clip(0.25, 4)), cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto")
        for row, one in enumerate(classes.values()):
            for column, region in enumerate(REGIONS):
                strong = abs(np.log2(max(values[row, column], 0.25))) > 1.5
                colour = "white" if strong else style.INK
                axes.text(column, row, f"{values[row, column]:.1f}", ha="center", va="center", fontsize=8, color=colour)
                if region in one["expected"]["regions"]:
                    box = (column - 0.46, row - 0.44)
                    axes.add_patch(_frame(box, 0.92, 0.88))
        axes.set_xticks(range(len(REGIONS)), REGIONS, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(classes)), list(classes))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(shown, ax=axes, shrink=0.9, ticks=[-2, -1, 0, 1, 2])
        bar.ax.set_yticklabels(["≤ ¼", "½", "1", "2", "≥ 4"])
        bar.outline.set_visible(False)
        axes.set_xlabel("attribution relative to area; framed: where FACS expects the emotion to show")
    return figure


def frames_figure(said: Mapping[str, Any]) -> Figure | None:
    """Moments of the clip: the mean share of each frame, and how far the logit falls without it."""
    if not said["by_frame"]:
        return None
    importance, occlusion = (np.array(said["by_frame"][name], float) for name in ("importance", "occlusion"))
    with style.styled():
        figure = _figure(said, 7.4, 2.9, "When: the mean over clips")
        left = figure.subplots()
        moments = np.arange(1, len(importance) + 1)
        left.bar(moments, importance, color=style.BLUE, width=0.7, alpha=0.85, label="share of the Grad-CAM")
        left.axhline(1 / len(importance), color=style.MUTED, linewidth=1, linestyle=(0, (4, 3)), label="an even share")
        left.yaxis.set_major_formatter(style.percent_ticks())
        left.set_xlabel("frame")
        left.set_xticks(moments)
        right = left.twinx()
        right.spines["right"].set_visible(True)
        right.plot(
            moments, occlusion, color=style.VERMILION, marker="o", markersize=3.5, label="fall of the logit without it"
        )
        low, high = min(0.0, float(np.nanmin(occlusion))), max(0.05, float(np.nanmax(occlusion)))
        right.set_ylim(1.1 * low, 1.1 * high)  # noise about nothing is not made to look like a trend
        right.set_ylabel("logit")
        handles = [one for axes in (left, right) for one in axes.get_legend_handles_labels()[0]]
        names = [one for axes in (left, right) for one in axes.get_legend_handles_labels()[1]]
        left.legend(handles, names, frameon=False, fontsize=8, loc="upper left", ncol=3, bbox_to_anchor=(0, 1.16))
    return figure


def curves_figure(said: Mapping[str, Any]) -> Figure | None:
    """Probability of the class while places are blurred, or come back, in the order of the map and at random."""
    curves = said.get("curves") or {}
    if not curves:
        return None
    with style.styled():
        figure = _figure(said, 7.4, 2.9, "Deletion and insertion")
        for axes, name, colour in zip(figure.subplots(1, 2), ("deletion", "insertion"), style.CYCLE, strict=False):
            share = np.linspace(0, 1, len(curves[name]))
            axes.plot(share, curves[name], color=colour, label="in the order of the map")
            chance = curves["at random"][:: 1 if name == "deletion" else -1]
            axes.plot(share, chance, color=style.MUTED, linestyle=(0, (4, 3)), label="at random")
            axes.xaxis.set_major_formatter(style.percent_ticks())
            axes.set_ylim(0, 1)
            axes.set_xlabel("of the picture blurred" if name == "deletion" else "of the picture shown")
            axes.set_ylabel("probability of the class")
            axes.legend(frameon=False, fontsize=8, loc="best")
    return figure


def _figure(said: Mapping[str, Any], width: float, height: float, title: str) -> Figure:
    """Marked where the maps failed a check, so that the picture cannot be shown without it."""
    figure = style.new_figure(width, height + 0.1, title, said["provenance"])
    if words := mark(said):
        figure.text(0.5, 0.995, words, ha="center", va="top", fontsize=8, color=style.VERMILION, fontweight="bold")
    return figure


def _frame(corner: tuple[float, float], width: float, height: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, height, fill=False, edgecolor=style.INK, linewidth=1.2)
