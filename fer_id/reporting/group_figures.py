"""Accuracy by group as a forest plot: a panel for every column, its verdict above it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_id.reporting import style
from fer_id.reporting.group_words import verdict_words
from fer_id.reporting.words import counted, percent

_MOST_ROWS = 60
_LINE = 110  # characters of a verdict on one line


def forest(metrics: Mapping[str, Any]) -> Figure | None:
    """A point and its interval for every group that has one; None where there are no groups.

    Pale: groups with too few subjects to be compared. The line is the accuracy of all clips.
    """
    subgroups = metrics.get("subgroups")
    if not subgroups or metrics["accuracy"] is None:
        return None
    panels = dict(_panels(subgroups["columns"]))
    if not panels:
        return None
    titles = {name: _title(name, subgroups["columns"][name]) for name in panels}
    heights = [0.5 + len(groups) + 0.85 * (titles[name].count("\n") + 1) for name, groups in panels.items()]
    with style.styled():
        figure = style.new_figure(8.6, 0.9 + 0.29 * sum(heights), "Accuracy by group", metrics["provenance"])
        every = figure.subplots(len(panels), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
        for axes, (name, groups) in zip(every, panels.items(), strict=True):
            _panel(axes, groups, metrics["accuracy"], subgroups["min_subjects"])
            axes.set_title(titles[name], loc="left", fontsize=8.5, linespacing=1.35)
        every[-1].xaxis.set_major_formatter(style.percent_ticks())
        every[-1].tick_params(axis="x", labelbottom=True)
        every[-1].set_xlabel(
            "share right, with its 95\u202f% interval over subjects\n"
            f"line: all clips, {percent(metrics['accuracy'])}; pale: fewer than {subgroups['min_subjects']} subjects"
        )
    return figure


def _panels(columns: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The groups of each column that have an accuracy; as many columns as one can look at."""
    found: list[tuple[str, dict[str, Any]]] = []
    rows = 0
    for name, column in columns.items():
        groups = {value: group for value, group in column["groups"].items() if group["accuracy"] is not None}
        rows += len(groups)
        if groups and rows <= _MOST_ROWS:
            found.append((name, groups))
    return found


def _title(name: str, column: Mapping[str, Any]) -> str:
    return _literal(textwrap.fill(f"{name}: {verdict_words(column)}", _LINE))


def _literal(text: str) -> str:
    """A dollar in a name begins no formula."""
    return text.replace("$", r"\$")


def _panel(axes: Axes, groups: Mapping[str, Any], overall: float, min_subjects: int) -> None:
    axes.axvline(overall, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    for place, group in enumerate(groups.values()):
        interval, few = group["intervals"]["accuracy"], group["n_subjects"] < min_subjects
        colour = style.SKY if few else style.BLUE
        if interval is not None:
            axes.plot([interval["low"], interval["high"]], [place, place], color=colour, linewidth=1.6)
        axes.plot(group["accuracy"], place, "o", color=colour, markersize=6, markerfacecolor=colour)
        size = f"{counted(group['n_subjects'], 'subject')}, {counted(group['n_clips'], 'clip')}"
        note = f"{percent(group['accuracy'], 0)}  ·  {size}{'' if interval else '; no interval'}"
        axes.text(1.02, place, note, va="center", fontsize=8, color=style.MUTED if few else style.INK)
    axes.set_yticks(range(len(groups)), [_literal(value) for value in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
