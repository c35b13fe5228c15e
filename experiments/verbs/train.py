"""``fer-id train``: one training, or a cross-validation with one run per fold and a parent run over them.

``fer-id adapt`` is a training with other defaults: weights of another run, leave-one-child-out, an adaptation strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from experiments.settings.loading import plain, usual
from experiments.training.budget import within_budget
from experiments.training.job import describe_job
from experiments.training.numerics import changeable, settled
from experiments.training.parents import open_parent
from experiments.training.setup import make_model, open_data, open_sources
from experiments.training.trainer import make_wandb_logger, quiet, rank, validation_note
from experiments.training.training import FOLD, SINGLE, finish, require_parts, train_along, train_one
from fer_id.evaluation.choice import validation_losses
from fer_id.models.config import without_effect
from fer_id.progress import say
from fer_id.reporting.page import duration
from fer_id.reporting.words import counted
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.features import FeatureBank


def train(config: TrainConfig) -> str | None:
    """Train (or adapt), predict and evaluate; an interrupted run is resumed. Return the main scores and the path of the
    report; None in the other processes of a training on several devices."""
    quiet()
    path = config.folder
    run = RunDir(path)
    run.require_consent()
    if rank(config) > 0:
        train_along(config, run)
        return None
    changed = run.changed(plain(config), usual(config)) if run.done else []
    if config.trainer.budget is not None:  # the epochs follow from it
        changed = [key for key in changed if key != "trainer.max_epochs"]
    if run.done and not changed:
        say(f"{path} is finished already; remove it or choose another name= to train again")
        return outcome(run)
    for line in without_effect(config.model):
        say(line)
    data = open_data(config, None)
    config = within_budget(config, data)
    if note := validation_note(config.trainer):
        say(note)
    if config.protocol.name in ("kfold", "loso"):
        return outcome(_cross_validate(config, path, data))
    require_parts(config, data, data.fold)
    return outcome(train_one(config, path, data, job_type=SINGLE))


def outcome(run: RunDir) -> str:
    """Return the main scores and the path of the report."""
    metrics, job = run.metrics(), run.job()
    scores = _validation_text(run) if job.untested else scores_text(metrics)
    named = "" if job.mode == "inductive" else f", {job.mode}"
    took = f", trained in {duration(job.seconds)}" if job.seconds else ""
    return f"{scores}{named}{took}\n{run.path / 'report.html'}"


def _validation_text(run: RunDir) -> str:
    """Return accuracy and negative log-likelihood of inner validation, of a run that is not judged on test clips."""
    table = run.predictions()
    losses = validation_losses(table, run.label_space())
    right = (table["predicted"] == table["label"])[table["label"].notna() & table["predicted"].notna()]
    of = counted(len(losses), "clip")
    return f"not judged on test; inner validation: accuracy {right.mean():.3f}, NLL {losses['nll'].mean():.4f} of {of}"


def scores_text(metrics: Metrics) -> str:
    """Return accuracy and macro-F1 of ``metrics.json`` with the number of test clips, as text."""
    scores = {"accuracy": metrics.accuracy, "macro-F1": metrics.macro_f1}
    numbers = [f"{name} {'undefined' if value is None else format(value, '.3f')}" for name, value in scores.items()]
    return f"{', '.join(numbers)} on {metrics.n_clips} {metrics.provenance} test clips"


def _cross_validate(config: TrainConfig, path: Path, data: FerDataModule) -> RunDir:
    """Train every fold without a finished run, each in its own RunDir; pool their predictions in the parent run."""
    starts = [open_parent(config, data, fold) for fold in data.folds]  # before anything slow
    for fold in data.folds:
        require_parts(config, data, fold)
    data.require_shared_memory()
    sources = open_sources(config, starts)
    make_model(config, data, starts[0])  # weights that do not fit leave nothing behind
    config = settled(config, path, data)
    job = describe_job(config, data, data.folds, starts, sources)
    with RunDir.claim(path, plain(config), job, usual(config), changeable(config, path)) as parent:
        banks = {start.path: FeatureBank() for start in starts if start is not None}  # mostly one run for all folds
        folds = []
        for number, (fold, start) in enumerate(zip(data.folds, starts, strict=True), start=1):
            run = RunDir(path / "folds" / fold.name)
            say(f"fold {number}/{len(data.folds)}: {fold.name}{' (done)' if run.done else ''}")
            if not run.done:
                bank = None if start is None else banks[start.path]
                train_one(config, run.path, open_data(config, fold.name), job_type=FOLD, bank=bank)
            folds.append(run)
        pool_folds(config, parent, folds, data)
        return parent


def pool_folds(config: TrainConfig, parent: RunDir, folds: Sequence[RunDir], data: FerDataModule) -> None:
    """Write the predictions of all folds into the parent, with its metrics, figures and report, and finish it."""
    parent.write_predictions(pd.concat([fold.predictions() for fold in folds], ignore_index=True))
    seconds = sum(fold.job().seconds or 0.0 for fold in folds)
    parent.write_job(parent.job().model_copy(update={"seconds": seconds}))
    finish(config, parent, make_wandb_logger(config, parent, data, "study"), explains=True)
