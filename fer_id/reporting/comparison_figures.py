"""Figures over several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from fer_id.reporting import style
from fer_id.reporting.words import CEILING, percent


def learning_curves(curves: Mapping[str, Sequence[pd.Series]], provenances: Sequence[str]) -> Figure | None:
    """Inner-validation macro-F1 by epoch, one line per run (the mean of its folds); None where nothing was logged.

    Args:
        curves: run -> scores by epoch, one series per fold; the best first, as they get the colours.
    """
    means = {name: pd.concat(list(folds), axis=1).mean(axis=1) for name, folds in curves.items() if folds}
    if not means:
        return None
    word = " and ".join(provenances)
    with style.styled():
        figure = style.new_figure(10.5, 4.0, "Learning curves: macro-F1 on inner validation", word)
        axes = figure.subplots()
        named = list(means)[: len(style.CYCLE)]
        others = [name for name in means if name not in named]
        for name in others:
            axes.plot(means[name].index, means[name], color=style.LINE, linewidth=0.9)
        for name, colour in zip(reversed(named), reversed(style.CYCLE[: len(named)]), strict=True):
            marker = "o" if len(means[name]) < 3 else None
            axes.plot(means[name].index, means[name], color=colour, marker=marker, label=name)
        handles, names = axes.get_legend_handles_labels()
        title = f"best {len(named)} of {len(means)} by inner validation; the others in grey" if others else None
        axes.legend(
            handles[::-1],
            names[::-1],
            title=title,
            title_fontsize=7.5,
            alignment="left",
            frameon=False,
            fontsize=8,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
        )
        axes.set_ylabel("macro-F1")
        style.epoch_axis(axes)
    return figure


def adaptation_curve(points: pd.DataFrame, over: str, ceiling: float | None) -> Figure:
    """Accuracy against how much was learned from, with its interval and the child served worst.

    Args:
        points: one row per size, rising: ``size``, ``accuracy``, ``low``, ``high``, ``worst_subject``, ``mode``,
            ``provenance``.
        over: ``children`` or ``clips``.
        ceiling: accuracy of one annotator against the others, where several labelled the clips.
    """
    what = {"children": "children learned from", "clips": "earlier clips of the tested child learned from"}[over]
    with style.styled():
        mode, provenance = points["mode"].iloc[0], points["provenance"].iloc[0]
        figure = style.new_figure(7.2, 3.6, f"Adaptation curve ({mode}): accuracy on the tested child", provenance)
        axes = figure.subplots()
        places = range(len(points))  # even steps: sizes double mostly, and zero has no logarithm
        known = points[["low", "high"]].notna().all(axis=1).to_numpy()
        low, high = (points[name].to_numpy(float) for name in ("low", "high"))
        axes.vlines([p for p in places if known[p]], low[known], high[known], color=style.BLUE, linewidth=1.4)
        label = "all clips, 95\u202f% interval over children" if known.any() else "all clips"
        axes.plot(places, points["accuracy"], color=style.BLUE, marker="o", label=label)
        worst = points["worst_subject"].astype(float)
        axes.plot(places, worst, color=style.VERMILION, marker="o", linewidth=1, label="child served worst")
        if ceiling is not None:
            axes.axhline(
                ceiling, color=style.GREEN, linewidth=1.2, linestyle=(0, (1, 1.5)), label=CEILING + percent(ceiling)
            )
        axes.set_xticks(list(places), [str(size) for size in points["size"]])
        axes.set_xlabel(what)
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(style.percent_ticks())
        axes.grid(axis="y")
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
