"""Columns of a comparison table: scores, and differences from the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fer_id.evaluation.groups.gaps import ALPHA
from fer_id.evaluation.intervals import Interval
from fer_id.evaluation.paired import Effect
from fer_id.objectives import OBJECTIVES, lower_is_better
from fer_id.reporting.comparison import panels
from fer_id.reporting.comparison.compared_run import Compared
from fer_id.reporting.comparison.panels import Cell, Column, Group, number_cell, share_cell
from fer_id.reporting.words import listed, p_words, signed_extent, span, units, with_sign, worst_classes
from fer_id.types import AFFECT

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

    ``monitor`` sorts the rows at first; ``keys`` of the configuration differ, those that a sweep varied (``swept``)
    first; ``bounds`` is the range of the strip that shows the test accuracy.
    """
    first = max(MOST_SETTINGS, sum(key in swept for key in keys))
    settings = [panels.setting_column(key) for key in keys]
    groups = [
        Group("scores", "Scores", _scores(compared, monitor, bounds)),
        Group("settings", "Settings that differ", settings[:first]),
        Group("paired", f"Beside {reference.name}", _paired(units(reference.people)) if len(compared) > 1 else []),
        Group("classes", "Recall by class, %", panels.class_columns(compared, reference.metrics.labels)),
        Group("groups", "Subgroups", panels.gap_columns(compared)),
        Group("cost", "Cost", panels.cost_columns(compared)),
        Group("more", "Further settings that differ", settings[first:], visible=False),
    ]
    return [group for group in groups if group.columns]


def _scores(compared: Sequence[Compared], monitor: str, bounds: tuple[float, float]) -> list[Column]:
    low, high = bounds
    percentage = not lower_is_better(monitor)
    form: Callable[[float], str] = (lambda share: f"{100 * share:.1f}") if percentage else "{:.3f}".format

    def picture(run: Compared) -> Cell:
        accuracy, interval = run.metrics.accuracy, run.metrics.interval("accuracy")
        if accuracy is None:
            return Cell("")
        ends = {"low": interval.low, "high": interval.high} if interval else {}
        place = {name: (end - low) / (high - low) for name, end in ends.items()}
        return Cell("", strip=((accuracy - low) / (high - low), place or None))

    title = f"Inner validation {OBJECTIVES[monitor]}{', %' if percentage else ''}"
    chosen_by = "best epoch, the mean over folds: what a run may be chosen by"
    return [
        Column(title, lambda run: number_cell(run.reached.get(monitor), form), chosen_by),
        Column("Test accuracy, %", _score("accuracy"), "of the clips with a prediction"),
        Column(f"{100 * low:.0f} to {100 * high:.0f} %", picture, "test accuracy and its interval", sortable=False),
        Column("Macro-F1, %", _score("macro_f1"), "mean over the classes"),
        Column("Macro recall, %", _score("macro_recall"), "mean over the classes"),
        Column("AUC, %", _score("auc"), "one class against the rest, mean over the classes"),
        *_concordances(compared),
        Column("Calibration error, %", _ece, "of the raw probabilities (ECE); 0 is best"),
        Column("Lowest recall, %", _lowest, "of the class recognised least"),
        *(column for column in _extents(compared) if len({column.cell(run) for run in compared}) > 1),
    ]


def _concordances(compared: Sequence[Compared]) -> list[Column]:
    """Return the columns of valence and arousal; none where no run predicts them."""
    if not any(run.metrics.rates_affect for run in compared):
        return []

    def cell_of(name: str) -> Callable[[Compared], Cell]:
        def cell(run: Compared) -> Cell:
            value, interval = run.metrics[name], run.metrics.interval(name)
            limits = signed_extent(interval.low, interval.high, 1, 2) if interval else ""
            return Cell() if value is None else Cell(with_sign(value, 2), limits, value)

        return cell

    about = "concordance with the annotations (CCC), 1 is best"
    return [Column(f"{name.capitalize()}, CCC", cell_of(f"{name}_ccc"), about) for name in AFFECT]


