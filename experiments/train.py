"""``fer-id train``: data, model, trainer, fit, predict, evaluate; one RunDir, or one a fold and one over them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from experiments.explain import explain_run
from experiments.job import describe_job
from experiments.loading import plain, usual
from experiments.memory import peak_bytes, reset_peak
from experiments.parents import open_parent
from experiments.parts import (
    make_model,
    make_task,
    make_trainer,
    open_data,
    open_run_mirror,
    open_source,
    quiet,
    settled,
)
from experiments.stopping import interruptible
from experiments.together import alone, leave_group, rank, silent
from fer_id.callbacks.curves import best_row, mean_curve, summarise_best
from fer_id.callbacks.telling import mirror_explanation, mirror_results, withheld
from fer_id.errors import FerIdError
from fer_id.evaluation.config import Fold
from fer_id.models.checkpoint import load_model, write_checkpoint
from fer_id.models.resuming import Start, begin_at, find_start, forget_previous
from fer_id.progress import say
from fer_id.reporting.page import duration
from fer_id.reporting.report import draw_figures, evaluate_run, write_report
from fer_id.runs import CROSS_FIT, RunDir
from fer_id.tasks.bank import FeatureBank
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.tabulate import prediction_table

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import wandb
    from pytorch_lightning.callbacks import Callback

    from fer_id.reporting.gallery import Shown


SINGLE, FOLD, PART, TRIAL = "train", "fold", "part", "trial"
"""What a training is for: itself, a fold of a cross-validation, a part of a cross-fitted one, a trial of a sweep."""


def train(config: TrainConfig) -> str | None:
    """Trains, predicts and evaluates what the configuration describes; resumes what was begun.

    Returns:
        what came out, in two lines, with the folder of the run; None in a process that trains along with the one that
        says it.

    Raises:
        FerIdError: of any part: data, splits, weights, a run of that name that is finished or of other settings.
    """
    quiet()
    path = Path(config.runs.root) / (config.name or _default_name(config))
    run = RunDir(path)
    run.require_consent()
    if rank(config) > 0:
        _train_along(config, run)
        return None
    if run.done and not run.changed(plain(config), usual(config)):
        say(f"{path} is finished already; remove it or choose another name= to train again")
        return _outcome(run)
    data = open_data(config, None)
    if config.protocol.name in ("kfold", "loso"):
        return _outcome(_cross_validate(config, path, data))
    require_parts(config, data, data.fold)
    return _outcome(train_one(config, path, data, job_type=SINGLE))


def _default_name(config: TrainConfig) -> str:
    """``dataset/model-recipe``; of a recipe that is a file the name alone: W&B is told the run's name, and no paths."""
    model = config.model.name.replace(":", "-").replace("/", "-")
    return f"{config.data.name}/{model}-{Path(config.recipe).stem}"


def _outcome(run: RunDir) -> str:
    """What came out, for the person at the terminal."""
    metrics, job = run.metrics(), run.job()
    seconds, mode = job.get("seconds"), job.get("mode") or "inductive"
    named = "" if mode == "inductive" else f", {mode}"
    took = f", trained in {duration(seconds)}" if seconds else ""
    return (
        f"accuracy {_number(metrics['accuracy'])}, macro-F1 {_number(metrics['macro_f1'])} on {metrics['n_clips']} "
        f"{metrics['provenance']} test clips{named}{took}\n{run.path / 'report.html'}"
    )


