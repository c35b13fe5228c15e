"""Common style of all figures: a colour-blind safe palette, small type, no ornament.

Figures are made without pyplot, so no figure stays in memory and no display is needed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

INK, MUTED, LINE, PAPER = "#1b2430", "#5a6675", "#d9dee5", "#ffffff"
# Okabe and Ito (2008): their eight without yellow (too light for lines on white) and black (INK replaces it).
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "figure.facecolor": PAPER,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "fer_id",  # the same figure is the same file
}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style while a figure is made."""
    with mpl.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float, title: str, provenance: str) -> Figure:
    """Return an empty figure (size in inches) with its title, and a badge with the provenance unless it is real."""
    layout = ConstrainedLayoutEngine(rect=(0.0, 0.0, 1.0, 1.0 - 0.36 / height), h_pad=0.06, w_pad=0.08)
    figure = Figure(figsize=(width, height), layout=layout)
    figure.text(0.1 / width, 1 - 0.08 / height, title, ha="left", va="top", fontsize=11, fontweight="bold")
    if provenance != "real":
        badge = {"boxstyle": "round,pad=0.35", "facecolor": "#fff3d6", "edgecolor": ORANGE, "linewidth": 0.8}
        figure.text(
            1 - 0.12 / width, 1 - 0.1 / height, f"{provenance} data", ha="right", va="top", fontsize=8, bbox=badge
        )
    return figure


def epoch_axis(axes: Axes) -> None:
    """Set whole epochs along x and a light grid along y."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")


def percent_ticks() -> FuncFormatter:
    """Return a tick formatter of shares as percentages."""
    return FuncFormatter(lambda value, _: f"{100 * value:.0f}\u202f%")


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG: the same bytes for the same content."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
