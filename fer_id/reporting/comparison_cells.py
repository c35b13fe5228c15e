"""The table of a comparison: groups of columns, each cell with its words and the value it is sorted by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fer_id.evaluation.gaps import GAP
from fer_id.evaluation.intervals import Interval
from fer_id.reporting.compared import MONITORS, Compared
from fer_id.reporting.group_words import gap_words
from fer_id.reporting.page import duration
from fer_id.reporting.verdicts import ALPHA, p_words
from fer_id.reporting.words import listed, percent, worst_classes

MOST_SETTINGS = 10
"""Differing settings that are shown at once; the others wait in a group of their own."""

NONE = "–"
_LEAST_SPREAD = 0.1  # below it, shades would make much of little


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says.
        small: below it.
        value: what it is sorted by; None: last.
        told: the same in a sentence, for who points at it.
        css: further classes.
        share: how dark it is shaded, in [0, 1]; None: not.
        strip: value and interval to draw, each in [0, 1].
    """

    text: str = NONE
    small: str = ""
    value: float | str | None = None
    told: str = ""
    css: str = ""
    share: float | None = None
    strip: tuple[float, Mapping[str, float] | None] | None = None


@dataclass(frozen=True)
class Column:
    """A heading, what it means, and what stands in it for a run."""

    title: str
    cell: Callable[[Compared], Cell]
    meaning: str = ""
    numeric: bool = True
    sortable: bool = True


@dataclass(frozen=True)
class Group:
    """Columns that are shown or hidden together.

    Attributes:
        key: of its box on the page.
        title: of its box and above its columns.
        columns: from left to right.
        shown: whether it is, at first.
    """

    key: str
    title: str
    columns: list[Column]
    shown: bool = True


def table_groups(
    compared: Sequence[Compared],
    reference: Compared,
    monitor: str,
    keys: Sequence[str],
    swept: Sequence[str],
    bounds: tuple[float, float] = (0.0, 1.0),
) -> list[Group]:
    """The groups that have something to show, from left to right.

    Args:
        compared: all runs.
        reference: the one of them that the others are paired with.
        monitor: column of ``MONITORS`` that the rows begin sorted by.
        keys: configuration keys that differ, the swept ones first.
        swept: those that a sweep varied.
        bounds: of the strip that pictures the test accuracy.
    """
    labels = reference.metrics["labels"]
    first = max(MOST_SETTINGS, sum(key in swept for key in keys))
    groups = [
        Group("scores", "Scores", _scores(compared, monitor, bounds)),
        Group("settings", "Settings that differ", [_setting(key) for key in keys[:first]]),
        Group("paired", f"Beside {reference.name}", _paired() if len(compared) > 1 else []),
        Group("classes", "Recall by class, %", _recalls(compared, labels)),
        Group("groups", "Subgroups", _subgroups(compared)),
        Group("cost", "Cost", _cost(compared)),
        Group("more", "Further settings that differ", [_setting(key) for key in keys[first:]], shown=False),
    ]
    return [group for group in groups if group.columns]


def _scores(compared: Sequence[Compared], monitor: str, bounds: tuple[float, float]) -> list[Column]:
    scale = 1 if monitor == "val/loss" else 100

    def reached(one: Compared) -> Cell:
        value = one.reached.get(monitor)
        return Cell(f"{scale * value:.{3 if scale == 1 else 1}f}", value=value) if value is not None else Cell()

    low, high = bounds

    def picture(one: Compared) -> Cell:
        if one.metrics["accuracy"] is None:
            return Cell("")
        interval = one.metrics["intervals"].get("accuracy") or {}
        place = {name: (interval[name] - low) / (high - low) for name in ("low", "high") if name in interval}
        return Cell("", strip=((one.metrics["accuracy"] - low) / (high - low), place or None))

    title = f"Inner validation {MONITORS[monitor]}{'' if scale == 1 else ', %'}"
    return [
        Column(title, reached, "best epoch, the mean over folds: what a run may be chosen by"),
        Column("Test accuracy, %", _score("accuracy"), "of the clips with a prediction"),
        Column(f"{100 * low:.0f} to {100 * high:.0f} %", picture, "test accuracy and its interval", sortable=False),
        Column("Macro-F1, %", _score("macro_f1"), "mean over the classes"),
        Column("Macro recall, %", _score("macro_recall"), "mean over the classes"),
        Column("AUC, %", _score("auc"), "one class against the rest, mean over the classes"),
        Column("Calibration error, %", _ece, "of the raw probabilities (ECE); 0 is best"),
        Column("Lowest recall, %", _lowest, "of the class recognised least"),
        *(column for column in _extents() if len({column.cell(one) for one in compared}) > 1),
    ]


