"""Result of a search within folds: each outer fold is tested with the trial that its own inner validation selected."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from experiments.config import RunsConfig
from experiments.settings.loading import plain, read
from experiments.sweeping.ledger import Trial
from experiments.sweeping.plan import Plan, schema
from experiments.sweeping.study import Study
from experiments.sweeping.trial import LOG
from experiments.training.job import describe_job
from experiments.training.parents import open_parent
from experiments.training.setup import open_data, open_sources
from experiments.verbs.train import pool_folds
from fer_id.files import plain as as_json
from fer_id.progress import say
from fer_id.runs.run_dir import RunDir

NAME = "selected"
LEFT_OUT = ("wandb", "explain", LOG, ".lock")
"""Files of a winning trial that the selected run does not take over: its W&B mirror, its explanations, its log."""


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
    path, record = study.plan.folder / NAME, as_json({fold: asdict(trial) for fold, trial in chosen.items()})
    run = RunDir(path)
    if run.done and run.job().selected == record:
        return run
    shutil.rmtree(path, ignore_errors=True)  # made from other trials, or incomplete
    return _pooled(study.plan, chosen, path, record)


def _pooled(plan: Plan, chosen: dict[str, Trial], path: Path, record: object) -> RunDir:
    runs = {fold: RunDir(plan.path(fold, trial.job)) for fold, trial in chosen.items()}
    configs = {fold: read(schema(plan.sweep.verb), run.path / "config.yaml") for fold, run in runs.items()}
    usual = Counter(trial.job for trial in chosen.values()).most_common(1)[0][0]
    fold = next(fold for fold, trial in chosen.items() if trial.job == usual)
    # Of the folds' configurations the most frequent.
    config = replace(configs[fold], name=f"{plan.study}/{NAME}", runs=RunsConfig(plan.root))
    data = open_data(config, None)
    starts = [open_parent(configs[fold.name], data, fold) for fold in data.folds]
    job = describe_job(config, data, data.folds, starts, open_sources(config, starts))
    with RunDir.claim(path, plain(config), job.model_copy(update={"selected": record})) as parent:
        folds = [_linked(runs[fold.name], path / "folds" / fold.name) for fold in data.folds]
        pool_folds(config, parent, folds, data)
        return parent


def _linked(run: RunDir, to: Path) -> RunDir:
    """Link a run's files into another folder (copy them where the disk has no hard links). Files of runs are replaced,
    never changed, so neither folder is affected by changes to the other."""
    ignore = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(run.path, to, ignore=ignore, copy_function=_link)
    return RunDir(to)


def _link(source: str, to: str) -> None:
    try:
        os.link(source, to)
    except OSError:
        shutil.copy2(source, to)
