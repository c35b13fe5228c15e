"""One training from its data to its report, with the cross-fitting trainings that calibrate it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from experiments.interrupts import interruptible
from experiments.settings.loading import plain, usual
from experiments.training.budget import within_budget
from experiments.training.job import describe_job, peak_bytes, reset_peak
from experiments.training.numerics import changeable, settled
from experiments.training.parents import open_parent
from experiments.training.setup import make_model, make_task, open_data, open_sources
from experiments.training.trainer import alone, chosen_callbacks, leave_group, make_trainer, make_wandb_logger, silent
from experiments.verbs.explain import explain_run
from fer_id.callbacks.checkpoint import Start, find_start, forget_previous, resume_at
from fer_id.callbacks.record import WritePredictions
from fer_id.errors import FerIdError
from fer_id.evaluation.config import Fold
from fer_id.loggers.run_logger import RunLogger
from fer_id.models.checkpoint import load_model, write_checkpoint
from fer_id.progress import say
from fer_id.reporting.report import write_evaluation, write_report
from fer_id.runs.run_dir import CROSS_FIT, RunDir
from fer_id.tasks.classification import ClipClassification

if TYPE_CHECKING:
    from pytorch_lightning import Trainer
    from pytorch_lightning.callbacks import Callback
    from pytorch_lightning.loggers import Logger

    from fer_id.loggers.wandb import PrivateWandbLogger
    from fer_id.tasks.features import FeatureBank

SINGLE, FOLD, PART = "train", "fold", "part"
"""Job types beside ``TRIAL``: a single training, a fold of a cross-validation, a part of a cross-fitted training."""


def train_one(
    config: TrainConfig,
    path: Path,
    data: FerDataModule,
    *,
    job_type: str,
    bank: FeatureBank | None = None,
    watchers: Sequence[Callback] = (),
) -> RunDir:
    """Train one run, new or begun, from its data to its report, with the cross-fitting trainings that calibrate it.

    ``auto`` in the configuration is decided here; ``data`` is opened for the fold that is trained; ``job_type`` is
    :data:`SINGLE`, :data:`FOLD`, :data:`PART` or :data:`TRIAL`; folds that start from the same weights share ``bank``.
    """
    config, task, start, sources, callbacks = _prepare(config, path, data, bank)
    job = describe_job(config, data, [data.fold], [start], sources)
    with RunDir.claim(path, plain(config), job, usual(config), changeable(config, path)) as run:
        mirror = make_wandb_logger(config, run, data, job_type)
        began = time.monotonic()
        reset_peak()
        with interruptible():
            _fit(config, run, data, task, [RunLogger(run), mirror], callbacks, watchers)
        curve = run.learning_curve()
        seconds = float(curve["seconds"].iloc[-1]) if len(curve) else time.monotonic() - began
        peak = peak_bytes()
        if config.protocol.cross_fit and job_type != PART:
            seconds += _cross_fit(config, run, data, bank)
            run.require_consent()
        run.write_job(run.job().model_copy(update={"seconds": seconds, "peak_memory_bytes": peak}))
        finish(config, run, mirror, explains=job_type == SINGLE)
        return run


def _prepare(
    config: TrainConfig, path: Path, data: FerDataModule, bank: FeatureBank | None
) -> tuple[TrainConfig, ClipClassification, RunDir | None, list[FerDataModule], list[Callback]]:
    """Return the settled configuration, the task with its weights, the parent run, the parent's data where the strategy
    learns from them again, and the callbacks that measure; every error of settings or data is raised here, before a
    folder is made."""
    import pytorch_lightning as pl

    callbacks = chosen_callbacks(config)
    start = open_parent(config, data, data.fold)  # before anything slow
    sources = open_sources(config, [start])
    for source in sources:
        data.align_with(source)
    data.require_shared_memory()
    config = settled(config, path, data)
    pl.seed_everything(config.seed, verbose=False)  # after the timing, so that the weights do not depend on it
    model, taken = make_model(config, data, start)
    return config, make_task(config, model, data, taken, bank), start, sources, callbacks


def _fit(
    config: TrainConfig,
    run: RunDir,
    data: FerDataModule,
    task: ClipClassification,
    loggers: Sequence[Logger],
    callbacks: Sequence[Callback],
    watchers: Sequence[Callback],
) -> None:
    """Train from the last checkpoint or from the beginning; write the predictions of the best epoch's model."""
    folder = run.path / "checkpoints"
    start = find_start(folder) if config.resume else Start(None, None, [], [])
    trained = run.predicted and start.last == folder / "last.ckpt"  # another epoch would change the best model
    last = resume_at(start, run.path)
    if task.strategy.learns:
        if not trained:
            _learn(make_trainer(config, run, loggers, callbacks, watchers), data, task, last)
        load_model(task.model, run.checkpoint("best"))
    else:
        task.strategy.settle(task.model, data.training_clips())
        write_checkpoint(task, folder / "best.ckpt")
    run.require_consent()  # consent may have been withdrawn during the training
    tester = make_trainer(alone(config), run, loggers, callbacks, [WritePredictions(run)])
    if len(data.fold.test):
        tester.test(task, datamodule=data, verbose=False)
    else:
        tester.predict(task, datamodule=data, return_predictions=False)


