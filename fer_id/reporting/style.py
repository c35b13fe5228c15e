"""Common style of all figures: a colour-blind safe palette, small type, no ornament.

Figures are made without pyplot, so no figure stays in memory and no display is needed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL.Image import Image, fromarray

from fer_id.reporting.page import data_uri

INK, MUTED, LINE, PAPER = "#1b2430", "#5a6675", "#d9dee5", "#ffffff"
# Okabe and Ito (2008): their eight without yellow (too light for lines on white) and black (INK replaces it).
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
DASHED, DOTTED = (0, (4, 3)), (0, (1, 1.5))

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
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "fer_id",  # the same figure is the same file
}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style while a figure is made; also a decorator of the function that makes it."""
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


def one_panel(width: float, height: float, title: str, provenance: str) -> tuple[Figure, Axes]:
    """Return :func:`new_figure` with one pair of axes."""
    figure = new_figure(width, height, title, provenance)
    return figure, figure.subplots()


def epoch_axis(axes: Axes) -> None:
    """Set whole epochs along x and a light grid along y."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")


def marker(values: Sized) -> str | None:
    """Return a point marker for curves too short for a line."""
    return "o" if len(values) < 3 else None


def percent_axis(axes: Axes, which: Literal["x", "y"], *limits: float, grid: bool = True) -> None:
    """Label an axis of shares in per cent, within ``limits`` where given, with a light grid across it."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}\u202f%"))
    if limits:
        axes.set(**{f"{which}lim": limits})
    if grid:
        axes.grid(axis=which)


def name_rows(axes: Axes, names: Sequence[str], above: float = 0.5, below: float = 0.5) -> None:
    """Name the rows of a plot, the first at the top, with so much of a row above the first and below the last."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 1 + below, -above)


def legend_beside(axes: Axes, *handles: Any, **look: Any) -> None:
    """Place the legend to the right of the axes."""
    axes.legend(*handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), **look)


def bare(axes: Axes) -> None:
    """Remove ticks and spines, as around a matrix."""
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def hide(panels: Iterable[Axes]) -> None:
    """Hide the panels of a grid that have no content."""
    for axes in panels:
        axes.set_visible(False)


def draw_extent(axes: Axes, low: float | None, high: float | None, place: float, **look: Any) -> None:
    """Draw an interval as a line along row ``place``; nothing where it is undefined."""
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], **look)


def lay_out(figure: Figure) -> None:
    """Find the places of a figure's parts, which each saving would find anew for a third of its time."""
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        with styled():
            engine.execute(figure)
        figure.set_layout_engine("none")


def picture(figure: Figure) -> Image:
    """Return a figure in pixels, RGBA."""
    lay_out(figure)
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib does not type its methods
    with styled():
        canvas.draw()
    return fromarray(np.array(canvas.buffer_rgba()))


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG: the same bytes for the same content.

    matplotlib's ids of clips, markers and hatches are hashes of unrounded coordinates, whose last digits may depend on
    the order in which the layout is solved; they are replaced by numbers.
    """
    lay_out(figure)
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    content = buffer.getvalue()
    ids = dict.fromkeys(re.findall(rb'id="([pmh][0-9a-f]{10})"', content))
    numbers = {name: b"%c%d" % (name[:1], number) for number, name in enumerate(ids)}
    return re.sub(rb"\b[pmh][0-9a-f]{10}\b", lambda match: numbers.get(match[0], match[0]), content)


def embedded(drawn: Mapping[str, Figure | None]) -> dict[str, str]:
    """Return the figures that have content as data URIs, by name."""
    return {name: data_uri(svg(figure)) for name, figure in drawn.items() if figure is not None}
