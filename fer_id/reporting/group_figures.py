"""Figures of subgroups: forest plots of accuracy with verdicts, and reliability diagrams by group."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.groups.subgroups import group_reliability
from fer_id.labels import LabelSpace
from fer_id.reporting import style
from fer_id.reporting.words import counted, percent, verdict_words
from fer_id.runs.metrics import Column, GroupScores, Metrics

_MOST_ROWS = 60
_LINE = 110  # characters of a verdict on one line
_MOST_PANELS = 24
_ACROSS = 4  # panels side by side


@style.styled()
def forest(metrics: Metrics, unit: str = "subject") -> Figure | None:
    """Draw a point with its interval for every group that has an accuracy; None without groups.

    Groups with too few subjects for a comparison are pale. The line is the accuracy of all clips.
    ``unit`` names a subject, which is a group of images in a benchmark of pictures.
    """
    subgroups = metrics.subgroups
    if not subgroups or metrics.accuracy is None:
        return None
    panels = _panels(subgroups.columns)
    if not panels:
        return None
    verdicts = {name: f"{name}: {verdict_words(subgroups.columns[name])}" for name in panels}
    titles = {name: _literal(textwrap.fill(verdict, _LINE)) for name, verdict in verdicts.items()}
    heights = [0.5 + len(groups) + 0.85 * (titles[name].count("\n") + 1) for name, groups in panels.items()]
    figure = style.new_figure(8.6, 0.9 + 0.29 * sum(heights), "Accuracy by group", metrics.provenance)
    panel_axes = figure.subplots(len(panels), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    for axes, (name, groups) in zip(panel_axes, panels.items(), strict=True):
        _panel(axes, groups, metrics.accuracy, subgroups.min_subjects, unit)
        axes.set_title(titles[name], loc="left", fontsize=8.5, linespacing=1.35)
    panel_axes[-1].tick_params(axis="x", labelbottom=True)
    panel_axes[-1].set_xlabel(
        f"share right, with its 95\u202f% interval over {unit}s\n"
        f"line: all clips, {percent(metrics.accuracy)}; pale: fewer than {subgroups.min_subjects} {unit}s"
    )
    return figure


@style.styled()
def reliability_of_groups(predictions: pd.DataFrame, metrics: Metrics) -> Figure | None:
    """Draw a reliability diagram for every group with enough subjects, pairs left out; None without one.

    The area of a point is its share of the group's clips: small points are noise where a group has few clips.
    """
    columns = [name for name, column in metrics.columns.items() if len(column.of) == 1]
    subgroups = metrics.subgroups
    if not columns or not subgroups:
        return None
    labels, breakdown = LabelSpace("run", tuple(metrics.labels)), Breakdown(columns, [], subgroups.min_subjects)
    bins = group_reliability(predictions, labels, breakdown)
    groups = [(f"{column}: {value}", curve) for column, curves in bins.items() for value, curve in curves.items()]
    groups = groups[:_MOST_PANELS]
    if not groups:
        return None
    rows = math.ceil(len(groups) / _ACROSS)
    title = f"Reliability by group, {subgroups.probabilities} probabilities"
    figure = style.new_figure(8.6, 0.9 + 2.1 * rows, title, metrics.provenance)
    panels = figure.subplots(rows, _ACROSS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, curve) in zip(panels, groups, strict=False):
        seen = curve.counts > 0
        axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.9, linestyle=style.DASHED)
        axes.plot(curve.confidence[seen], curve.accuracy[seen], color=style.SKY, linewidth=0.9)
        size = 220 * curve.counts[seen] / curve.counts.sum()
        axes.scatter(curve.confidence[seen], curve.accuracy[seen], s=size, color=style.BLUE, linewidth=0, zorder=3)
        axes.set_title(_literal(f"{name}\nECE {percent(curve.ece)}, {curve.counts.sum():.0f} clips"), fontsize=8)
        axes.set(xlim=(0, 1), ylim=(-0.03, 1.03))
        axes.tick_params(labelbottom=True)
    style.hide(panels[len(groups) :])
    figure.supxlabel("confidence (probability of the predicted class); area: share of the group's clips", fontsize=8)
    figure.supylabel("share right", fontsize=8)
    return figure


def _panels(columns: Mapping[str, Column]) -> dict[str, dict[str, GroupScores]]:
    """Return the groups of each column that have an accuracy, for as many columns as fit on a figure."""
    panels: dict[str, dict[str, GroupScores]] = {}
    rows = 0
    for name, column in columns.items():
        groups = {value: group for value, group in column.groups.items() if group.accuracy is not None}
        rows += len(groups)
        if groups and rows <= _MOST_ROWS:
            panels[name] = groups
    return panels


def _literal(text: str) -> str:
    """Escape dollar signs, which would begin a formula."""
    return text.replace("$", r"\$")


def _panel(axes: Axes, groups: Mapping[str, GroupScores], overall: float, min_subjects: int, unit: str) -> None:
    axes.axvline(overall, color=style.MUTED, linewidth=0.9, linestyle=style.DASHED)
    for place, group in enumerate(groups.values()):
        interval, few = group.intervals["accuracy"], group.n_subjects < min_subjects
        colour = style.SKY if few else style.BLUE
        if interval is not None:
            style.draw_extent(axes, interval.low, interval.high, place, color=colour, linewidth=1.6)
        axes.plot(group.accuracy or 0.0, place, "o", color=colour, markersize=6, markerfacecolor=colour)
        size = f"{counted(group.n_subjects, unit)}, {counted(group.n_clips, 'clip')}"
        note = f"{percent(group.accuracy, 0)}  ·  {size}{'' if interval else '; no interval'}"
        axes.text(1.02, place, note, va="center", fontsize=8, color=style.MUTED if few else style.INK)
    style.name_rows(axes, [_literal(value) for value in groups], above=0.6, below=0.6)
    style.percent_axis(axes, "x", 0, 1)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