def _cross_validate(config: TrainConfig, path: Path, data: FerDataModule) -> RunDir:
    """Every fold as a RunDir of its own, finished ones taken as they are; their predictions pooled in the parent."""
    starts = [open_parent(config, data, fold) for fold in data.folds]  # before anything slow
    for fold in data.folds:
        require_parts(config, data, fold)
    distinct = {start.path: start for start in starts if start is not None}.values()  # mostly one run for all folds
    sources = [source for start in distinct if (source := open_source(config, start)) is not None]
    make_model(config, data, starts[0])  # weights that do not fit leave nothing behind
    config = settled(config, path, data)
    job = describe_job(config, data, data.folds, starts, sources)
    with RunDir.begin(path, plain(config), job, usual(config)) as parent:
        banks = {start.path: FeatureBank() for start in distinct}
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
    """The predictions of all folds as those of the parent, with its metrics, figures and report; ends its run."""
    parent.write_predictions(pd.concat([fold.predictions() for fold in folds], ignore_index=True))
    job = parent.job()
    job["seconds"] = sum(fold.job().get("seconds") or 0.0 for fold in folds)
    parent.write_job(job)
    _finish(config, parent, data, open_run_mirror(config, parent, data, "study"), explains=True)


def train_one(
    config: TrainConfig,
    path: Path,
    data: FerDataModule,
    *,
    job_type: str,
    bank: FeatureBank | None = None,
    watchers: Sequence[Callback] = (),
) -> RunDir:
    """One training from its data to its report, with those that it is calibrated by.

    Args:
        config: the configuration; ``auto`` is decided here.
        path: of the run, new or begun.
        data: opened for the fold it trains.
        job_type: :data:`SINGLE`, :data:`FOLD`, :data:`PART` or :data:`TRIAL`.
        bank: features shared with other folds that start from the same weights.
        watchers: further callbacks of the Trainer.
    """
    config, task, start, sources = _prepare(config, path, data, bank)
    job = describe_job(config, data, [data.fold], [start], sources)
    with RunDir.begin(path, plain(config), job, usual(config)) as run:
        mirror = open_run_mirror(config, run, data, job_type)
        began = time.monotonic()
        reset_peak()
        with interruptible():
            run.write_predictions(_fit(config, run, data, task, mirror, watchers))
        curve = run.learning_curve()
        job = run.job()
        job["seconds"] = float(curve["seconds"].iloc[-1]) if len(curve) else time.monotonic() - began
        job["peak_memory_bytes"] = peak_bytes()
        if config.protocol.cross_fit and job_type != PART:
            job["seconds"] += _cross_fit(config, run, data, bank)
            run.require_consent()
        run.write_job(job)
        _finish(config, run, data, mirror, explains=job_type == SINGLE)
        return run


def _prepare(
    config: TrainConfig, path: Path, data: FerDataModule, bank: FeatureBank | None
) -> tuple[TrainConfig, ClipClassification, RunDir | None, list[FerDataModule]]:
    """Everything that may be refused before a folder is made: the settled configuration, the task with its weights, the
    run it starts from, and what that one learned from, where it is learned from again."""
    import pytorch_lightning as pl

    start = open_parent(config, data, data.fold)  # before anything slow
    sources = [source for source in [open_source(config, start)] if source is not None]
    for source in sources:
        data.align_with(source)
    config = settled(config, path, data)
    pl.seed_everything(config.seed, verbose=False)  # here: the weights do not depend on whether anything was measured
    model, taken = make_model(config, data, start)
    return config, make_task(config, model, data, taken, bank), start, sources


def _fit(
    config: TrainConfig,
    run: RunDir,
    data: FerDataModule,
    task: ClipClassification,
    mirror: wandb.Run | None,
    watchers: Sequence[Callback],
) -> pd.DataFrame:
    """Trains from where the run stopped, or from the beginning; gives what the best epoch's model predicts."""
    folder = run.path / "checkpoints"
    start = find_start(folder) if config.resume else Start(None, None, [])
    for path in start.damaged:
        say(f"{path} is not whole: it is left out")
    trained = run.predicted and start.last == folder / "last.ckpt"  # another epoch would change it
    begin_at(start, folder)
    last = None if start.last is None else run.checkpoint("last")
    if last is not None:
        say(f"resuming {run.path} from its last {'' if start.last == last else 'whole '}checkpoint")
    elif start.damaged:
        say(f"{run.path} has no whole checkpoint left: training from the beginning")
    if task.strategy.learns:
        if not trained:
            _learn(config, run, data, task, mirror, watchers, last)
        load_model(task.model, run.checkpoint("best"))
    else:
        task.strategy.settle(task.model, data.training_clips())
        write_checkpoint(task, folder / "best.ckpt")
    run.require_consent()  # somebody may have withdrawn while it trained
    return _predictions(make_trainer(alone(config), run, mirror, data), task, data)


