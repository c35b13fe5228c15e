"""Comparison of many runs on one page, for users without W&B: ``index.html`` and ``comparison.csv``.

The first run is the reference of the paired differences. The rows start sorted by the inner-validation score, the only
score a run may be chosen by; a click sorts by another column. The page fetches nothing. Groups of columns
are shown and hidden without JavaScript; sorting and filtering need it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_id.csv_text import table_csv
from fer_id.errors import Problems
from fer_id.files import atomic_write_text
from fer_id.objectives import OBJECTIVES
from fer_id.reporting import words
from fer_id.reporting.comparison import figures as comparison_figures
from fer_id.reporting.comparison.cells import Group
from fer_id.reporting.comparison.columns import MOST_SETTINGS, alike, strip_bounds, table_groups
from fer_id.reporting.comparison.compared_run import (
    Compared,
    better_first,
    compare_with_first,
    differing_keys,
    monitor_of,
)
from fer_id.reporting.comparison.csv_table import COLUMNS, comparison_table
from fer_id.reporting.comparison.sentences import choice, summary
from fer_id.reporting.page import data_uri, write_page
from fer_id.reporting.style import svg
from fer_id.runs.run_dir import RunDir


@dataclass(frozen=True)
class LeftOut:
    """A named run that is not compared.

    Attributes:
        name: name of the run.
        status: ``stopped``, ``failed``, ``unfinished`` or ``quarantined``.
        reason: reason of that status.
    """

    name: str
    status: str
    reason: str


def write_comparison(
    runs: Sequence[RunDir],
    out: Path,
    *,
    names: Mapping[Path, str] | None = None,
    left_out: Sequence[LeftOut] = (),
    swept: Sequence[str] = (),
    problems: Problems | None = None,
) -> Path:
    """Write the comparison of finished runs of one label space.

    Args:
        runs: the first is the reference of the paired differences.
        out: folder; its ``index.html`` and ``comparison.csv`` are replaced.
        names: names of the runs, by resolved folder; the others get the shortest distinct names.
        left_out: runs to list as not compared.
        swept: dotted keys of the configuration that a sweep varied.
        problems: earlier problems, reported together with those of this function.

    Returns:
        The path of ``index.html``.

    Raises:
        RunError: no run, runs of different label spaces, or files that are missing or damaged (all listed).
    """
    compared = compare_with_first(runs, names, problems)
    reference = compared[0]
    monitor = monitor_of(compared)
    compared = better_first(compared, monitor)
    best = choice(compared, reference, monitor)
    keys = differing_keys(compared, swept)
    children = any(run.people and run.provenance == "real" for run in compared)
    baselines = words.baselines(reference.metrics)
    low, high = bounds = strip_bounds(compared, baselines[1] if baselines else None)
    groups = table_groups(compared, reference, monitor, keys, swept, bounds)
    permissions = 0o600 if children else 0o644
    table = comparison_table(compared, reference, keys)
    atomic_write_text(out / "comparison.csv", table_csv(table), mode=permissions)
    return write_page(
        out / "index.html",
        "compare.html.j2",
        mode=permissions,
        rows=[_row(run, reference, best, groups, keys, out) for run in compared],
        groups=groups,
        reference=reference,
        summary=summary(compared, reference, monitor),
        score=OBJECTIVES[monitor],
        labels=reference.metrics.labels,
        provenances=sorted({run.provenance for run in compared}),
        modes=sorted({run.job.mode for run in compared}),
        children=children,
        baselines=baselines,
        mark=(baselines[1] - low) / (high - low) if baselines else None,
        alike=alike(compared) if len(compared) > 1 else [],
        n_tested=sum(run.p_holm is not None for run in compared),
        other_store=sum(run.paired is not None and _elsewhere(run, reference) for run in compared),
        unrecorded=sum(monitor not in run.reached for run in compared),
        same_keys=len({key for run in compared for key in run.config}) - len(keys),
        left_out=left_out,
        explained=COLUMNS,
        pictures=_pictures(compared, reference, monitor, [key for key in keys if key in swept] or keys[:MOST_SETTINGS]),
    )


def _row(
    run: Compared,
    reference: Compared,
    best: Compared | None,
    groups: Sequence[Group],
    keys: Sequence[str],
    out: Path,
) -> dict[str, Any]:
    settings = [f"{key}={run.config[key]}" for key in keys if key in run.config]
    mode = run.job.mode
    return {
        "name": run.name,
        "report": _report_link(run.path, out),
        "about": run.provenance if mode == "inductive" else f"{run.provenance}, {mode}",
        "marks": [word for word, other in (("reference", reference), ("chosen", best)) if other is run],
        "found_by": " ".join([run.name, run.path.name, run.provenance, mode, *settings]).lower(),
        "cells": [(group.key, column.numeric, column.cell(run)) for group in groups for column in group.columns],
    }


def _pictures(compared: Sequence[Compared], reference: Compared, monitor: str, keys: Sequence[str]) -> dict[str, str]:
    provenances = sorted({run.provenance for run in compared})
    recorded = [run for run in compared if monitor in run.reached]
    drawn = {
        "learning": comparison_figures.learning_curves(
            {run.name: [run.curves[monitor]] for run in recorded},
            provenances,
            reached={run.name: run.reached[monitor] for run in recorded},
            score=OBJECTIVES[monitor],
            reference=reference.name,
        ),
        "settings": comparison_figures.settings_figure(
            {key: _plottable([run.config.get(key) for run in recorded]) for key in keys},
            [run.reached[monitor] for run in recorded],
            provenances,
            OBJECTIVES[monitor],
        ),
    }
    return {name: data_uri(svg(figure)) for name, figure in drawn.items() if figure is not None}


def _plottable(values: Sequence[Any]) -> list[Any]:
    """Return numbers unchanged where all values are numbers, else texts."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return list(values) if numbers else [str(value) for value in values]


def _elsewhere(run: Compared, reference: Compared) -> bool:
    """Return whether the run was tested on another store: equal clip names need not mean equal pictures."""
    return run.job.store.fingerprint != reference.job.store.fingerprint


def _report_link(run: Path, out: Path) -> str | None:
    report = run.resolve() / "report.html"
    return Path(os.path.relpath(report, out.resolve())).as_posix() if report.is_file() else None
