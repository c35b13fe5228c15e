"""Heat maps of a response surface: a contrast over peak and resting face, a panel for each rate of movements."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fer_id.readers.surface import Cells, Point, excludes_zero, helps
from fer_id.reporting import style

DIVERGING = LinearSegmentedColormap.from_list("difference", [style.VERMILION, style.PAPER, style.BLUE])


def axes_of(cells: Cells) -> tuple[list[float], list[float], list[float]]:
    """Return the values of peak, resting and strays, each rising."""
    columns = zip(*((point.peak, point.resting, point.strays) for point in cells), strict=True)
    peaks, restings, strays = (sorted(set(column)) for column in columns)
    return peaks, restings, strays


@style.styled()
def surface_figure(contrast: str, cells: Cells, scale: float, provenance: str) -> Figure:
    """Draw a contrast at every point; the colours span ``scale`` in either direction, a share of macro recall.

    A point is outlined where its own interval excludes zero; a line runs between points where the first reader is shown
    to be better (Holm) and the others.
    """
    peaks, restings, strays = axes_of(cells)
    width, height = 2.2 + 1.1 * len(peaks) * len(strays), 1.7 + 0.6 * len(restings)
    figure = style.new_figure(max(width, 7.2), height, f"{contrast}, points of macro recall", provenance)
    panels = figure.subplots(1, len(strays), squeeze=False, sharey=True)[0]
    for axes, stray in zip(panels, strays, strict=True):
        part = {point: verdict for point, verdict in cells.items() if point.strays == stray}
        values = [[100 * part[Point(peak, rest, stray)].estimate.value for peak in peaks] for rest in restings]
        edges = [np.arange(len(names) + 1) - 0.5 for names in (peaks, restings)]
        mesh = axes.pcolormesh(*edges, values, cmap=DIVERGING, vmin=-100 * scale, vmax=100 * scale, rasterized=False)
        for point, verdict in part.items():
            _mark(axes, peaks.index(point.peak), restings.index(point.resting), verdict.estimate.value, scale)
            if excludes_zero(verdict):
                place = peaks.index(point.peak) - 0.45, restings.index(point.resting) - 0.45
                axes.add_patch(Rectangle(place, 0.9, 0.9, fill=False, edgecolor=style.INK, linewidth=1.6))
        for ends in boundary(part):
            axes.plot(*zip(*ends, strict=True), color=style.ORANGE, linewidth=3.5, solid_capstyle="round")
        axes.set_xticks(range(len(peaks)), [f"{value:g}" for value in peaks])
        axes.set_yticks(range(len(restings)), [f"{value:g}" for value in restings])
        axes.set(xlabel="peak of the expression", title=f"other movements x {stray:g}")
        style.bare(axes)
    panels[0].set_ylabel("resting face")
    figure.colorbar(mesh, ax=list(panels), label="first better ›", fraction=0.05)
    return figure


def _mark(axes: Axes, x: int, y: int, value: float, scale: float) -> None:
    colour = style.PAPER if abs(value) > 0.75 * scale else style.INK
    text = f"{100 * value:+.1f}".replace("-", "−")
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)


Place = tuple[float, float]


def boundary(cells: Cells) -> list[tuple[Place, Place]]:
    """Return the edges between neighbours of one panel of which the first reader is shown to be better at one alone, as
    two ends each, in steps of the grid."""
    restings = axes_of(cells)[1]
    better = np.array([[helps(cells[point]) for point in _row(cells, rest)] for rest in restings])
    edges: list[tuple[Place, Place]] = []
    for y, x in zip(*np.nonzero(better[:, 1:] != better[:, :-1]), strict=True):
        edges.append(((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)))
    for y, x in zip(*np.nonzero(better[1:] != better[:-1]), strict=True):
        edges.append(((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)))
    return edges


def _row(cells: Cells, resting: float) -> list[Point]:
    """Return the points of one resting face, of rising peak."""
    return sorted(point for point in cells if point.resting == resting)