def _extents() -> list[Column]:
    """What is mostly the same in all runs, and then told below the table."""
    return [
        Column("Coverage, %", _coverage, "share of clips that have a prediction"),
        Column("Clips", lambda one: _count(one.metrics["n_clips"]), "labelled ones that were tested"),
        Column("Subjects", lambda one: _count(one.metrics["n_subjects"]), "that were tested"),
    ]


def strip_bounds(compared: Sequence[Compared], mark: float | None) -> tuple[float, float]:
    """Whole tens of per cent that hold all accuracies with their intervals, and the mark."""
    ends = [mark] if mark is not None else []
    for one in compared:
        interval = one.metrics["intervals"].get("accuracy") or {}
        values = (one.metrics["accuracy"], interval.get("low"), interval.get("high"))
        ends += [value for value in values if value is not None]
    return math.floor(10 * min(ends, default=0.0)) / 10, math.ceil(10 * max(ends, default=1.0)) / 10


def alike(compared: Sequence[Compared]) -> list[str]:
    """What has no column, as it is the same in all runs."""
    found = {column.title: {column.cell(one) for one in compared} for column in _extents()}
    same = {title: next(iter(cells)).text for title, cells in found.items() if len(cells) == 1}
    said = [f"{title.removesuffix(', %').lower()} {text}{' %' if '%' in title else ''}" for title, text in same.items()]
    return [f"The same in all runs: {', '.join(said)}."] if said else []


def _score(name: str) -> Callable[[Compared], Cell]:
    def cell(one: Compared) -> Cell:
        value, interval = one.metrics[name], one.metrics["intervals"].get(name)
        if value is None:
            return Cell()
        extent = f"{100 * interval['low']:.1f}–{100 * interval['high']:.1f}" if interval else "no interval"
        return Cell(f"{100 * value:.1f}", extent, value)

    return cell


def _ece(one: Compared) -> Cell:
    calibration = one.metrics["calibration"]
    interval = (calibration.get("intervals") or {}).get("ece")
    if calibration["ece"] is None:
        return Cell()
    extent = f"{100 * interval['low']:.1f}–{100 * interval['high']:.1f}" if interval else ""
    return Cell(f"{100 * calibration['ece']:.1f}", extent, calibration["ece"])


def _lowest(one: Compared) -> Cell:
    worst = worst_classes(one.metrics)
    if not worst:
        return Cell()
    recall = one.metrics["per_class"][worst[0]]["recall"]
    return Cell(f"{100 * recall:.0f}", listed(worst), recall)


def _coverage(one: Compared) -> Cell:
    share = one.metrics["coverage"]
    return Cell() if share is None else Cell(f"{100 * share:.1f}", value=share)


def _count(number: float | None) -> Cell:
    return Cell() if number is None else Cell(f"{number:,}", value=number)


def _paired() -> list[Column]:
    def effect(cell: Callable[[Any], Cell]) -> Callable[[Compared], Cell]:
        return lambda one: cell(one.paired.effect) if one.paired else Cell()

    return [
        Column("Accuracy, points", _difference("accuracy_with_missing"), "clips without a prediction are errors"),
        Column("Test (Holm)", _test, "the signs of whole subjects flipped, corrected for the number of runs"),
        Column("Better, worse, alike", effect(_subjects), "subjects it serves better or worse than the reference does"),
        Column("Share better, %", effect(_superiority), "of the subjects; those served alike counted half"),
        Column("Hedges' g", effect(_hedges), "difference of the subjects' accuracies by how far subjects lie apart"),
        Column("Macro-F1, points", _difference("macro_f1"), "clips without a prediction are left out"),
    ]


def _difference(name: str) -> Callable[[Compared], Cell]:
    def cell(one: Compared) -> Cell:
        if one.paired is None:
            first = name == "accuracy_with_missing" and one.unpaired
            return Cell("", f"not paired: {one.unpaired}", css="words") if first else Cell()
        each = one.paired.differences[name]
        sure = name == "accuracy_with_missing" and one.p_holm is not None and one.p_holm < ALPHA
        return _signed(100, each.value, each.interval, 1, css="sure" if sure else "")

    return cell


def _signed(scale: float, value: float, interval: Interval, digits: int, css: str = "") -> Cell:
    if math.isnan(value):
        return Cell(told=interval.reason or "", css=css)
    if interval.low is None or interval.high is None:
        return Cell(_with_sign(scale * value, digits), "no interval", value, told=interval.reason or "", css=css)
    extent = f"{_with_sign(scale * interval.low, digits)} to {_with_sign(scale * interval.high, digits)}"
    return Cell(_with_sign(scale * value, digits), extent, value, css=css)


