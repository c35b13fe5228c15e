"""The columns of a comparison that depend on the runs: classes, subgroups, cost, and settings that differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fer_id.evaluation.groups.gaps import GAP
from fer_id.reporting.comparison.cells import NONE, Cell, Column, counted_cell
from fer_id.reporting.comparison.compared_run import Compared
from fer_id.reporting.group_words import gap_words
from fer_id.reporting.page import duration
from fer_id.reporting.words import percent

_LEAST_SPREAD = 0.1  # below it, shades would make much of little


def class_columns(compared: Sequence[Compared], labels: Sequence[str]) -> list[Column]:
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


def gap_columns(compared: Sequence[Compared]) -> list[Column]:
    """The group served worst, and the gap of every column that some run was broken down by."""
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


def cost_columns(compared: Sequence[Compared]) -> list[Column]:
    """Size, time and memory; precision and machine where they are not the same in all runs."""

    def memory(one: Compared) -> Cell:
        peak = one.job["peak_memory_bytes"]
        return Cell() if peak is None else Cell(f"{peak / 1e9:.2f}", value=peak)

    def seconds(one: Compared) -> Cell:
        took = one.job["seconds"]
        return Cell() if took is None else Cell(duration(took), value=took)

    columns = [
        Column("Parameters", lambda one: counted_cell(one.job["cost"]["parameters"])),
        Column("Multiply-adds a clip", lambda one: counted_cell(one.job["cost"]["multiply_adds_per_clip"])),
        Column("Training time", seconds, "of all folds, without what the run started from"),
        Column("Peak memory, GB", memory, "of the accelerator, or of the whole process without one"),
    ]
    for title, key in (("Precision", "precision"), ("Machine", "machine")):
        if len({one.job[key] for one in compared}) > 1:
            columns.append(Column(title, _word(key), numeric=False))
    return columns


def _word(key: str) -> Callable[[Compared], Cell]:
    return lambda one: Cell(str(one.job[key] or NONE), value=one.job[key], css="words")


def setting_column(key: str) -> Column:
    """One key of the configuration."""

    def cell(one: Compared) -> Cell:
        if key not in one.config:
            return Cell(told="not a setting of this run")
        value = one.config[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Cell("null" if value is None else str(value), value=str(value))
        return Cell(f"{value:g}" if isinstance(value, float) else str(value), value=value, css="keep")

    return Column(key, cell, numeric=False)