def _extents(compared: Sequence[Compared]) -> list[Column]:
    """Return the columns that are mostly equal in all runs, and then listed below the table."""
    subjects = units(any(run.people for run in compared)).capitalize()
    return [
        Column("Coverage, %", lambda run: share_cell(run.metrics.coverage), "share of clips that have a prediction"),
        Column("Clips", lambda run: number_cell(run.metrics.n_clips), "labelled ones that were tested"),
        Column(subjects, lambda run: number_cell(run.metrics.n_subjects), "that were tested"),
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
    cells_of = {column.title: {column.cell(run) for run in compared} for column in _extents(compared)}
    same = {title: next(iter(cells)).text for title, cells in cells_of.items() if len(cells) == 1}
    values = [
        f"{title.removesuffix(', %').lower()} {text}{' %' if '%' in title else ''}" for title, text in same.items()
    ]
    return [f"The same in all runs: {', '.join(values)}."] if values else []


def _score(name: str) -> Callable[[Compared], Cell]:
    return lambda run: share_cell(run.metrics[name], span(run.metrics.interval(name)))


def _ece(run: Compared) -> Cell:
    calibration = run.metrics.calibration
    return share_cell(calibration.ece, span(calibration.intervals.get("ece"), ""))


def _lowest(run: Compared) -> Cell:
    worst = worst_classes(run.metrics)
    return share_cell(run.metrics.per_class[worst[0]].recall, listed(worst), 0) if worst else Cell()


def _paired(subjects: str) -> list[Column]:
    """Return the columns of the comparison with the reference, over its ``subjects`` as pages name them."""

    def effect(cell: Callable[[Effect], Cell]) -> Callable[[Compared], Cell]:
        return lambda run: cell(run.paired.effect) if run.paired else Cell()

    def test(run: Compared) -> Cell:
        return Cell(p_words(run.p_holm), value=run.p_holm) if run.paired else Cell()

    def hedges(effect: Effect) -> Cell:
        return _signed(1, effect.g, effect.g_interval, 2)

    return [
        Column("Accuracy, points", _difference("accuracy_with_missing"), "clips without a prediction are errors"),
        Column("Test (Holm)", test, f"the signs of whole {subjects} flipped, corrected for the number of runs"),
        Column("Better, worse, alike", effect(_subjects), f"{subjects} it serves better or worse than the reference"),
        Column("Share better, %", effect(_superiority), f"of the {subjects}; those served alike counted half"),
        Column("Hedges' g", effect(hedges), f"mean difference in accuracy by how far {subjects} lie apart"),
        Column("Macro-F1, points", _difference("macro_f1"), "clips without a prediction are left out"),
        Column("Validation NLL", _choice, "on inner validation, clip by clip; marked: better or worse by 2 SE"),
    ]


def _choice(run: Compared) -> Cell:
    """Return the difference in NLL on inner validation, which reads no test clip; a lower one is better."""
    if (choice := run.choice) is None:
        return Cell()
    text, css = with_sign(choice.value, 4), "" if choice.verdict == "not shown" else "sure"
    return Cell(text, f"SE {choice.error:.4f}", choice.value, tooltip=choice.verdict, css=css)


def _difference(name: str) -> Callable[[Compared], Cell]:
    tested = name == "accuracy_with_missing"

    def cell(run: Compared) -> Cell:
        if run.paired is None:
            return Cell("", f"not paired: {run.unpaired}", css="words") if tested and run.unpaired else Cell()
        difference = run.paired.differences[name]
        sure = tested and run.p_holm is not None and run.p_holm < ALPHA
        return _signed(100, difference.value, difference.interval, 1, css="sure" if sure else "")

    return cell


def _subjects(effect: Effect) -> Cell:
    text = f"{effect.better:,}, {effect.worse:,}, {effect.alike:,}"
    return Cell(text, value=effect.better - effect.worse)


def _superiority(effect: Effect) -> Cell:
    if math.isnan(effect.superiority):
        return Cell()
    interval = effect.superiority_interval
    limits = [f"{100 * end:.0f}" for end in (interval.low, interval.high) if end is not None]
    return share_cell(effect.superiority, "–".join(limits), 0)


def _signed(scale: float, value: float, interval: Interval, digits: int, css: str = "") -> Cell:
    """Return a cell with a signed difference and its interval, or the reason why there is none."""
    if math.isnan(value):
        return Cell(tooltip=interval.reason or "", css=css)
    extent = signed_extent(interval.low, interval.high, scale, digits)
    return Cell(with_sign(scale * value, digits), extent, value, tooltip=interval.reason or "", css=css)
