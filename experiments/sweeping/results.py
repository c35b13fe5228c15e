"""Results of a study: a table of all trials, a figure, a text summary, and the cross-validation of selected trials."""

from __future__ import annotations

import os
import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace

import pandas as pd

from experiments.config import RunsConfig
from experiments.settings.loading import plain, read
from experiments.sweeping.ledger import FAILED, FINISHED, SELECTED, STOPPED, Trial, place
from experiments.sweeping.parameters import CHOICE, Value, text, value_text
from experiments.sweeping.plan import SCHEMAS
from experiments.sweeping.study import Study
from experiments.sweeping.trial import LOG
from experiments.training.job import describe_job
from experiments.training.parents import open_parent
from experiments.training.setup import open_data, open_sources
from experiments.verbs.train import pool_folds, scores_text
from fer_id.csv_text import table_csv
from fer_id.errors import RunError
from fer_id.files import atomic_write_bytes, atomic_write_text
from fer_id.files import plain as as_json
from fer_id.progress import say
from fer_id.reporting.sweep_figures import Axis, draw_sweep
from fer_id.runs.run_dir import RunDir

LEFT_OUT = ("wandb", "explain", LOG, ".lock")
"""Files of a winning trial that the selected run does not take over: its W&B mirror, its explanations, its log."""

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
            "run": str(study.ledger.folder_of(trial)) if trial.job else None,
            "reason": trial.reason,
        }
        for trial in _trials(study)
    ]
    return pd.DataFrame(rows)


def write_results(study: Study, provenance: str) -> None:
    """Write ``sweep.csv`` and ``sweep.png`` into the folder of the study."""
    rows, sweep = table(study, provenance), study.plan.sweep
    atomic_write_text(study.plan.folder / "sweep.csv", table_csv(rows))
    points = rows[["number", "fold", "status"]].assign(objective=rows[sweep.metric])
    axes = []
    for parameter in sweep.parameters:
        if len(parameter.probes) > 1:
            axes.append(Axis(parameter.key, parameter.log, parameter.kind == CHOICE))
            values = [trial.parameters[parameter.key] for trial in _trials(study)]
            points[parameter.key] = pd.Series(list(map(value_text, values)) if parameter.kind == CHOICE else values)
    picture = draw_sweep(study.plan.study, points, axes, metric=sweep.metric, goal=sweep.goal, provenance=provenance)
    atomic_write_bytes(study.plan.folder / "sweep.png", picture)


def _trials(study: Study) -> list[Trial]:
    return [trial for fold in study.folds for trial in study.ledger.of(fold)]


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
    path = study.ledger.folder_of(best)
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
        log = f" ({study.ledger.folder_of(trial) / LOG})" if trial.job else ""
        lines.append(f"  - {trial.title}: {trial.why}{log}")
    if len(failed) > 20:
        lines.append(f"  ... and {len(failed) - 20} more")
    raise RunError(
        f"{len(failed)} of {len(study.ledger.trials)} trials failed, the others are whole:\n"
        + "\n".join(lines)
        + f"\n{text}\nWhat failed is tried again by: fer-id sweep resume {study.plan.folder}"
    )


def select(study: Study) -> RunDir | None:
    """Join the winning trials of all folds into one cross-validation, ``runs/<study>/selected``; return None where a
    fold has no winner.

    No fold uses another fold's validation: each test child is in the validation of other folds, so a configuration
    chosen by the mean over folds would have been chosen by the children it is tested on.
    """
    winners = {str(fold): study.leader(fold) for fold in study.folds}
    chosen = {fold: trial for fold, trial in winners.items() if trial is not None}
    if missing := [fold for fold in winners if fold not in chosen]:
        say(f"nothing is selected: no trial finished in {len(missing)} of {len(winners)} folds")
        return None
    path, record = study.plan.folder / SELECTED, as_json({fold: asdict(trial) for fold, trial in chosen.items()})
    run = RunDir(path)
    if run.done and run.job().selected == record:
        return run
    shutil.rmtree(path, ignore_errors=True)  # made from other trials, or incomplete
    plan = study.plan
    runs = {fold: RunDir(study.ledger.folder_of(trial)) for fold, trial in chosen.items()}
    configs = {fold: read(SCHEMAS[plan.sweep.verb], run.path / "config.yaml") for fold, run in runs.items()}
    usual = Counter(trial.job for trial in chosen.values()).most_common(1)[0][0]
    fold = next(fold for fold, trial in chosen.items() if trial.job == usual)
    # Of the folds' configurations the most frequent.
    config = replace(configs[fold], name=f"{plan.study}/{SELECTED}", runs=RunsConfig(plan.root))
    data = open_data(config, None)
    starts = [open_parent(configs[fold.name], data, fold) for fold in data.folds]
    job = describe_job(config, data, data.folds, starts, open_sources(config, starts))
    with RunDir.claim(path, plain(config), job.model_copy(update={"selected": record})) as parent:
        folds = [RunDir(path / "folds" / fold.name) for fold in data.folds]
        for to in folds:
            ignored = shutil.ignore_patterns(*LEFT_OUT)
            shutil.copytree(runs[to.path.name].path, to.path, ignore=ignored, copy_function=_link)
        pool_folds(config, parent, folds, data)
        return parent


def _link(source: str, to: str) -> None:
    """Link a run's file into another folder, or copy it where the disk has no hard links. Files of runs are replaced,
    never changed, so neither folder is affected by changes to the other."""
    try:
        os.link(source, to)
    except OSError:
        shutil.copy2(source, to)
