"""Figures over several runs: learning curves, scores by setting, and adaptation curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_id.evaluation.scores import Floats
from fer_id.reporting import style
from fer_id.reporting.figures import draw_ceiling

_GREY = "#b5bdc7"
_MOST_PANELS = 8
_FEWEST_RUNS = 5
_FEW = 6  # up to this many distinct values are drawn side by side, not along an axis
_MOST_WORDS = 8  # settings with more distinct words are left out: names differ in every run
_WIDE = 20  # ratio of largest to smallest value above which an axis is logarithmic
_ROOM = 30  # characters below a panel


@style.styled()
def learning_curves(
    curves: Mapping[str, Sequence[pd.Series]],
    provenances: Sequence[str],
    *,
    score: str = "macro-F1",
    reference: str | None = None,
    reached: Mapping[str, float] | None = None,
) -> Figure | None:
    """Draw an inner-validation score by epoch, one line per run (mean of its folds); None where nothing was logged.

    ``curves`` holds a series per fold of each run, the best runs first, since the first get the colours; ``reference``
    is drawn in black, whatever its rank; ``reached`` is the best score of each run, for the legend.
    """
    means = {name: pd.concat(list(folds), axis=1).mean(axis=1).dropna() for name, folds in curves.items() if folds}
    if not means:
        return None
    coloured = dict(zip([name for name in means if name != reference], style.CYCLE, strict=False))
    others = [name for name in means if name not in coloured and name != reference]
    labels = {name: f"{_short(name)}{f'  {reached[name]:.3f}' if reached else ''}" for name in means}
    title = f"Learning curves: {score} on inner validation"
    figure, axes = style.one_panel(10.5, 4.0 if len(means) <= 20 else 5.2, title, " and ".join(provenances))
    for name in others:
        line = means[name]
        axes.plot(line.index, line, color=_GREY, linewidth=0.7, alpha=0.6, marker=style.marker(line), markersize=3)
    for name, colour in reversed(coloured.items()):
        axes.plot(means[name].index, means[name], color=colour, marker=style.marker(means[name]), label=labels[name])
    if reference is not None and reference in means:
        line, name = means[reference], f"{labels[reference]} (reference)"
        axes.plot(line.index, line, color=style.INK, linestyle=(0, (4, 2)), marker=style.marker(line), label=name)
    handles, _ = axes.get_legend_handles_labels()
    best = f"best {len(coloured)} of {len(means)} by inner validation;\nthe others in grey" if others else None
    coloured_first = [*handles[: len(coloured)][::-1], *handles[len(coloured) :]]
    style.legend_beside(axes, handles=coloured_first, title=best, title_fontsize=7.5, alignment="left")
    axes.set_ylabel(score)
    style.epoch_axis(axes)
    return figure


@style.styled()
def settings_figure(
    settings: Mapping[str, Sequence[Any]], reached: Sequence[float], provenances: Sequence[str], score: str
) -> Figure | None:
    """Draw the score ``reached`` by every run over each setting; None without varied settings or with few runs."""
    values = {key: each if _numbers(each) else [str(value) for value in each] for key, each in settings.items()}
    drawn = [key for key, each in values.items() if _numbers(each) or len(set(each)) <= _MOST_WORDS][:_MOST_PANELS]
    if not drawn or len(reached) < _FEWEST_RUNS:
        return None
    rows, columns = -(-len(drawn) // 4), min(4, len(drawn))
    title = f"{score[:1].upper() + score[1:]} on inner validation, by setting: one point a run"
    figure = style.new_figure(10.5, 0.6 + 2.5 * rows, title, " and ".join(provenances))
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, key in zip(panels.flat, drawn, strict=False):
        _setting_panel(axes, key, values[key], np.asarray(reached, np.float64))
    style.hide(panels.flat[len(drawn) :])
    for row in panels:
        row[0].set_ylabel(score)
    return figure


def _setting_panel(axes: Axes, key: str, values: Sequence[Any], reached: Floats) -> None:
    """Draw numbers along an axis, logarithmic over a wide range; words and few numbers side by side."""
    distinct = sorted(set(values))
    if len(distinct) > _FEW and _numbers(distinct):
        places = np.asarray(values, np.float64)
        if places.min() > 0 and places.max() / places.min() > _WIDE:
            axes.set_xscale("log")
    else:
        centres = np.array([distinct.index(value) for value in values])
        places = centres + np.random.default_rng(0).uniform(-0.2, 0.2, len(centres))  # so that points do not overlap
        for centre in range(len(distinct)):
            middle = np.median(reached[centres == centre])
            axes.plot([centre - 0.3, centre + 0.3], [middle, middle], color=style.VERMILION, linewidth=1.8, zorder=3)
        names = [_short(f"{value:g}" if isinstance(value, float) else str(value), 14) for value in distinct]
        axes.set_xticks(range(len(distinct)), names)
        if sum(map(len, names)) > _ROOM:
            axes.tick_params(axis="x", rotation=25)
    axes.plot(places, reached, "o", color=style.BLUE, markersize=3.5, alpha=0.5, markeredgewidth=0)
    axes.set_title(_short(key, 34), loc="left", fontsize=8.5)
    axes.grid(axis="y")


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _short(name: str, most: int = 38) -> str:
    """Shorten a name to its end, by which runs differ, and escape dollar signs, which would begin a formula."""
    return (name if len(name) <= most else f"…{name[1 - most :]}").replace("$", r"\$")


@style.styled()
def adaptation_curve(points: pd.DataFrame, over: str, ceiling: float | None) -> Figure:
    """Draw accuracy against the amount of adaptation data, with its interval and the child with the lowest accuracy.

    ``points`` has one row per size, ascending: ``size``, ``accuracy``, ``low``, ``high``, ``worst_subject``, ``mode``,
    ``provenance``; sizes are numbers of ``children`` or ``clips`` (``over``). ``ceiling`` as in ``subject_accuracy``.
    """
    label_x = {"children": "children learned from", "clips": "earlier clips of the tested child learned from"}[over]
    mode, provenance = points["mode"].iloc[0], points["provenance"].iloc[0]
    figure, axes = style.one_panel(7.2, 3.6, f"Adaptation curve ({mode}): accuracy on the tested child", provenance)
    places = range(len(points))  # even steps: sizes mostly double, and zero has no logarithm
    known = points[["low", "high"]].notna().all(axis=1).to_numpy()
    low, high = (points[name].to_numpy(float) for name in ("low", "high"))
    axes.vlines([p for p in places if known[p]], low[known], high[known], color=style.BLUE, linewidth=1.4)
    label = "all clips, 95\u202f% interval over children" if known.any() else "all clips"
    axes.plot(places, points["accuracy"], color=style.BLUE, marker="o", label=label)
    worst = points["worst_subject"].astype(float)
    axes.plot(places, worst, color=style.VERMILION, marker="o", linewidth=1, label="child served worst")
    draw_ceiling(axes, ceiling)
    axes.set_xticks(list(places), [str(size) for size in points["size"]])
    axes.set_xlabel(label_x)
    style.percent_axis(axes, "y", 0, 1.03)
    style.legend_beside(axes)
    return figure
