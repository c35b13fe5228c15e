"""Figures over several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from fer_id.reporting import style


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
