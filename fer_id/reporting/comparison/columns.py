"""Columns of a comparison table: scores, and differences from the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from fer_id.objectives import OBJECTIVES, lower_is_better
from fer_id.reporting.benchmark.verdicts import ALPHA, p_words
from fer_id.reporting.comparison.cells import Cell, Column, Group, counted_cell, signed_cell
from fer_id.reporting.comparison.compared_run import Compared
from fer_id.reporting.comparison.panels import class_columns, cost_columns, gap_columns, setting_column
from fer_id.reporting.words import listed, span, worst_classes

MOST_SETTINGS = 10
"""Maximum number of differing settings visible at first; further ones are in a hidden group."""


def table_groups(
    compared: Sequence[Compared],
    reference: Compared,
    monitor: str,
    keys: Sequence[str],
    swept: Sequence[str],
    bounds: tuple[float, float] = (0.0, 1.0),
) -> list[Group]:
    """Return the column groups that have content, from left to right.

    Args:
        compared: all runs.
        reference: the run that the others are paired with.
        monitor: column of ``OBJECTIVES`` that the rows are sorted by at first.
        keys: configuration keys that differ, the swept ones first.
        swept: keys that a sweep varied.
        bounds: range of the strip that shows the test accuracy.
    """
    labels = reference.metrics.labels
    first = max(MOST_SETTINGS, sum(key in swept for key in keys))
    groups = [
        Group("scores", "Scores", _scores(compared, monitor, bounds)),
        Group("settings", "Settings that differ", [setting_column(key) for key in keys[:first]]),
        Group("paired", f"Beside {reference.name}", _paired() if len(compared) > 1 else []),
        Group("classes", "Recall by class, %", class_columns(compared, labels)),
        Group("groups", "Subgroups", gap_columns(compared)),
        Group("cost", "Cost", cost_columns(compared)),
        Group("more", "Further settings that differ", [setting_column(key) for key in keys[first:]], visible=False),
    ]
    return [group for group in groups if group.columns]


def _scores(compared: Sequence[Compared], monitor: str, bounds: tuple[float, float]) -> list[Column]:
    scale = 1 if lower_is_better(monitor) else 100

    def reached(run: Compared) -> Cell:
        value = run.reached.get(monitor)
        return Cell(f"{scale * value:.{3 if scale == 1 else 1}f}", value=value) if value is not None else Cell()

    low, high = bounds

    def picture(run: Compared) -> Cell:
        if run.metrics.accuracy is None:
            return Cell("")
        interval = run.metrics.interval("accuracy")
        ends = {"low": interval.low, "high": interval.high} if interval else {}
        place = {name: (end - low) / (high - low) for name, end in ends.items()}
        return Cell("", strip=((run.metrics.accuracy - low) / (high - low), place or None))

    title = f"Inner validation {OBJECTIVES[monitor]}{'' if scale == 1 else ', %'}"
    return [
        Column(title, reached, "best epoch, the mean over folds: what a run may be chosen by"),
        Column("Test accuracy, %", _score("accuracy"), "of the clips with a prediction"),
        Column(f"{100 * low:.0f} to {100 * high:.0f} %", picture, "test accuracy and its interval", sortable=False),
        Column("Macro-F1, %", _score("macro_f1"), "mean over the classes"),
        Column("Macro recall, %", _score("macro_recall"), "mean over the classes"),
        Column("AUC, %", _score("auc"), "one class against the rest, mean over the classes"),
        Column("Calibration error, %", _ece, "of the raw probabilities (ECE); 0 is best"),
        Column("Lowest recall, %", _lowest, "of the class recognised least"),
        *(column for column in _extents() if len({column.cell(run) for run in compared}) > 1),
    ]


def _extents() -> list[Column]:
    """Return the columns that are mostly equal in all runs, and then listed below the table."""
    return [
        Column("Coverage, %", _coverage, "share of clips that have a prediction"),
        Column("Clips", lambda run: counted_cell(run.metrics.n_clips), "labelled ones that were tested"),
        Column("Subjects", lambda run: counted_cell(run.metrics.n_subjects), "that were tested"),
    ]


def strip_bounds(compared: Sequence[Compared], mark: float | None) -> tuple[float, float]:
    """Return whole tens of per cent, at least ten apart, around all accuracies, intervals and ``mark``."""
    ends = [mark] if mark is not None else []
    for run in compared:
        if run.metrics.accuracy is not None:
            ends.append(run.metrics.accuracy)
        if interval := run.metrics.interval("accuracy"):
            ends += [interval.low, interval.high]
    low = min(math.floor(10 * min(ends, default=0.0)), 9)
    return low / 10, max(math.ceil(10 * max(ends, default=1.0)), low + 1) / 10


def alike(compared: Sequence[Compared]) -> list[str]:
    """Return a sentence on the values that are equal in all runs and so have no column."""
    cells_of = {column.title: {column.cell(run) for run in compared} for column in _extents()}
    same = {title: next(iter(cells)).text for title, cells in cells_of.items() if len(cells) == 1}
    values = [
        f"{title.removesuffix(', %').lower()} {text}{' %' if '%' in title else ''}" for title, text in same.items()
    ]
    return [f"The same in all runs: {', '.join(values)}."] if values else []


def _score(name: str) -> Callable[[Compared], Cell]:
    def cell(run: Compared) -> Cell:
        value = run.metrics[name]
        return Cell() if value is None else Cell(f"{100 * value:.1f}", span(run.metrics.interval(name)), value)

    return cell


def _ece(run: Compared) -> Cell:
    calibration = run.metrics.calibration
    if calibration.ece is None:
        return Cell()
    return Cell(f"{100 * calibration.ece:.1f}", span(calibration.intervals.get("ece"), ""), calibration.ece)


def _lowest(run: Compared) -> Cell:
    worst = worst_classes(run.metrics)
    if not worst:
        return Cell()
    recall = run.metrics.per_class[worst[0]].recall or 0.0
    return Cell(f"{100 * recall:.0f}", listed(worst), recall)


def _coverage(run: Compared) -> Cell:
    share = run.metrics.coverage
    return Cell() if share is None else Cell(f"{100 * share:.1f}", value=share)


def _paired() -> list[Column]:
    def effect(cell: Callable[[Any], Cell]) -> Callable[[Compared], Cell]:
        return lambda run: cell(run.paired.effect) if run.paired else Cell()

    return [
        Column("Accuracy, points", _difference("accuracy_with_missing"), "clips without a prediction are errors"),
        Column("Test (Holm)", _test, "the signs of whole subjects flipped, corrected for the number of runs"),
        Column("Better, worse, alike", effect(_subjects), "subjects it serves better or worse than the reference does"),
        Column("Share better, %", effect(_superiority), "of the subjects; those served alike counted half"),
        Column("Hedges' g", effect(_hedges), "difference of the subjects' accuracies by how far subjects lie apart"),
        Column("Macro-F1, points", _difference("macro_f1"), "clips without a prediction are left out"),
    ]


def _difference(name: str) -> Callable[[Compared], Cell]:
    def cell(run: Compared) -> Cell:
        if run.paired is None:
            first = name == "accuracy_with_missing" and run.unpaired
            return Cell("", f"not paired: {run.unpaired}", css="words") if first else Cell()
        difference = run.paired.differences[name]
        sure = name == "accuracy_with_missing" and run.p_holm is not None and run.p_holm < ALPHA
        return signed_cell(100, difference.value, difference.interval, 1, css="sure" if sure else "")

    return cell


def _test(run: Compared) -> Cell:
    return Cell(p_words(run.p_holm), value=run.p_holm) if run.paired else Cell()


def _subjects(effect: Any) -> Cell:
    text = f"{effect.better:,}, {effect.worse:,}, {effect.alike:,}"
    return Cell(text, value=effect.better - effect.worse)


def _superiority(effect: Any) -> Cell:
    if math.isnan(effect.superiority):
        return Cell()
    interval = effect.superiority_interval
    extent = f"{100 * interval.low:.0f}–{100 * interval.high:.0f}"
    return Cell(f"{100 * effect.superiority:.0f}", extent, effect.superiority)


def _hedges(effect: Any) -> Cell:
    return signed_cell(1, effect.g, effect.g_interval, 2)
