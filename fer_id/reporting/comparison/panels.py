"""Cells, columns and column groups of a comparison table; columns of classes, subgroups, cost and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fer_id.evaluation.groups.gaps import GAP
from fer_id.reporting.comparison.compared_run import Compared
from fer_id.reporting.page import duration
from fer_id.reporting.words import gap_words, percent, within
from fer_id.runs.metrics import GroupScores, Metrics

NONE = "–"
_LEAST_SPREAD = 0.1  # minimum range of the shades, so that small differences stay pale


@dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Attributes:
        text: main text.
        small: small text below it.
        value: sort key; None sorts last.
        tooltip: shown under the pointer.
        css: further CSS classes.
        share: darkness of its shade, in [0, 1]; None: no shade.
        strip: value and interval to draw, each in [0, 1].
    """

    text: str = NONE
    small: str = ""
    value: float | str | None = None
    tooltip: str = ""
    css: str = ""
    share: float | None = None
    strip: tuple[float, Mapping[str, float] | None] | None = None


@dataclass(frozen=True)
class Column:
    """A column: title, function from a run to its cell, and meaning."""

    title: str
    cell: Callable[[Compared], Cell]
    meaning: str = ""
    numeric: bool = True
    sortable: bool = True


@dataclass(frozen=True)
class Group:
    """Columns that are shown or hidden together by the checkbox ``key``; ``visible``: whether they are at first."""

    key: str
    title: str
    columns: list[Column]
    visible: bool = True


def number_cell(value: float | None, form: Callable[[float], str] = "{:,}".format) -> Cell:
    """Return a cell with a number, formatted with thousands separators or by ``form``."""
    return Cell() if value is None else Cell(form(value), value=value)


def share_cell(share: float | None, small: str = "", digits: int = 1) -> Cell:
    """Return a cell with a share in per cent."""
    return Cell() if share is None else Cell(f"{100 * share:.{digits}f}", small, share)


def class_columns(compared: Sequence[Compared], labels: Sequence[str]) -> list[Column]:
    """Return a heat map over runs and classes, shaded from its lowest recall to its highest."""
    known = [row.recall for run in compared for row in run.metrics.per_class.values() if row.recall is not None]
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
    meaning = "accuracy of the group served worst, of those with enough subjects"
    return [Column("Lowest group, %", _lowest_group, meaning), *map(_gap, names)] if names else []


def lowest_group(metrics: Metrics) -> tuple[float, str, GroupScores] | None:
    """Return accuracy, name and numbers of the group with the lowest accuracy, among groups with enough subjects."""
    enough = [
        (group.accuracy, f"{name} {value}", group)
        for name, column in metrics.columns.items()
        for value, group in column.groups.items()
        if group.accuracy is not None and metrics.subgroups and group.n_subjects >= metrics.subgroups.min_subjects
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
        text, small = NONE, gap.verdict
        if gap.gap is not None:
            text, small = f"{100 * gap.gap:.1f}", f"{gap.worst} lowest; {gap.verdict}"
        return Cell(text, small, gap.gap, tooltip=f"{name}: {gap_words(gap, 'accuracy')}", css=css)

    meaning = "largest minus smallest accuracy of its groups, and whether that is shown"
    return Column(f"{name}: gap, points", cell, meaning, numeric=False)


def cost_columns(compared: Sequence[Compared]) -> list[Column]:
    """Return size, time and memory; precision and machine where they differ between runs."""

    def memory(run: Compared) -> Cell:
        return number_cell(run.job.peak_memory_bytes, lambda peak: f"{peak / 1e9:.2f}")

    columns = [
        Column("Parameters", lambda run: number_cell(run.job.cost.parameters)),
        Column("Multiply-adds a clip", lambda run: number_cell(run.job.cost.multiply_adds_per_clip)),
        Column(
            "Training time",
            lambda run: number_cell(run.job.seconds, duration),
            "of all folds, without what the run started from",
        ),
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
