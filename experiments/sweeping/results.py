"""Results of a study: a table of all trials, a figure, and a text summary."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from experiments.sweeping.ledger import FAILED, FINISHED, STOPPED, Trial, place
from experiments.sweeping.parameters import CHOICE, Value, text, value_text
from experiments.sweeping.study import Study
from experiments.sweeping.trial import LOG
from experiments.verbs.train import scores_text
from fer_id.csv_text import table_csv
from fer_id.errors import RunError
from fer_id.files import atomic_write_bytes, atomic_write_text
from fer_id.reporting.sweep_figures import Axis, draw_sweep
from fer_id.runs.run_dir import RunDir

SHOWN = 5
MOST_FOLDS = 40


def table(study: Study, provenance: str) -> pd.DataFrame:
    """Return a row per trial: number, fold, status, objective (under its name), cost, parameters, job, folder."""
    rows = [
        {
            "number": trial.number,
            "fold": trial.fold,
            "status": trial.status,
            study.plan.sweep.metric: trial.objective,
            "epochs": trial.epochs,
            "seconds": trial.seconds,
            **{f"param:{key}": value_text(value) for key, value in trial.parameters.items()},
            "provenance": provenance,
            "job": trial.job,
            "run": str(study.plan.path(trial.fold, trial.job)) if trial.job else None,
            "reason": trial.reason,
        }
        for fold in study.folds
        for trial in study.ledger.of(fold)
    ]
    return pd.DataFrame(rows)


def write_results(study: Study, provenance: str) -> None:
    """Write ``sweep.csv`` and ``sweep.png`` into the folder of the study."""
    atomic_write_text(study.plan.folder / "sweep.csv", table_csv(table(study, provenance)))
    sweep = study.plan.sweep
    axes = [
        Axis(parameter.key, parameter.log, parameter.kind == CHOICE)
        for parameter in sweep.parameters
        if len(parameter.probes) > 1
    ]
    trials = [trial for fold in study.folds for trial in study.ledger.of(fold)]
    picture = draw_sweep(
        study.plan.study,
        pd.DataFrame(
            [
                {
                    "number": trial.number,
                    "fold": trial.fold,
                    "status": trial.status,
                    "objective": trial.objective,
                    **{axis.key: _on_axis(trial, axis) for axis in axes},
                }
                for trial in trials
            ]
        ),
        axes,
        metric=sweep.metric,
        goal=sweep.goal,
        provenance=provenance,
    )
    atomic_write_bytes(study.plan.folder / "sweep.png", picture)


def _on_axis(trial: Trial, axis: Axis) -> object:
    value = trial.parameters[axis.key]
    return value_text(value) if axis.choice else value


def summary_text(study: Study, selected: RunDir | None, provenance: str) -> str:
    """Return the summary of a study for the terminal."""
    counts = Counter(trial.status for trial in study.ledger.trials.values())
    words = {FINISHED: "done", STOPPED: "stopped early", FAILED: "failed"}
    outcomes = ", ".join(f"{counts[status]} {word}" for status, word in words.items() if counts[status])
    sweep, folder = study.plan.sweep, study.plan.folder
    lines = [
        f"{folder}: {outcomes}; {sweep.metric} on inner validation, {provenance} data",
        *(_by_fold(study) if study.folds != [None] else _by_rank(study)),
        f"{folder / 'sweep.csv'}  {folder / 'sweep.png'}",
    ]
    if selected is not None:
        lines.append(f"selected in every fold by its own inner validation: {scores_text(selected.metrics())}")
        lines.append(str(selected.path / "report.html"))
    return "\n".join(lines)


def _by_rank(study: Study) -> list[str]:
    """Return lines on the best trials, and the commands that continue with the first."""
    ranked = study.ranked(None)
    if not ranked:
        return ["no trial finished"]
    best = ranked[0]
    path = study.plan.path(None, best.job)
    return [
        *_rows(ranked[:SHOWN], study),
        f"best: {path}  (its page: {path / 'report.html'})",
        f"  to look into it:          fer-id explain {path}",
        f"  the same in other trainings: {shlex.join(text(key, value) for key, value in best.parameters.items())}",
    ]


def _by_fold(study: Study) -> list[str]:
    """Return lines on the winner of each fold, and how often each value won."""
    winners = [leader for fold in study.folds if (leader := study.leader(fold)) is not None]
    lines = _rows(winners[:MOST_FOLDS], study)
    for parameter in study.plan.sweep.parameters:
        if parameter.kind == CHOICE and len(parameter.choices) > 1:
            won = Counter(text(parameter.key, trial.parameters[parameter.key]) for trial in winners)
            lines.append("  chosen: " + ", ".join(f"{value} in {count} folds" for value, count in won.most_common()))
    return lines


def _rows(trials: Sequence[Trial], study: Study) -> list[str]:
    keys = [parameter.key for parameter in study.plan.sweep.parameters]
    cells = [["trial", study.plan.sweep.metric, *keys, "run"]]
    for trial in trials:
        name = str(trial.number) if trial.fold is None else f"{trial.fold}: {trial.number}"
        values = [_number(trial.parameters[key]) for key in keys]
        cells.append([name, f"{trial.objective:.4f}", *values, place(trial.fold, trial.job)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]


def _number(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def require_whole(study: Study, text: str) -> None:
    """Raise RunError where trials failed: the reason and log of each, with the summary of the study."""
    failed = [trial for trial in study.ledger.trials.values() if trial.status == FAILED]
    if not failed:
        return
    lines = []
    for trial in failed[:20]:
        first = ((trial.reason or "").strip().splitlines() or ["no reason"])[0]
        log = f" ({study.plan.path(trial.fold, trial.job) / LOG})" if trial.job else ""
        lines.append(f"  - {trial.title}: {first}{log}")
    if len(failed) > 20:
        lines.append(f"  ... and {len(failed) - 20} more")
    raise RunError(
        f"{len(failed)} of {len(study.ledger.trials)} trials failed, the others are whole:\n"
        + "\n".join(lines)
        + f"\n{text}\nWhat failed is tried again by: fer-id sweep resume {study.plan.folder}"
    )
