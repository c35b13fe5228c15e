"""Figures of one run, as functions from numbers to a matplotlib Figure (for the report and W&B)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_id.evaluation.confidence.calibration import Reliability
from fer_id.evaluation.confidence.selective import RISKS, RiskCoverage
from fer_id.objectives import lower_is_better
from fer_id.reporting import style
from fer_id.reporting.words import CEILING, baselines, error_pattern, percent
from fer_id.runs.metrics import ClassScores, Metrics, Review
from fer_id.runs.records import Interval

_ROOM_FOR_TEXT = 0.12  # share of the axis that a percentage takes


def confusion_matrix(metrics: Metrics) -> Figure:
    """Draw the confusion matrix, true classes in rows, with shares of the row (colour, percentage) and counts."""
    names, counts = metrics.labels, np.array(metrics.confusion_matrix, dtype=float)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    size = 1.5 + 0.56 * len(names)
    with style.styled():
        figure = style.new_figure(size + 0.5, size, "Confusion matrix", metrics.provenance)
        axes = figure.subplots()
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
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xticks(np.arange(1, len(names)) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, len(names)) - 0.5, minor=True)
        axes.grid(which="minor", color=style.PAPER, linewidth=2)
        axes.tick_params(which="minor", length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true (each row adds up to 100\u202f%)")
    return figure


def per_class(metrics: Metrics, human: Mapping[str, float | None] | None = None) -> Figure:
    """Draw recall with its interval and F1 by class, worst last, with the most common error, as the paper's Table 5.

    Args:
        metrics: metrics of the run.
        human: class -> recall of one annotator against the majority of the others, where several labelled the clips.
    """
    rows = metrics.per_class
    people = {name: value for name, value in (human or {}).items() if name in rows and value is not None}
    names = sorted(rows, key=lambda name: (rows[name].recall is None, -(rows[name].recall or 0)))
    with style.styled():
        figure = style.new_figure(8.6, 1.5 + 0.44 * len(names), "Recognised clips by class", metrics.provenance)
        axes, notes = figure.subplots(1, 2, width_ratios=[9, 7], sharey=True)
        for position, name in enumerate(names):
            _class_bar(axes, position, rows[name], metrics.interval(f"per_class.{name}.recall"))
            if (person := people.get(name)) is not None:
                axes.plot([person] * 2, [position - 0.42, position + 0.36], color=style.GREEN, linewidth=2)
            pattern = error_pattern(metrics, name)
            notes.text(0.0, position, pattern, va="center", fontsize=8, color=style.INK)
        axes.set_yticks(range(len(names)), [f"{name}  ({rows[name].support:,})" for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(style.percent_ticks())
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        legend = "bar: recall, black line: its 95\u202f% interval, thin bar: F1"
        axes.set_xlabel(f"{legend}\ngreen: one person against the others" if people else legend)
        notes.set_axis_off()
        notes.set_xlim(0, 1)
    return figure


def _class_bar(axes: Axes, position: int, row: ClassScores, interval: Interval | None) -> None:
    if row.recall is None:
        return
    axes.barh(position - 0.1, row.recall, height=0.44, color=style.SKY)
    axes.barh(position + 0.24, row.f1 or 0.0, height=0.13, color=style.VERMILION)
    if interval is not None:
        axes.plot([interval.low, interval.high], [position - 0.1] * 2, color=style.INK, linewidth=1.4)
    # A patch of the bar's colour keeps the number legible over the interval; on a short bar it would lengthen the bar.
    patch = {"facecolor": style.SKY, "edgecolor": "none", "pad": 1.0} if row.recall > _ROOM_FOR_TEXT else None
    axes.text(0.012, position - 0.1, percent(row.recall, 0), va="center", fontsize=8, fontweight="bold", bbox=patch)


def reliability_diagram(bins: Reliability, provenance: str, after: Reliability | None = None) -> Figure:
    """Draw accuracy against confidence, and below it the number of clips per bin.

    Args:
        bins: reliability of the raw probabilities.
        provenance: provenance of the clips.
        after: reliability of the calibrated probabilities, drawn as a line.
    """
    middle = (bins.edges[:-1] + bins.edges[1:]) / 2
    width = np.diff(bins.edges)[0]
    filled = bins.counts > 0
    with style.styled():
        figure = style.new_figure(4.9, 4.6, "Reliability", provenance)
        axes, histogram = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
        axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, linestyle=(0, (4, 3)))
        colours = np.where(bins.counts[filled] < _FEW, style.LINE, style.SKY)
        axes.bar(middle[filled], bins.accuracy[filled], width * 0.9, color=colours.tolist())
        axes.plot(bins.confidence[filled], bins.accuracy[filled], "o", color=style.BLUE, markersize=4)
        if after is not None:
            seen = after.counts > 0
            line = f"calibrated, ECE {percent(after.ece)}"
            axes.plot(
                after.confidence[seen], after.accuracy[seen], "D-", color=style.VERMILION, markersize=3.5, label=line
            )
            axes.legend(frameon=False, fontsize=7.5, loc="upper left")
        axes.set_ylim(0, 1)
        axes.set_ylabel("share right")
        axes.set_title(_reliability_note(bins), loc="left", color=style.MUTED, fontsize=7.5)
        histogram.bar(middle, bins.counts, width * 0.9, color=style.MUTED)
        histogram.set_ylabel("clips")
        histogram.set_xlabel("confidence (probability of the predicted class)")
        histogram.set_xlim(0, 1)
    return figure


def risk_coverage_curve(curve: RiskCoverage, provenance: str, review: Review | None = None) -> Figure:
    """Draw the error rate of the answered clips against their share, the least confident clips left to a person.

    Args:
        curve: curve of the test clips, whose points are chosen with hindsight.
        provenance: provenance of the run.
        review: ``review`` of the metrics: the point of the threshold chosen on inner validation. The point may lie off
            the curve, which ranks the clips of all folds together by their raw probabilities.
    """
    with style.styled():
        figure = style.new_figure(4.9, 3.6, "If unsure clips go to a person", provenance)
        axes = figure.subplots()
        axes.step(curve.coverage, curve.risk, where="pre", color=style.BLUE)
        for risk in RISKS:
            if coverage := curve.coverage_at(risk):
                axes.plot(coverage, risk, "o", color=style.VERMILION, markersize=4)
                text = f"{percent(coverage, 0)} answered, {percent(risk, 0)} wrong"
                axes.annotate(text, (coverage, risk), (6, -10), textcoords="offset points", fontsize=7.5)
        if review and review.risk_answered is not None and review.coverage is not None:
            axes.plot(review.coverage, review.risk_answered, "D", color=style.GREEN, markersize=6, zorder=4)
            text = f"chosen beforehand: {percent(review.coverage, 0)}, {percent(review.risk_answered, 0)} wrong"
            axes.plot([], [], "D", color=style.GREEN, markersize=5, label=text)
            axes.legend(frameon=False, fontsize=7.5, loc="upper left")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(style.percent_ticks())
        axes.set_xlim(0, 1)
        axes.set_ylim(0, max(0.1, 1.1 * float(curve.risk.max())))
        axes.grid(axis="y")
        axes.set_xlabel("clips answered, the surest first")
        axes.set_ylabel("wrong among them")
    return figure


_FEW = 10  # bins with fewer clips are noise, drawn pale


def _reliability_note(bins: Reliability) -> str:
    pale = f"; pale: fewer than {_FEW} clips" if ((bins.counts > 0) & (bins.counts < _FEW)).any() else ""
    return f"raw: ECE {percent(bins.ece)} in {len(bins.counts)} bins; dashed: perfect{pale}"


def training_curves(curve: pd.DataFrame, provenance: str, monitor: str = "val/macro_f1") -> Figure | None:
    """Draw loss and macro-F1 by epoch, marked where ``monitor`` is best; None where nothing was logged by epoch."""
    epochs = by_epoch(curve)
    losses = [column for column in ("train/loss", "val/loss") if column in epochs]
    scores = [column for column in ("train/macro_f1", "val/macro_f1") if column in epochs]
    panels = [(columns, label) for columns, label in ((losses, "loss"), (scores, "macro-F1")) if columns]
    if not panels:
        return None
    with style.styled():
        figure = style.new_figure(8.6, 3.1, "Training", provenance)
        for axes, (columns, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for column in columns:
                colour = style.MUTED if column.startswith("train/") else style.BLUE
                values = epochs[column].dropna()
                marker = "o" if len(values) < 3 else None
                axes.plot(values.index, values, color=colour, marker=marker, label=_SPLIT_NAMES[column.split("/")[0]])
            _mark_best(axes, epochs, monitor)
            axes.set_ylabel(label)
            style.epoch_axis(axes)
            axes.legend(frameon=False, fontsize=8)
    return figure


_SPLIT_NAMES = {"train": "training", "val": "inner validation"}
_MONITOR_NAMES = {"val/macro_f1": "best macro-F1", "val/loss": "lowest validation loss"}


def fold_curves(curves: Sequence[pd.DataFrame], provenance: str) -> Figure | None:
    """Draw the validation macro-F1 by epoch, a thin line per fold and their median; None where nothing was logged."""
    by_fold = [by_epoch(curve) for curve in curves]
    scores = [epochs["val/macro_f1"].dropna() for epochs in by_fold if "val/macro_f1" in epochs]
    if not scores:
        return None
    with style.styled():
        figure = style.new_figure(8.6, 3.1, f"Training of {len(scores)} folds", provenance)
        axes = figure.subplots()
        for score in scores:
            axes.plot(score.index, score, color=style.SKY, linewidth=0.9, alpha=0.8)
        median = pd.concat(scores, axis=1).median(axis=1)
        axes.plot(median.index, median, color=style.INK, label="median of the folds still training")
        axes.set_ylabel("macro-F1, inner validation")
        style.epoch_axis(axes)
        axes.legend(frameon=False, fontsize=8)
    return figure


def by_epoch(curve: pd.DataFrame) -> pd.DataFrame:
    """Return one row per epoch: the mean of the values logged in it."""
    if "epoch" not in curve:
        return pd.DataFrame()
    numbers: pd.DataFrame = curve.apply(pd.to_numeric, errors="coerce").dropna(subset=["epoch"])
    return numbers.groupby("epoch").mean().dropna(axis="columns", how="all")


def _mark_best(axes: Axes, epochs: pd.DataFrame, monitor: str) -> None:
    """Mark the epoch of the best checkpoint: the first with the lowest loss, or else with the highest score."""
    if monitor not in epochs:  # a column without a number was dropped
        return
    scores = epochs[monitor]
    best = float(epochs.index[int(scores.argmin() if lower_is_better(monitor) else scores.argmax())])
    name = _MONITOR_NAMES.get(monitor, monitor)
    axes.axvline(best, color=style.VERMILION, linewidth=0.9, linestyle=(0, (4, 3)), label=f"{name}: epoch {best:.0f}")


def subject_accuracy(metrics: Metrics, ceiling: float | None = None) -> Figure | None:
    """Draw the accuracy of each subject as a dot, sorted, sized by the number of clips; None without any accuracy.

    Args:
        metrics: metrics of the run.
        ceiling: accuracy of one annotator against the majority of the others, where several labelled the clips.
    """
    accuracies = {name: row.accuracy for name, row in metrics.per_subject.items() if row.accuracy is not None}
    if not accuracies or metrics.accuracy is None:
        return None
    names = sorted(accuracies, key=lambda name: accuracies[name])
    values = np.array([accuracies[name] for name in names])
    clips = np.array([metrics.per_subject[name].n_clips for name in names])
    compared = baselines(metrics)
    with style.styled():
        figure = style.new_figure(8.6, 3.0, f"Accuracy of each of {len(names)} subjects", metrics.provenance)
        axes = figure.subplots()
        positions = np.arange(len(names))
        axes.vlines(positions, 0, values, color=style.LINE, linewidth=1)
        axes.scatter(positions, values, s=18 + 50 * clips / clips.max(), color=style.BLUE, zorder=3)
        axes.axhline(metrics.accuracy, color=style.INK, linewidth=1, label=f"all clips: {percent(metrics.accuracy)}")
        if compared is not None:
            label = f"always “{compared[0]}”: {percent(compared[1])}"
            axes.axhline(compared[1], color=style.VERMILION, linewidth=1, linestyle=(0, (4, 3)), label=label)
        if ceiling is not None:
            label = CEILING + percent(ceiling)
            axes.axhline(ceiling, color=style.GREEN, linewidth=1.2, linestyle=(0, (1, 1.5)), label=label)
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(style.percent_ticks())
        if len(names) <= 30:
            axes.set_xticks(positions, names, rotation=60 if len(names) > 12 else 0, fontsize=7.5)
        else:
            axes.set_xticks([])
        axes.set_xlabel("subjects, from the one served worst (dot size: number of clips)")
        axes.set_ylabel("share right")
        axes.legend(frameon=False, fontsize=8, loc="lower right", ncols=2)
    return figure
