"""The honest result of a search within folds: every outer fold is judged by the trial that its own validation chose."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from experiments.settings.loading import plain, read
from experiments.sweeping.ledger import Trial
from experiments.sweeping.plan import Plan, named, schema
from experiments.sweeping.study import Study
from experiments.sweeping.trial import LOG
from experiments.training.job import describe_job
from experiments.training.parents import open_parent
from experiments.training.setup import open_data, open_source
from experiments.verbs.train import pool_folds
from fer_id.progress import say
from fer_id.runs.run_dir import RunDir

NAME = "selected"
LEFT_OUT = ("wandb", "explain", LOG, ".lock")
"""What a winner keeps to itself: its mirror, its log."""


def select(study: Study) -> RunDir | None:
    """The winners of all folds as one cross-validation, ``runs/<study>/selected``; None where a fold has none.

    No fold looks at another's validation: each test child validates other folds, so that a configuration chosen by
    their mean would have been chosen by those it is judged on.
    """
    winners = {str(fold): study.leader(fold) for fold in study.folds}
    chosen = {fold: trial for fold, trial in winners.items() if trial is not None}
    if missing := [fold for fold in winners if fold not in chosen]:
        say(f"nothing is selected: no trial finished in {len(missing)} of {len(winners)} folds")
        return None
    path, told = study.plan.folder / NAME, {fold: asdict(trial) for fold, trial in chosen.items()}
    run = RunDir(path)
    if run.done and run.job().get("selected") == plain_trials(told):
        return run
    shutil.rmtree(path, ignore_errors=True)  # made of the trials alone; of others, or cut short
    return _pooled(study.plan, chosen, path)


def plain_trials(told: dict[str, dict[str, object]]) -> dict[str, object]:
    """As they come back from JSON, where tuples are lists."""
    from fer_id.files import plain as as_json

    made: dict[str, object] = as_json(told)
    return made


def _pooled(plan: Plan, chosen: dict[str, Trial], path: Path) -> RunDir:
    runs = {fold: RunDir(plan.path(fold, trial.job)) for fold, trial in chosen.items()}
    configs = {fold: read(schema(plan.sweep.verb), run.path / "config.yaml") for fold, run in runs.items()}
    usual = Counter(trial.job for trial in chosen.values()).most_common(1)[0][0]
    of = next(fold for fold, trial in chosen.items() if trial.job == usual)
    config = named(configs[of], plan, NAME)  # of the folds each has its own; this is the most frequent one
    data = open_data(config, None)
    starts = [open_parent(configs[fold.name], data, fold) for fold in data.folds]
    distinct = {start.path: start for start in starts if start is not None}.values()
    sources = [source for start in distinct if (source := open_source(config, start)) is not None]
    job = describe_job(config, data, data.folds, starts, sources)
    told = plain_trials({fold: asdict(trial) for fold, trial in chosen.items()})
    with RunDir.claim(path, plain(config), job | {"selected": told}) as parent:
        folds = [_linked(runs[fold.name], path / "folds" / fold.name) for fold in data.folds]
        pool_folds(config, parent, folds, data)
        return parent


def _linked(run: RunDir, to: Path) -> RunDir:
    """A run at another place: the same files, not copies, where the disk can do that. Files of runs are replaced, never
    changed, so neither place feels what is done to the other."""
    ignore = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(run.path, to, ignore=ignore, copy_function=_link)
    return RunDir(to)


def _link(source: str, to: str) -> None:
    try:
        os.link(source, to)
    except OSError:
        shutil.copy2(source, to)
