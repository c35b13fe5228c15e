"""Figure of a sweep: progress of its objective, and the objective over each parameter."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from fer_id.reporting import style

COLUMNS = 3
MOST_AXES = 11
PANEL = (3.6, 2.6)
"""Width and height of a panel in inches."""

KINDS = {"done": (style.BLUE, "o", "done"), "stopped": (style.ORANGE, "x", "stopped early")}


class Axis(NamedTuple):
    """A varied parameter: its dotted key, whether its axis is logarithmic, and whether its values are names."""

    key: str
    log: bool
    choice: bool


@style.styled()
def draw_sweep(
    name: str, trials: pd.DataFrame, axes: Sequence[Axis], *, metric: str, goal: str, provenance: str
) -> bytes:
    """Return a PNG: the objective of every trial in order with the best so far, then over each parameter.

    ``name`` is that of the study. ``trials`` has a row each: ``number``, ``fold`` (None: one split), ``status``,
    ``objective`` (``metric``), and a column per axis, of which the first eleven are drawn. ``goal`` is ``maximize`` or
    ``minimize``; ``provenance`` is drawn into the picture unless it is real.
    """
    drawn = list(axes)[:MOST_AXES]
    known = trials[trials["objective"].notna() & trials["status"].isin(list(KINDS))]
    panels = 1 + len(drawn)
    columns = min(COLUMNS, panels)
    rows = math.ceil(panels / columns)
    failed = int((trials["status"] == "failed").sum())
    title = f"{name}: {metric} on inner validation" + (f", {failed} trials failed" if failed else "")
    figure = style.new_figure(max(columns * PANEL[0], 7.2), rows * PANEL[1] + 0.5, title, provenance)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    _history(grid[0], known, metric, goal)
    for place, axis in zip(grid[1:], drawn, strict=False):
        _over(place, known, axis)
    style.hide(grid[panels:])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def _history(axes: Axes, trials: pd.DataFrame, metric: str, goal: str) -> None:
    """Draw every trial by its number, and the best so far (mean over folds)."""
    style.epoch_axis(axes)
    axes.set(xlabel="trial", ylabel=metric)
    _dots(axes, trials, trials["number"].to_numpy(float))
    finished = trials[trials["status"] == "done"]
    if finished.empty:
        axes.text(0.5, 0.5, "no trial finished", transform=axes.transAxes, ha="center", color=style.MUTED)
        return
    numbers = range(1, int(trials["number"].max()) + 1)
    best = []
    for _, fold in finished.groupby(finished["fold"].fillna("")):
        values = fold.set_index("number")["objective"].reindex(numbers)
        running = values.cummax() if goal == "maximize" else values.cummin()
        best.append(running.ffill())
    mean = pd.concat(best, axis=1).mean(axis=1)
    label = "best so far" if len(best) == 1 else f"best so far, mean of {len(best)} folds"
    axes.step(mean.index, mean, where="post", color=style.VERMILION, label=label)
    axes.legend(fontsize=7)


def _over(axes: Axes, trials: pd.DataFrame, axis: Axis) -> None:
    axes.set_xlabel(axis.key)
    axes.grid(axis="y")
    if not axis.choice:
        if axis.log:
            axes.set_xscale("log")
            inside = trials[axis.key].to_numpy(float)
            few = bool(len(inside)) and inside.max() < 10 * inside.min()  # powers of ten alone might give no tick
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=6))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        _dots(axes, trials, trials[axis.key].to_numpy(float))
        return
    names = list(dict.fromkeys(trials[axis.key]))
    try:
        names.sort(key=float)
    except ValueError:
        names.sort()
    place = {name: index for index, name in enumerate(names)}
    spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(trials))  # so that equal dots do not hide each other
    _dots(axes, trials, np.array([place[name] for name in trials[axis.key]], float) + spread)
    rotation, align = (25, "right") if sum(map(len, names)) > 28 else (0, "center")
    axes.set_xticks(range(len(names)), names, rotation=rotation, ha=align, fontsize=8)
    axes.set_xlim(-0.5, max(len(names) - 0.5, 0.5))


def _dots(axes: Axes, trials: pd.DataFrame, x: Any) -> None:
    for status, (colour, marker, label) in KINDS.items():
        chosen = (trials["status"] == status).to_numpy()
        if chosen.any():
            objective = trials["objective"].to_numpy(float)[chosen]
            axes.scatter(x[chosen], objective, color=colour, marker=marker, s=22, alpha=0.8, linewidths=1, label=label)