def _with_sign(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _test(one: Compared) -> Cell:
    return Cell(p_words(one.p_holm), value=one.p_holm) if one.paired else Cell()


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
    return _signed(1, effect.g, effect.g_interval, 2)


def _recalls(compared: Sequence[Compared], labels: Sequence[str]) -> list[Column]:
    """A heat map over runs and classes, shaded from its lowest recall to its highest."""
    known = [
        row["recall"] for one in compared for row in one.metrics["per_class"].values() if row["recall"] is not None
    ]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return [_recall(label, low, max(high - low, _LEAST_SPREAD)) for label in labels]


def _recall(label: str, low: float, spread: float) -> Column:
    def cell(one: Compared) -> Cell:
        recall = one.metrics["per_class"][label]["recall"]
        interval = one.metrics["intervals"].get(f"per_class.{label}.recall")
        if recall is None:
            return Cell(told="no test clip of this class has a prediction")
        told = f"{label}: {percent(recall)}"
        told += f", 95 % {100 * interval['low']:.1f} to {100 * interval['high']:.1f}" if interval else ", no interval"
        return Cell(f"{100 * recall:.0f}", value=recall, told=told, share=(recall - low) / spread)

    return Column(label, cell, "share of its clips that are recognised")


def group_columns(compared: Sequence[Compared]) -> list[str]:
    """The columns that some run was broken down by, in their order."""
    return list(dict.fromkeys(name for one in compared for name in (one.metrics["subgroups"] or {}).get("columns", {})))


def _subgroups(compared: Sequence[Compared]) -> list[Column]:
    names = group_columns(compared)
    lowest = [
        Column("Lowest group, %", _lowest_group, "accuracy of the group served worst, of those with enough subjects")
    ]
    return [*(lowest if names else []), *(_gap(name) for name in names)]


def lowest_group(metrics: Mapping[str, Any]) -> tuple[float, str, Mapping[str, Any]] | None:
    """Accuracy, name and numbers of the group served worst, of those with enough subjects to be compared."""
    subgroups = metrics["subgroups"]
    if not subgroups:
        return None
    enough = [
        (group["accuracy"], f"{column} {value}", group)
        for column, found in subgroups["columns"].items()
        for value, group in found["groups"].items()
        if group["accuracy"] is not None and group["n_subjects"] >= subgroups["min_subjects"]
    ]
    return min(enough, key=lambda each: each[0], default=None)


def _lowest_group(one: Compared) -> Cell:
    found = lowest_group(one.metrics)
    if found is None:
        return Cell()
    accuracy, name, group = found
    interval = group["intervals"].get("accuracy")
    extent = f", 95 % {100 * interval['low']:.1f} to {100 * interval['high']:.1f}" if interval else ", no interval"
    told = f"{name}: {percent(accuracy)} of {group['n_clips']} clips of {group['n_subjects']} subjects{extent}"
    return Cell(f"{100 * accuracy:.0f}", name, accuracy, told=told)


def _gap(name: str) -> Column:
    def cell(one: Compared) -> Cell:
        column = (one.metrics["subgroups"] or {}).get("columns", {}).get(name)
        if column is None:
            return Cell(told=f"not broken down by {name}")
        gap = column["gaps"]["accuracy"]
        css = "words sure" if gap["verdict"] == GAP else "words"
        told = f"{name}: {gap_words(gap, 'accuracy')}"
        if gap["gap"] is None:
            return Cell(NONE, gap["verdict"], told=told, css=css)
        small = f"{gap['worst']} lowest; {gap['verdict']}"
        return Cell(f"{100 * gap['gap']:.1f}", small, gap["gap"], told=told, css=css)

    meaning = "largest minus smallest accuracy of its groups, and whether that is shown"
    return Column(f"{name}: gap, points", cell, meaning, numeric=False)


def _cost(compared: Sequence[Compared]) -> list[Column]:
    def memory(one: Compared) -> Cell:
        peak = one.job["peak_memory_bytes"]
        return Cell() if peak is None else Cell(f"{peak / 1e9:.2f}", value=peak)

    def seconds(one: Compared) -> Cell:
        took = one.job["seconds"]
        return Cell() if took is None else Cell(duration(took), value=took)

    columns = [
        Column("Parameters", lambda one: _count(one.job["cost"]["parameters"])),
        Column("Multiply-adds a clip", lambda one: _count(one.job["cost"]["multiply_adds_per_clip"])),
        Column("Training time", seconds, "of all folds, without what the run started from"),
        Column("Peak memory, GB", memory, "of the accelerator, or of the whole process without one"),
    ]
    for title, key in (("Precision", "precision"), ("Machine", "machine")):
        if len({one.job[key] for one in compared}) > 1:
            columns.append(Column(title, _word(key), numeric=False))
    return columns


def _word(key: str) -> Callable[[Compared], Cell]:
    return lambda one: Cell(str(one.job[key] or NONE), value=one.job[key], css="words")


def _setting(key: str) -> Column:
    def cell(one: Compared) -> Cell:
        if key not in one.config:
            return Cell(told="not a setting of this run")
        value = one.config[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Cell("null" if value is None else str(value), value=str(value))
        return Cell(f"{value:g}" if isinstance(value, float) else str(value), value=value, css="keep")

    return Column(key, cell, numeric=False)
