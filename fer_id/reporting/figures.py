"""Figures of one run, as functions from numbers to a matplotlib Figure (for the report and W&B)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from fer_id.evaluation.confidence.calibration import Reliability
from fer_id.evaluation.confidence.selective import RISKS, RiskCoverage
from fer_id.objectives import best_row
from fer_id.reporting import style
from fer_id.reporting.words import CEILING, baselines, error_pattern, percent
from fer_id.runs.metrics import Metrics, Review

_ROOM_FOR_TEXT = 0.12  # share of the axis that a percentage takes
_FEW = 10  # bins with fewer clips are noise, drawn pale
_SPLIT_NAMES = {"train": "training", "val": "inner validation"}
_MONITOR_NAMES = {"val/macro_f1": "best macro-F1", "val/loss": "lowest validation loss"}


@style.styled()
def confusion_matrix(metrics: Metrics) -> Figure:
    """Draw the confusion matrix, true classes in rows, with shares of the row (colour, percentage) and counts."""
    names, counts = metrics.labels, np.array(metrics.confusion_matrix, dtype=float)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    size = 1.5 + 0.56 * len(names)
    figure, axes = style.one_panel(size + 0.5, size, "Confusion matrix", metrics.provenance)
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if np.isnan(share):
            continue
        axes.text(
            column,
            row,
            f"{100 * share:.0f}\u202f%\n{int(counts[row, column]):,}",
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold" if row == column else "normal",
            color=style.PAPER if share > 0.55 else style.INK,
            linespacing=1.3,
        )
    for row in np.flatnonzero(totals[:, 0] == 0).tolist():
        axes.text((len(names) - 1) / 2, row, "no test clip", ha="center", va="center", color=style.MUTED)
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 5 else 0)
    axes.set_yticks(range(len(names)), names)
    style.bare(axes)
    axes.set_xticks(np.arange(1, len(names)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(names)) - 0.5, minor=True)
    axes.grid(which="minor", color=style.PAPER, linewidth=2)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="predicted", ylabel="true (each row adds up to 100\u202f%)")
    return figure


@style.styled()
def per_class(metrics: Metrics, human: Mapping[str, float | None] | None = None) -> Figure:
    """Draw recall with its interval and F1 by class, worst last, with the most common error, as the paper's Table 5.

    ``human`` holds the recall of one annotator against the majority of the others, where several labelled the clips.
    """
    rows = metrics.per_class
    people = {name: value for name, value in (human or {}).items() if name in rows and value is not None}
    names = sorted(rows, key=lambda name: (rows[name].recall is None, -(rows[name].recall or 0)))
    figure = style.new_figure(8.6, 1.5 + 0.44 * len(names), "Recognised clips by class", metrics.provenance)
    axes, notes = figure.subplots(1, 2, width_ratios=[9, 7], sharey=True)
    for position, name in enumerate(names):
        if (recall := rows[name].recall) is not None:
            axes.barh(position - 0.1, recall, height=0.44, color=style.SKY)
            axes.barh(position + 0.24, rows[name].f1 or 0.0, height=0.13, color=style.VERMILION)
            if interval := metrics.interval(f"per_class.{name}.recall"):
                style.draw_extent(axes, interval.low, interval.high, position - 0.1, color=style.INK, linewidth=1.4)
            # The outline keeps the number legible over the interval and the end of a short bar.
            ground = style.SKY if recall > _ROOM_FOR_TEXT else style.PAPER
            outline = [withStroke(linewidth=3, foreground=ground)]
            place = (0.012, position - 0.1)
            axes.text(*place, percent(recall, 0), va="center", fontsize=8, fontweight="bold", path_effects=outline)
        if (person := people.get(name)) is not None:
            axes.plot([person] * 2, [position - 0.42, position + 0.36], color=style.GREEN, linewidth=2)
        notes.text(0.0, position, error_pattern(metrics, name), va="center", fontsize=8, color=style.INK)
    style.name_rows(axes, [f"{name}  ({rows[name].support:,})" for name in names])
    style.percent_axis(axes, "x", 0, 1)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    legend = "bar: recall, black line: its 95\u202f% interval, thin bar: F1"
    axes.set_xlabel(f"{legend}\ngreen: one person against the others" if people else legend)
    notes.set_axis_off()
    notes.set_xlim(0, 1)
    return figure


@style.styled()
def reliability_diagram(bins: Reliability, provenance: str, after: Reliability | None = None) -> Figure:
    """Draw accuracy against confidence of the raw probabilities, and below it the number of clips per bin.

    ``after`` is the reliability of the calibrated probabilities, drawn as a line.
    """
    middle = (bins.edges[:-1] + bins.edges[1:]) / 2
    width = np.diff(bins.edges)[0]
    filled = bins.counts > 0
    few = bins.counts < _FEW
    figure = style.new_figure(4.9, 4.6, "Reliability", provenance)
    axes, histogram = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, linestyle=style.DASHED)
    colours = np.where(few[filled], style.LINE, style.SKY)
    axes.bar(middle[filled], bins.accuracy[filled], width * 0.9, color=colours.tolist())
    axes.plot(bins.confidence[filled], bins.accuracy[filled], "o", color=style.BLUE, markersize=4)
    if after is not None:
        seen, label = after.counts > 0, f"calibrated, ECE {percent(after.ece)}"
        x, y = after.confidence[seen], after.accuracy[seen]
        axes.plot(x, y, "D-", color=style.VERMILION, markersize=3.5, label=label)
        axes.legend(fontsize=7.5, loc="upper left")
    axes.set(ylim=(0, 1), ylabel="share right")
    pale = f"; pale: fewer than {_FEW} clips" if (filled & few).any() else ""
    note = f"raw: ECE {percent(bins.ece)} in {len(bins.counts)} bins; dashed: perfect{pale}"
    axes.set_title(note, loc="left", color=style.MUTED, fontsize=7.5)
    histogram.bar(middle, bins.counts, width * 0.9, color=style.MUTED)
    histogram.set(ylabel="clips", xlabel="confidence (probability of the predicted class)", xlim=(0, 1))
    return figure


@style.styled()
def risk_coverage_curve(curve: RiskCoverage, provenance: str, review: Review | None = None) -> Figure:
    """Draw the error rate of the answered clips against their share, the least confident clips left to a person.

    The points of the curve are chosen with hindsight. That of ``review``, whose threshold was chosen on inner
    validation, may lie off the curve, which ranks the clips of all folds together by their raw probabilities.
    """
    figure, axes = style.one_panel(4.9, 3.6, "If unsure clips go to a person", provenance)
    axes.step(curve.coverage, curve.risk, where="pre", color=style.BLUE)
    reached = {risk: coverage for risk in RISKS if (coverage := curve.coverage_at(risk))}
    for risk, coverage in reached.items():
        axes.plot(coverage, risk, "o", color=style.VERMILION, markersize=4)
        text = f"{percent(coverage, 0)} answered, {percent(risk, 0)} wrong"
        axes.annotate(text, (coverage, risk), (6, -10), textcoords="offset points", fontsize=7.5)
    if reached:
        axes.plot([], [], "o", color=style.VERMILION, markersize=4, label="picked on these test clips: too good")
    if review and review.risk_answered is not None and review.coverage is not None:
        axes.plot(review.coverage, review.risk_answered, "D", color=style.GREEN, markersize=6, zorder=4)
        text = f"chosen beforehand: {percent(review.coverage, 0)}, {percent(review.risk_answered, 0)} wrong"
        axes.plot([], [], "D", color=style.GREEN, markersize=5, label=text)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, loc="upper left")
    style.percent_axis(axes, "x", 0, 1, grid=False)
    style.percent_axis(axes, "y", 0, max(0.1, 1.1 * float(curve.risk.max())))
    axes.set(xlabel="clips answered, the surest first", ylabel="wrong among them")
    return figure


@style.styled()
def training_curves(curve: pd.DataFrame, provenance: str, monitor: str = "val/macro_f1") -> Figure | None:
    """Draw loss and macro-F1 by epoch, marked where ``monitor`` is best; None where nothing was logged by epoch."""
    epochs = by_epoch(curve)
    panels = {
        label: [column for column in (f"train/{score}", f"val/{score}") if column in epochs]
        for score, label in (("loss", "loss"), ("macro_f1", "macro-F1"))
    }
    panels = {label: columns for label, columns in panels.items() if columns}
    if not panels:
        return None
    figure = style.new_figure(8.6, 3.1, "Training", provenance)
    for axes, (label, columns) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for column in columns:
            colour = style.MUTED if column.startswith("train/") else style.BLUE
            values = epochs[column].dropna()
            name, marker = _SPLIT_NAMES[column.split("/")[0]], style.marker(values)
            axes.plot(values.index, values, color=colour, marker=marker, label=name)
        _mark_best(axes, epochs, monitor)
        axes.set_ylabel(label)
        style.epoch_axis(axes)
        axes.legend()
    return figure


@style.styled()
def fold_curves(curves: Sequence[pd.DataFrame], provenance: str) -> Figure | None:
    """Draw the validation macro-F1 by epoch, a thin line per fold and their median; None where nothing was logged."""
    scores = curves_by_epoch(curves, "val/macro_f1")
    if not scores:
        return None
    figure, axes = style.one_panel(8.6, 3.1, f"Training of {len(scores)} folds", provenance)
    for score in scores:
        axes.plot(score.index, score, color=style.SKY, linewidth=0.9, alpha=0.8, marker=style.marker(score))
    median = pd.concat(scores, axis=1).median(axis=1)
    label = "median of the folds still training"
    axes.plot(median.index, median, color=style.INK, marker=style.marker(median), label=label)
    axes.set_ylabel("macro-F1, inner validation")
    style.epoch_axis(axes)
    axes.legend()
    return figure


def by_epoch(curve: pd.DataFrame) -> pd.DataFrame:
    """Return one row per epoch, counted from 1 (in ``metrics.jsonl`` from 0): the mean of the values logged in it."""
    if "epoch" not in curve:
        return pd.DataFrame()
    numbers: pd.DataFrame = curve.apply(pd.to_numeric, errors="coerce").dropna(subset=["epoch"])
    return numbers.groupby(numbers["epoch"] + 1).mean().drop(columns="epoch").dropna(axis="columns", how="all")


def curves_by_epoch(tables: Sequence[pd.DataFrame], column: str) -> list[pd.Series]:
    """Return a column of ``metrics.jsonl`` by epoch, one curve for each table in which it was logged."""
    curves = [by_epoch(table[["epoch", column]]) for table in tables if {"epoch", column} <= set(table)]
    return [curve[column] for curve in curves if column in curve]


def _mark_best(axes: Axes, epochs: pd.DataFrame, monitor: str) -> None:
    """Mark the epoch of the best checkpoint: the first with the lowest loss, or else with the highest score."""
    if best := best_row(epochs.reset_index(), monitor):
        label = f"{_MONITOR_NAMES.get(monitor, monitor)}: epoch {best['epoch']:.0f}"
        axes.axvline(best["epoch"], color=style.VERMILION, linewidth=0.9, linestyle=style.DASHED, label=label)


@style.styled()
def subject_accuracy(metrics: Metrics, ceiling: float | None = None) -> Figure | None:
    """Draw the accuracy of each subject as a dot, sorted, sized by the number of clips; None without any accuracy.

    ``ceiling`` is the accuracy of one annotator against the majority of the others, where several labelled the clips.
    """
    rows = {name: row for name, row in metrics.per_subject.items() if row.accuracy is not None}
    if not rows or metrics.accuracy is None:
        return None
    names = sorted(rows, key=lambda name: rows[name].accuracy or 0.0)
    values = np.array([rows[name].accuracy for name in names])
    clips = np.array([rows[name].n_clips for name in names])
    figure, axes = style.one_panel(8.6, 3.0, f"Accuracy of each of {len(names)} subjects", metrics.provenance)
    positions = np.arange(len(names))
    axes.vlines(positions, 0, values, color=style.LINE, linewidth=1)
    axes.scatter(positions, values, s=18 + 50 * clips / clips.max(), color=style.BLUE, zorder=3)
    axes.axhline(metrics.accuracy, color=style.INK, linewidth=1, label=f"all clips: {percent(metrics.accuracy)}")
    if (compared := baselines(metrics)) is not None:
        label = f"always “{compared[0]}”: {percent(compared[1])}"
        axes.axhline(compared[1], color=style.VERMILION, linewidth=1, linestyle=style.DASHED, label=label)
    draw_ceiling(axes, ceiling)
    style.percent_axis(axes, "y", 0, 1.03, grid=False)
    if len(names) <= 30:
        axes.set_xticks(positions, names, rotation=60 if len(names) > 12 else 0, fontsize=7.5)
    else:
        axes.set_xticks([])
    axes.set_xlabel("subjects, from the one served worst (dot size: number of clips)")
    axes.set_ylabel("share right")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3)  # above: dots may lie at any height
    return figure


def draw_ceiling(axes: Axes, ceiling: float | None) -> None:
    """Draw the accuracy of one annotator against the others as a line; nothing where it is unknown."""
    if ceiling is not None:
        label = CEILING + percent(ceiling)
        axes.axhline(ceiling, color=style.GREEN, linewidth=1.2, linestyle=style.DOTTED, label=label)