def _learn(trainer: Trainer, data: FerDataModule, task: ClipClassification, last: Path | None) -> None:
    """Fit the task, from the checkpoint ``last`` where there is one, and leave the process group."""
    if last is not None:
        load_model(task.model, last)  # for its clear errors; Lightning loads it again, with the optimiser's state
    trainer.fit(task, data, ckpt_path=last, weights_only=True)
    leave_group()


def train_along(config: TrainConfig, run: RunDir) -> None:
    """Train as a further process of a distributed training; the first process does all the rest."""
    folder = run.path / "checkpoints"
    if run.done or (run.predicted and find_start(folder).last):
        return
    with silent():
        data = open_data(config, None)
        config = within_budget(config, data)
        config, task, _, _, callbacks = _prepare(config, run.path, data, None)
    with interruptible():
        _learn(make_trainer(config, run, [], callbacks), data, task, find_start(folder).last if config.resume else None)


def require_parts(config: TrainConfig, data: FerDataModule, fold: Fold) -> None:
    """Raise the errors of the cross-fitting of a fold before anything is trained: see ``open_parent``."""
    for part in data.parts(fold):
        open_parent(config, data, part)


def _cross_fit(config: TrainConfig, run: RunDir, data: FerDataModule, bank: FeatureBank | None) -> float:
    """Add predictions of the calibration children to those of a run, each from a training that never saw the child;
    return the seconds that these trainings took. Finished ones are used as they are."""
    quiet_ = replace(config, logging=replace(config.logging, wandb="disabled"))
    own, seconds = run.predictions(), 0.0
    tables = [own]
    for number in range(config.protocol.cross_fit):
        part = RunDir(run.path / CROSS_FIT / str(number))
        say(f"cross-fitting {number + 1}/{config.protocol.cross_fit}{' (done)' if part.done else ''}")
        if not part.done:
            train_one(quiet_, part.path, open_data(config, data.fold.name, number), job_type=PART, bank=bank)
        predicted = part.predictions()
        tables.append(predicted.loc[predicted["split"] == "test", own.columns].assign(split="calibration"))
        seconds += part.job().seconds or 0.0
    run.write_predictions(pd.concat(tables, ignore_index=True))
    return seconds


def finish(config: TrainConfig, run: RunDir, mirror: PrivateWandbLogger, *, explains: bool) -> None:
    """Write metrics, figures and report, and with ``explains`` the explanation, whose failure is only printed; send to
    W&B what may leave, remove the checkpoints of the earlier epoch, and mark the run as finished."""
    say(f"{run.path}: metrics, figures and report")
    evaluation, figures = write_evaluation(run)
    explained = None
    if explains and config.explain.clips != 0 and not run.job().untested:
        try:  # a training must end without its explanation too
            explanation = explain_run(run, config.explain)
            write_report(run)
            explained = explanation
        except FerIdError as problem:
            say(f"not explained: {problem}")
        except Exception:
            trace = traceback.format_exc()
            say(f"not explained, and that is a fault of fer-id; please report these lines:\n{trace}")
    mirror.log_mean_curve(run.folds)
    if explained is not None:
        mirror.log_explanation(*explained)
    mirror.log_results(evaluation, figures)
    forget_previous(run.path / "checkpoints")
    run.finish()