def _learn(
    config: TrainConfig,
    run: RunDir,
    data: FerDataModule,
    task: ClipClassification,
    mirror: wandb.Run | None,
    watchers: Sequence[Callback],
    last: Path | None,
) -> None:
    """The epochs, from a checkpoint on where there is one."""
    if last is not None:
        load_model(task.model, last)  # Lightning loads it again with the optimiser's state, but explains no bad file
    make_trainer(config, run, mirror, data, watchers).fit(task, data, ckpt_path=last, weights_only=True)
    leave_group()


def _train_along(config: TrainConfig, run: RunDir) -> None:
    """What a further process of one training does: it learns; all else is done by the first one."""
    folder = run.path / "checkpoints"
    if run.done or (run.predicted and find_start(folder).last):
        return
    with silent():
        data = open_data(config, None)
        config, task, *_ = _prepare(config, run.path, data, None)
    with interruptible():
        _learn(config, run, data, task, None, (), find_start(folder).last if config.resume else None)


def require_parts(config: TrainConfig, data: FerDataModule, fold: Fold) -> None:
    """Raises what would stop the cross-fitting of a fold, before anything is trained."""
    for part in data.parts(fold):
        open_parent(config, data, part)


def _cross_fit(config: TrainConfig, run: RunDir, data: FerDataModule, bank: FeatureBank | None) -> float:
    """Adds the calibration children's rows to a run's predictions: each from a training that saw nothing of them.

    Returns:
        the seconds these trainings took; finished ones are taken as they are.
    """
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
        seconds += part.job().get("seconds") or 0.0
    run.write_predictions(pd.concat(tables, ignore_index=True))
    return seconds


def _finish(config: TrainConfig, run: RunDir, data: FerDataModule, mirror: wandb.Run | None, *, explains: bool) -> None:
    """Metrics, figures, report, explanation, mirror, and the mark that the run is whole."""
    metrics = evaluate_run(run)
    explained = _explained(config, run) if explains and config.explain.clips != 0 else None
    if mirror is not None:
        hidden = withheld(run.job(), mirror.job_type or "")
        for row in mean_curve(run.folds):
            mirror.log(row)
        best = [best_row(one.learning_curve(), config.trainer.monitor) for one in run.folds]
        summarise_best(mirror, best, hidden)
        if explained is not None and "test" not in hidden:
            mirror_explanation(mirror, *explained)
        per_class = pd.DataFrame(metrics["per_class"]).T.rename_axis("class").reset_index()
        mirror_results(mirror, metrics, draw_figures(run), per_class, real=data.has_children, hidden=hidden)
    forget_previous(run.path / "checkpoints")
    run.finish()


def _explained(config: TrainConfig, run: RunDir) -> tuple[dict[str, Any], list[Shown]] | None:
    """What ``explain/`` holds, which the report then says too; None where it could not be made: no first look is worth
    a training that does not end."""
    try:
        explained = explain_run(run, config.explain)
        write_report(run)
        return explained
    except FerIdError as problem:
        say(f"not explained: {problem}")
    except Exception:
        say(f"not explained, and that is a fault of fer-id; please report these lines:\n{traceback.format_exc()}")
    return None


def _predictions(trainer: pl.Trainer, task: ClipClassification, data: FerDataModule) -> pd.DataFrame:
    """Logits and probabilities of every inner-validation and test clip; null where no face was found."""
    judged = ("validation", "test")
    batches = trainer.predict(task, datamodule=data) or []
    parts = [
        prediction_table(
            one,
            data.clips.iloc[getattr(data.fold, split)],
            data.labels,
            fold=data.fold.name,
            split=split,
            groups=data.groups,
        )
        for split, one in zip(judged, batches, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
