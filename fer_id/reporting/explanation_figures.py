"""Figures of ``explain.json``: attribution by region, class and frame, and curves of the map checks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fer_id.explain.regions import OUTSIDE, REGIONS
from fer_id.reporting import style

EVEN = 1.0
"""Attribution relative to area under a uniform map."""


def mark(report: Mapping[str, Any]) -> str:
    """Return the warning that must accompany the maps; empty where they passed, or were checked without a verdict."""
    if report["failed"]:
        return f"these maps failed: {', '.join(report['failed'])}"
    return "" if report["checks"] else "these maps were not checked"


def draw(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures that have content, by name."""
    figures = {
        "regions": regions_figure(report),
        "classes": classes_figure(report),
        "frames": frames_figure(report),
        "checks": curves_figure(report),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


@style.styled()
def regions_figure(report: Mapping[str, Any]) -> Figure | None:
    """Draw each region's attribution relative to its area, with intervals; off-face regions in another colour."""
    regions = report["regions"]
    if regions[REGIONS[0]]["value"] is None:
        return None
    figure = _figure(report, 7.4, 4.0, "Where the attribution falls")
    axes = figure.subplots()
    for place, name in enumerate(REGIONS):
        region, value = regions[name], regions[name]["value"] or 0.0
        axes.barh(place, value, color=style.VERMILION if name in OUTSIDE else style.BLUE, height=0.62, alpha=0.85)
        style.draw_extent(axes, region["low"], region["high"], place, color=style.INK, linewidth=1.4)
        text = f"{100 * region['share']:.0f}\u202f% on {100 * region['area']:.0f}\u202f% of the picture"
        end = (max(value, region["high"] or 0.0), place)
        axes.annotate(text, end, (5, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.axvline(EVEN, color=style.MUTED, linewidth=1, linestyle=style.DASHED)
    style.name_rows(axes, REGIONS, above=0.6)
    axes.margins(x=0.32)
    axes.set_xlim(left=0)
    axes.set_xlabel("attribution relative to the region's area; dashed: a map without preference; lines: 95\u202f%")
    return figure


@style.styled()
def classes_figure(report: Mapping[str, Any]) -> Figure | None:
    """Draw region by class: attribution relative to area; framed where FACS expects the emotion."""
    classes = {name: result for name, result in report["by_class"].items() if result["leakage"]["value"] is not None}
    if not classes:
        return None
    values = np.array(
        [[result["regions"][region]["value"] or 0.0 for region in REGIONS] for result in classes.values()]
    )
    figure = _figure(report, 8.6, 1.9 + 0.44 * len(classes), "By predicted class")
    axes = figure.subplots()
    # logarithmic: half as much is as far from even as twice as much
    image = axes.imshow(np.log2(values.clip(0.25, 4)), cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto")
    for row, result in enumerate(classes.values()):
        for column, region in enumerate(REGIONS):
            strong = abs(np.log2(max(values[row, column], 0.25))) > 1.5
            colour = "white" if strong else style.INK
            axes.text(column, row, f"{values[row, column]:.1f}", ha="center", va="center", fontsize=8, color=colour)
            if region in result["expected"]["regions"]:
                corner = (column - 0.46, row - 0.44)
                axes.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=style.INK, linewidth=1.2))
    axes.set_xticks(range(len(REGIONS)), REGIONS, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), list(classes))
    style.bare(axes)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, ticks=[-2, -1, 0, 1, 2])
    bar.ax.set_yticklabels(["≤ ¼", "½", "1", "2", "≥ 4"])
    bar.outline.set_visible(False)
    axes.set_xlabel("attribution relative to area; framed: where FACS expects the emotion to show")
    return figure


@style.styled()
def frames_figure(report: Mapping[str, Any]) -> Figure | None:
    """Draw the mean share of each frame of a clip, and the fall of the logit without it."""
    if not report["by_frame"]:
        return None
    importance, occlusion = (np.array(report["by_frame"][name], float) for name in ("importance", "occlusion"))
    figure = _figure(report, 7.4, 2.9, "When: the mean over clips")
    left = figure.subplots()
    moments = np.arange(1, len(importance) + 1)
    left.bar(moments, importance, color=style.BLUE, width=0.7, alpha=0.85, label="share of the Grad-CAM")
    left.axhline(1 / len(importance), color=style.MUTED, linewidth=1, linestyle=style.DASHED, label="an even share")
    style.percent_axis(left, "y", grid=False)
    left.set_xlabel("frame")
    left.set_xticks(moments)
    right = left.twinx()
    right.spines["right"].set_visible(True)
    label = "fall of the logit without it"
    right.plot(moments, occlusion, color=style.VERMILION, marker="o", markersize=3.5, label=label)
    low, high = min(0.0, float(np.nanmin(occlusion))), max(0.05, float(np.nanmax(occlusion)))
    right.set_ylim(1.1 * low, 1.1 * high)  # so that noise around zero does not look like a trend
    right.set_ylabel("logit")
    (bars, names), (line, name) = left.get_legend_handles_labels(), right.get_legend_handles_labels()
    left.legend(bars + line, names + name, loc="upper left", ncol=3, bbox_to_anchor=(0, 1.16))
    return figure


@style.styled()
def curves_figure(report: Mapping[str, Any]) -> Figure | None:
    """Draw the probability of the class while cells are blurred, or restored, in the order of the map and at random."""
    curves = report.get("curves") or {}
    if not curves:
        return None
    figure = _figure(report, 7.4, 2.9, "Deletion and insertion")
    for axes, name, colour in zip(figure.subplots(1, 2), ("deletion", "insertion"), style.CYCLE, strict=False):
        share = np.linspace(0, 1, len(curves[name]))
        axes.plot(share, curves[name], color=colour, label="in the order of the map")
        chance = curves["at random"][:: 1 if name == "deletion" else -1]
        axes.plot(share, chance, color=style.MUTED, linestyle=style.DASHED, label="at random")
        style.percent_axis(axes, "x", grid=False)
        axes.set(ylim=(0, 1), ylabel="probability of the class")
        axes.set_xlabel("of the picture blurred" if name == "deletion" else "of the picture shown")
        axes.legend(loc="best")
    return figure


def _figure(report: Mapping[str, Any], width: float, height: float, title: str) -> Figure:
    """Return an empty figure, marked where the maps failed a check, so that it cannot be shown without the warning."""
    figure = style.new_figure(width, height + 0.1, title, report["provenance"])
    if words := mark(report):
        figure.text(0.5, 0.995, words, ha="center", va="top", fontsize=8, color=style.VERMILION, fontweight="bold")
    return figure
