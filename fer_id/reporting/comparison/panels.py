"""Columns of a comparison that depend on the runs: classes, subgroups, cost, and differing settings."""

from __future__ import annotations

from collections.abc import Sequence

from fer_id.evaluation.groups.gaps import GAP
from fer_id.reporting.comparison.cells import NONE, Cell, Column, counted_cell
from fer_id.reporting.comparison.compared_run import Compared
from fer_id.reporting.group_words import gap_words
from fer_id.reporting.page import duration
from fer_id.reporting.words import percent, within
from fer_id.runs.metrics import GroupScores, Metrics

_LEAST_SPREAD = 0.1  # minimum range of the shades, so that small differences stay pale


def class_columns(compared: Sequence[Compared], labels: Sequence[str]) -> list[Column]:
    """Return a heat map over runs and classes, shaded from its lowest recall to its highest."""
    known = [row["recall"] for run in compared for row in run.metrics.per_class.values() if row["recall"] is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return [_recall(label, low, max(high - low, _LEAST_SPREAD)) for label in labels]


def _recall(label: str, low: float, spread: float) -> Column:
    def cell(run: Compared) -> Cell:
        recall = run.metrics.per_class[label].recall
        if recall is None:
            return Cell(tooltip="no test clip of this class has a prediction")
        tooltip = f"{label}: {percent(recall)}, {within(run.metrics.interval(f'per_class.{label}.recall'))}"
        return Cell(f"{100 * recall:.0f}", value=recall, tooltip=tooltip, share=(recall - low) / spread)

    return Column(label, cell, "share of its clips that are recognised")


def group_columns(compared: Sequence[Compared]) -> list[str]:
    """Return the columns that any run was broken down by, in their order."""
    return list(dict.fromkeys(name for run in compared for name in run.metrics.columns))


def gap_columns(compared: Sequence[Compared]) -> list[Column]:
    """Return the group with the lowest accuracy, and the gap of every column that any run was broken down by."""
    names = group_columns(compared)
    lowest = [
        Column("Lowest group, %", _lowest_group, "accuracy of the group served worst, of those with enough subjects")
    ]
    return [*(lowest if names else []), *(_gap(name) for name in names)]


def lowest_group(metrics: Metrics) -> tuple[float, str, GroupScores] | None:
    """Return accuracy, name and numbers of the group with the lowest accuracy, among groups with enough subjects."""
    subgroups = metrics.subgroups
    if not subgroups:
        return None
    enough = [
        (group.accuracy, f"{name} {value}", group)
        for name, column in subgroups.columns.items()
        for value, group in column.groups.items()
        if group.accuracy is not None and group.n_subjects >= subgroups.min_subjects
    ]
    return min(enough, key=lambda entry: entry[0], default=None)


def _lowest_group(run: Compared) -> Cell:
    lowest = lowest_group(run.metrics)
    if lowest is None:
        return Cell()
    accuracy, name, group = lowest
    extent = within(group.intervals.get("accuracy"))
    tooltip = f"{name}: {percent(accuracy)} of {group.n_clips} clips of {group.n_subjects} subjects, {extent}"
    return Cell(f"{100 * accuracy:.0f}", name, accuracy, tooltip=tooltip)


def _gap(name: str) -> Column:
    def cell(run: Compared) -> Cell:
        column = run.metrics.columns.get(name)
        if column is None:
            return Cell(tooltip=f"not broken down by {name}")
        gap = column.gaps["accuracy"]
        css = "words sure" if gap.verdict == GAP else "words"
        tooltip = f"{name}: {gap_words(gap, 'accuracy')}"
        if gap.gap is None:
            return Cell(NONE, gap.verdict, tooltip=tooltip, css=css)
        small = f"{gap.worst} lowest; {gap.verdict}"
        return Cell(f"{100 * gap.gap:.1f}", small, gap.gap, tooltip=tooltip, css=css)

    meaning = "largest minus smallest accuracy of its groups, and whether that is shown"
    return Column(f"{name}: gap, points", cell, meaning, numeric=False)


def cost_columns(compared: Sequence[Compared]) -> list[Column]:
    """Return size, time and memory; precision and machine where they differ between runs."""

    def memory(run: Compared) -> Cell:
        peak = run.job.peak_memory_bytes
        return Cell() if peak is None else Cell(f"{peak / 1e9:.2f}", value=peak)

    def seconds(run: Compared) -> Cell:
        took = run.job.seconds
        return Cell() if took is None else Cell(duration(took), value=took)

    columns = [
        Column("Parameters", lambda run: counted_cell(run.job.cost.parameters)),
        Column("Multiply-adds a clip", lambda run: counted_cell(run.job.cost.multiply_adds_per_clip)),
        Column("Training time", seconds, "of all folds, without what the run started from"),
        Column("Peak memory, GB", memory, "of the accelerator, or of the whole process without one"),
    ]
    if len({run.job.precision for run in compared}) > 1:
        columns.append(Column("Precision", lambda run: _word(run.job.precision), numeric=False))
    if len({run.job.machine for run in compared}) > 1:
        columns.append(Column("Machine", lambda run: _word(run.job.machine), numeric=False))
    return columns


def _word(text: str | None) -> Cell:
    return Cell(text or NONE, value=text, css="words")


def setting_column(key: str) -> Column:
    """Return the column of a configuration key."""

    def cell(run: Compared) -> Cell:
        if key not in run.config:
            return Cell(tooltip="not a setting of this run")
        value = run.config[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Cell("null" if value is None else str(value), value=str(value))
        return Cell(f"{value:g}" if isinstance(value, float) else str(value), value=value, css="keep")

    return Column(key, cell, numeric=False)
