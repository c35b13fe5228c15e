"""``comparison.csv``: one row per run, and the meaning of each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from fer_id.evaluation.intervals import Interval as Bounds
from fer_id.evaluation.paired import Comparison
from fer_id.objectives import OBJECTIVES
from fer_id.reporting.comparison.compared_run import Compared
from fer_id.reporting.comparison.elsewhere import columns_of
from fer_id.reporting.comparison.panels import group_columns, lowest_group
from fer_id.runs.metrics import Metrics
from fer_id.runs.records import Interval

Row = dict[str, object]
"""A row of a table: texts, numbers, and None; a setting may also be a list."""

_INTERVALS = ("accuracy", "accuracy_with_missing", "macro_f1", "macro_recall", "macro_precision", "auc", "specificity")
_PER_CLASS = ("precision", "f1", "auc")
_GAP = ("points", "worst", "best", "p_holm", "verdict", "reason")

COLUMNS = {
    "run, folder": "name and folder of the run",
    "provenance, mode, store": "real, simulated or synthetic; what was seen of those tested; the store's name",
    "reference": "whether it is the run that the others are paired with",
    "validation_macro_f1, validation_accuracy, validation_loss": "best epoch on inner validation, the mean over folds; "
    "empty where a fold has not logged it",
    "validation_nll, validation_nll_*": "negative log-likelihood of the inner-validation clips; its difference from "
    "the reference's, clip by clip, the standard error of that, and whether it is better or worse by 2 of these",
    "n_clips, n_missing, n_subjects, coverage": "labelled test clips, those without a prediction, subjects, and the "
    "share of clips that have a prediction",
    ", ".join(_INTERVALS): "on the test clips, in [0, 1]; accuracy_with_missing counts clips without a prediction as "
    "errors, the others leave them out",
    "*_low, *_high": "95 % interval over subjects of the column before",
    "ece": "calibration error of the raw probabilities",
    "recall_*, precision_*, f1_*, auc_*": "of one class, recall with its interval",
    "*_difference": "the run's score minus the reference's, on the same clips",
    "g_av, superiority": "Hedges' g of the subjects' accuracies; share of subjects the run serves better, those served "
    "alike counted half",
    "subjects_better, subjects_worse, subjects_alike": "subjects by how it serves them beside the reference",
    "p, p_holm": "of the test that flips the signs of whole subjects; corrected for all runs tested (Holm)",
    "not_paired": "why there is no difference",
    "lowest_group, lowest_group_accuracy": "group served worst, of those with enough subjects",
    "gap.*.points, gap.*.worst, gap.*.best, gap.*.p_holm, gap.*.verdict, gap.*.reason": "largest minus smallest "
    "accuracy of a column's groups, in [0, 1]; p corrected for the run's columns, not for the number of runs",
    "group.*.accuracy, group.*.n_clips, group.*.n_subjects": "of one group: group.<column>.<value>",
    "on.*.accuracy, on.*.macro_f1, on.*.n_clips, on.*.n_subjects, on.*.provenance": "of the run's model on another "
    "store: on.<store>; empty where it was not judged there",
    "parameters, multiply_adds_per_clip, seconds, peak_memory_bytes, machine, precision": "what it cost",
    "config.*": "settings that are not the same in all runs; empty: not a setting of that run",
}
"""Column names or patterns -> meaning."""


def comparison_table(compared: Sequence[Compared], reference: Compared, keys: Sequence[str]) -> pd.DataFrame:
    """Return one row per run in their order."""
    return pd.DataFrame([_row(run, compared, run is reference, keys) for run in compared])


def _row(run: Compared, compared: Sequence[Compared], reference: bool, keys: Sequence[str]) -> Row:
    metrics = run.metrics
    row: Row = {"run": run.name, "folder": str(run.path), "provenance": run.provenance}
    row |= {"mode": run.job.mode, "store": run.job.store.name, "reference": reference}
    row |= {f"validation_{column.removeprefix('val/')}": run.reached.get(column) for column in OBJECTIVES}
    row["validation_nll"] = run.loss
    if choice := run.choice:
        row |= {"validation_nll_difference": choice.value, "validation_nll_se": choice.error}
        row["validation_nll_verdict"] = choice.verdict
    row |= {name: metrics[name] for name in ("n_clips", "n_missing", "n_subjects", "coverage")}
    for name in _INTERVALS:
        row |= extent(name, metrics[name], metrics.interval(name))
    row |= extent("ece", metrics.calibration["ece"], metrics.calibration.intervals.get("ece"))
    for label, scores in metrics.per_class.items():
        row |= extent(f"recall_{label}", scores.recall, metrics.interval(f"per_class.{label}.recall"))
        row |= {f"{score}_{label}": scores[score] for score in _PER_CLASS}
    row |= _paired(run.paired) if run.paired else {}
    row |= {"p_holm": run.p_holm, "not_paired": run.unpaired}
    row |= _groups(metrics, group_columns(compared))
    row |= _elsewhere(run, columns_of(compared))
    row |= {name: getattr(run.job.cost, name) for name in ("parameters", "multiply_adds_per_clip")}
    row |= {name: getattr(run.job, name) for name in ("seconds", "peak_memory_bytes", "machine", "precision")}
    return row | {f"config.{key}": run.config.get(key) for key in keys}


def extent(name: str, value: float | None, interval: Interval | Bounds | None) -> Row:
    """Return the columns of a value and of the ends of its interval."""
    low, high = (interval.low, interval.high) if interval else (None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _paired(paired: Comparison) -> Row:
    row: Row = {}
    effect = paired.effect
    measured = {f"{name}_difference": (score.value, score.interval) for name, score in paired.differences.items()}
    measured |= {"g_av": (effect.g, effect.g_interval)}
    measured |= {"superiority": (effect.superiority, effect.superiority_interval)}
    for name, (value, interval) in measured.items():
        row |= extent(name, value, interval)
    row |= {f"subjects_{name}": getattr(effect, name) for name in ("better", "worse", "alike")}
    return row | {"p": paired.p}


def _elsewhere(run: Compared, columns: Mapping[str, str]) -> Row:
    """Return the scores of the run on each other store of ``columns`` (fingerprint -> name)."""
    row: Row = {}
    for result in run.elsewhere:
        name, metrics = f"on.{columns[str(result.store.fingerprint)]}", result.metrics
        for score in ("accuracy", "macro_f1"):
            row |= extent(f"{name}.{score}", metrics[score], metrics.interval(score))
        row |= {f"{name}.{fact}": metrics[fact] for fact in ("n_clips", "n_subjects", "provenance")}
    return row


def _groups(metrics: Metrics, names: Sequence[str]) -> Row:
    """Return the gap of every broken-down column, and the scores of each of its groups."""
    if not names:
        return {}
    lowest = lowest_group(metrics)
    row: Row = {"lowest_group": lowest[1] if lowest else None}
    row["lowest_group_accuracy"] = lowest[0] if lowest else None
    for name, column in metrics.columns.items():
        gap = column.gaps["accuracy"]
        row |= {f"gap.{name}.{suffix}": gap["gap" if suffix == "points" else suffix] for suffix in _GAP}
        for value, group in column.groups.items():
            row |= extent(f"group.{name}.{value}.accuracy", group.accuracy, group.intervals.get("accuracy"))
            row |= {f"group.{name}.{value}.{count}": group[count] for count in ("n_clips", "n_subjects")}
    return row
