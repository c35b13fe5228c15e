"""``fer-id train``: data, model, trainer, fit, predict, evaluate; one RunDir, or one a fold and one over them."""

from __future__ import annotations

import logging
import math
import platform
import shlex
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from experiments.loading import plain
from experiments.registry import get_dataset
from fer_id.callbacks.mirror import mirror_results, open_mirror
from fer_id.callbacks.record import Record
from fer_id.callbacks.seeding import EpochSeed
from fer_id.errors import LeakageError, RunError
from fer_id.evaluation.protocol import SPLITS
from fer_id.models.build import build_model
from fer_id.models.checkpoint import load_encoder, load_model
from fer_id.models.cost import model_cost
from fer_id.progress import say
from fer_id.reporting.page import duration
from fer_id.reporting.report import draw_figures, evaluate_run
from fer_id.runs import RunDir, differences
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.numerics import FORMATS, PRECISIONS, Numerics, measure

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import WandbLogger

    from fer_id.models.network import ClipClassifier

LIBRARIES = ("torch", "pytorch-lightning", "timm", "albumentations", "torchmetrics", "numpy", "pandas")


def train(config: TrainConfig) -> str:
    """Trains, predicts and evaluates what the configuration describes; resumes what was begun.

    Returns:
        what came out, in two lines, with the folder of the run.

    Raises:
        FerIdError: of any part: data, splits, weights, a run of that name that is finished or of other settings.
    """
    quiet()
    name = config.name or f"{config.data.name}/{config.model.name}-{config.recipe}".replace(":", "-")
    path = Path(config.runs.root) / name
    run = RunDir(path)
    if run.done and not _changed(run, config):
        say(f"{path} is finished already; remove it or choose another name= to train again")
        return _outcome(run)
    data = open_data(config, None)
    if config.protocol.name in ("kfold", "loso"):
        return _outcome(_cross_validate(config, path, data))
    return _outcome(_train_one(config, path, data, job_type="train"))


def _changed(run: RunDir, config: TrainConfig) -> set[str]:
    """Settings in which a run differs from a configuration; what ``auto`` was decided to be is no difference."""
    found = differences(run.config(), plain(config))
    return {key for key, (_, asked) in found.items() if asked != "auto"}


def _outcome(run: RunDir) -> str:
    """What came out, for the person at the terminal."""
    metrics, seconds = run.metrics(), run.job().get("seconds")
    took = f", trained in {duration(seconds)}" if seconds else ""
    return (
        f"accuracy {_number(metrics['accuracy'])}, macro-F1 {_number(metrics['macro_f1'])} on {metrics['n_clips']} "
        f"{metrics['provenance']} test clips{took}\n{run.path / 'report.html'}"
    )


def _cross_validate(config: TrainConfig, path: Path, data: FerDataModule) -> RunDir:
    """Every fold as a RunDir of its own, finished ones taken as they are; their predictions pooled in the parent."""
    config = settled(config, path, data)
    parent = RunDir.create(path, plain(config), _job(config, data, started=time.time()))
    folds = []
    for number, fold in enumerate(data.folds, start=1):
        run = RunDir(path / "folds" / fold.name)
        say(f"fold {number}/{len(data.folds)}: {fold.name}{' (done)' if run.done else ''}")
        if not run.done:
            _train_one(config, run.path, open_data(config, fold.name), job_type="fold")
        folds.append(run)
    parent.write_predictions(pd.concat([fold.predictions() for fold in folds], ignore_index=True))
    job = parent.job()
    job["seconds"] = sum(fold.job().get("seconds") or 0.0 for fold in folds)
    parent.write_job(job)
    _finish(config, parent, data, open_run_mirror(config, parent, data, "study"))
    return parent


def _train_one(config: TrainConfig, path: Path, data: FerDataModule, *, job_type: str) -> RunDir:
    """One training from its data to its report."""
    import pytorch_lightning as pl

    config = settled(config, path, data)
    pl.seed_everything(config.seed, verbose=False)  # here: the weights do not depend on whether anything was measured
    model = make_model(config, data)  # before the folder: weights that do not fit leave nothing behind
    run = RunDir.create(path, plain(config), _job(config, data, started=time.time()))
    last = run.path / "checkpoints" / "last.ckpt"
    resumed = config.resume and last.is_file()
    if resumed:
        load_model(model, last)  # Lightning loads it again with the optimiser's state, but explains no bad file
    task = make_task(config, model, data)
    mirror = open_run_mirror(config, run, data, job_type)
    trainer = make_trainer(config, run, mirror)
    if resumed:
        say(f"resuming {run.path} from its last checkpoint")
    began = time.monotonic()
    with _interruptible():
        trainer.fit(task, data, ckpt_path=last if resumed else None, weights_only=True)
        load_model(model, run.checkpoint("best"))
        run.write_predictions(_predictions(trainer, task, data))
    curve = run.learning_curve()
    job = run.job()
    job["seconds"] = float(curve["seconds"].iloc[-1]) if len(curve) else time.monotonic() - began
    run.write_job(job)
    _finish(config, run, data, mirror)
    return run


def _finish(config: TrainConfig, run: RunDir, data: FerDataModule, mirror: WandbLogger | None) -> None:
    """Metrics, figures, report, mirror, and the mark that the run is whole."""
    metrics = evaluate_run(run)
    if mirror is not None:
        per_class = pd.DataFrame(metrics["per_class"]).T.rename_axis("class").reset_index()
        mirror_results(mirror, metrics, draw_figures(run), per_class)
    run.finish()


def open_data(config: TrainConfig, fold: str | None) -> FerDataModule:
    """The dataset's data module for one fold; None: the first."""
    return get_dataset(config.data.name).load_datamodule()(
        config.data,
        config.protocol,
        augment=config.augment,
        batch_size=config.batch_size,
        seed=config.seed,
        fold=fold,
    )


def make_model(config: TrainConfig, data: FerDataModule) -> ClipClassifier:
    """A new model, or one with the weights of an earlier run."""
    model = build_model(config.model, len(data.labels))
    if config.init.run:
        load_model(model, _parent(config.init.run, data).checkpoint())
    elif config.init.encoder_from:
        load_encoder(model, _parent(config.init.encoder_from, data).checkpoint())
    return model


def _parent(path: str, data: FerDataModule) -> RunDir:
    """The run to start from: of a cross-validation, its fold of the same name.

    Raises:
        RunError: no such run, not finished, or without that fold.
        LeakageError: it learned from, or was chosen by, a subject that is judged here.
    """
    run = RunDir.open(path)
    if run.folds:
        named = {fold.path.name: fold for fold in run.folds}
        if data.fold.name not in named:
            raise RunError(f"{path} has no fold {data.fold.name}; it has {', '.join(named)}")
        run = named[data.fold.name]
    subjects = run.job().get("subjects", {})
    seen = {*subjects.get("train", ()), *subjects.get("validation", ())}
    if judged := sorted(seen.intersection(data.subjects("test"))):
        raise LeakageError(
            f"{run.path} learned from {len(judged)} subjects that fold {data.fold.name} tests: {', '.join(judged[:5])}; "
            "start from a run with the same protocol and seed, or from one of other subjects"
        )
    return run


def make_task(config: TrainConfig, model: ClipClassifier, data: FerDataModule) -> ClipClassification:
    """The task that trains the model, which is now in the memory format of the configuration."""
    return ClipClassification(
        model.to(memory_format=FORMATS[config.trainer.memory_format]),
        data.labels,
        config.optim,
        config.loss,
        class_counts=data.class_counts(),
        flip_test=config.trainer.flip_test,
        resolution=config.trainer.resolution,
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C as Python has it: Lightning ends the process without a word, and lets no further one through."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None


def settled(config: TrainConfig, path: Path, data: FerDataModule) -> TrainConfig:
    """The configuration with ``auto`` precision and memory format decided: as in an interrupted run, or measured."""
    chosen = config.trainer
    if "auto" not in (chosen.precision, chosen.memory_format):
        return config
    if (path / "config.yaml").is_file():
        before = RunDir(path).config()["trainer"]
        best = Numerics(before["precision"], before["memory_format"], math.nan)
    else:
        frames = 1 if config.data.frames == "frame" else int(data.clips["length"].max())
        best, *others = measure(
            build_model(replace(config.model, pretrained=False, weights=None), len(data.labels)),
            (config.batch_size, frames),
            device=device(config),
            precisions=tuple(PRECISIONS) if chosen.precision == "auto" else (chosen.precision,),
            formats=tuple(FORMATS) if chosen.memory_format == "auto" else (chosen.memory_format,),
        )
        slower = ", ".join(f"{one.precision} {one.memory_format} {one.seconds:.3f}" for one in others)
        say(f"{best.precision} {best.memory_format}: {best.seconds:.3f} s a training step ({slower})")
    precision = best.precision if chosen.precision == "auto" else chosen.precision
    memory_format = best.memory_format if chosen.memory_format == "auto" else chosen.memory_format
    return replace(config, trainer=replace(chosen, precision=precision, memory_format=memory_format))


def make_trainer(config: TrainConfig, run: RunDir, mirror: WandbLogger | None) -> pl.Trainer:
    """The Trainer with everything that records, stops, and saves."""
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar

    chosen = config.trainer
    mode = "min" if chosen.monitor.endswith("loss") else "max"
    folder = run.path / "checkpoints"
    best = ModelCheckpoint(folder, filename="best", monitor=chosen.monitor, mode=mode, enable_version_counter=False)
    # One of its own: ModelCheckpoint's save_last writes only when the best is written too. After Record's line, so that
    # an epoch is either recorded and saved or trained again.
    last = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    callbacks: list[Callback] = [EpochSeed(config.seed), Record(run.path / "metrics.jsonl"), best, last]
    if chosen.patience:
        callbacks.append(EarlyStopping(chosen.monitor, mode=mode, patience=chosen.patience))
    on_terminal = sys.stderr.isatty()
    if on_terminal:
        callbacks.append(RichProgressBar())
    return pl.Trainer(
        accelerator=chosen.accelerator,
        devices=chosen.devices,
        num_nodes=chosen.num_nodes,
        precision="bf16-mixed" if chosen.precision == "bf16" else "32-true",
        max_epochs=chosen.max_epochs,
        max_time=None if chosen.max_time_min is None else {"minutes": chosen.max_time_min},
        gradient_clip_val=chosen.gradient_clip or None,
        callbacks=callbacks,
        logger=mirror or False,
        default_root_dir=run.path,
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
    )


def _predictions(trainer: pl.Trainer, task: ClipClassification, data: FerDataModule) -> pd.DataFrame:
    """Logits and probabilities of every inner-validation and test clip; null where no face was found."""
    judged = ("validation", "test")
    batches = trainer.predict(task, datamodule=data) or []
    parts = [
        _table(one, data.clips.iloc[getattr(data.fold, split)], data, split)
        for split, one in zip(judged, batches, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _table(batches: list[Any], rows: pd.DataFrame, data: FerDataModule, split: str) -> pd.DataFrame:
    import torch

    logits = torch.cat([batch["logits"] for batch in batches]).double()
    covered = torch.cat([batch["covered"] for batch in batches]).numpy()
    ids = [clip_id for batch in batches for clip_id in batch["clip_id"]]
    rows = rows.set_index("clip_id").loc[ids].reset_index()
    names = data.labels.names
    numbers: dict[str, Any] = {
        **{f"logit_{name}": logits[:, k].numpy() for k, name in enumerate(names)},
        **{f"p_{name}": logits.softmax(dim=1)[:, k].numpy() for k, name in enumerate(names)},
    }
    table = rows[["clip_id", "subject_id"]].assign(fold=data.fold.name, split=split, label=rows["label"])
    table["predicted"] = pd.Series([names[k] for k in logits.argmax(dim=1)], dtype=object).where(covered, None)
    table = table.assign(**{key: pd.Series(value).where(covered) for key, value in numbers.items()})
    table = table.assign(**{f"q_{name}": float("nan") for name in names}, flagged=~covered)
    return table.assign(**{group: rows[group] for group in data.groups})


def open_run_mirror(config: TrainConfig, run: RunDir, data: FerDataModule, job_type: str) -> WandbLogger | None:
    """The mirror of a run, named and tagged after it; None where there is none."""
    logging_ = config.logging
    relative = run.path.relative_to(config.runs.root)
    return open_mirror(
        run.path,
        mode=logging_.wandb,
        project=logging_.project,
        entity=logging_.entity,
        group=logging_.group or relative.parts[0],
        job_type=job_type,
        name=relative.as_posix(),
        tags=[config.data.name, data.provenance, config.model.name, *logging_.tags],
        config=plain(config),
    )


def _job(config: TrainConfig, data: FerDataModule, *, started: float) -> dict[str, Any]:
    """What ``job.json`` says of a run before it begins."""
    frames = int(data.clips["length"].max())
    cost = model_cost(config.model, len(data.labels), frames)
    card = data.stores[0].card
    return {
        "command": shlex.join(["fer-id", *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(started)),
        "versions": {library: version(library) for library in LIBRARIES} | {"python": platform.python_version()},
        "git_commit": _commit(),
        "seed": config.seed,
        "dataset": config.data.name,
        "model": config.model.name,
        "store": {
            "name": " + ".join(store.path.name for store in data.stores),
            "fingerprint": [store.fingerprint for store in data.stores],
            "provenance": data.provenance,
            "label_space": data.labels.name,
            "shard_by": card.shard_by,
            "audit": card.audit if len(data.stores) == 1 else {s.path.name: s.card.audit for s in data.stores},
        },
        "subjects": {split: data.subjects(split) for split in SPLITS},
        "clips": {split: len(getattr(data.fold, split)) for split in SPLITS},
        "dropped": data.fold.dropped
        | {f"label {name} not in {data.labels.name}": n for name, n in data.dropped_labels.items()},
        "parents": [run for run in (config.init.run, config.init.encoder_from) if run],
        "cost": {"parameters": cost.parameters, "multiply_adds_per_clip": cost.clip, "frames": frames},
        "precision": config.trainer.precision,
        "memory_format": config.trainer.memory_format,
        "machine": machine(),
    }


def device(config: TrainConfig) -> Any:
    """Where the training computes."""
    import torch

    gpu = torch.cuda.is_available() and config.trainer.accelerator != "cpu"
    return torch.device("cuda" if gpu else "cpu")


def machine() -> str:
    """Processor or accelerator and how many cores; no host name."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} CPU threads"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} CPU threads"


def _commit() -> str | None:
    """Commit of the checkout the program runs from; None where it is installed without one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def quiet() -> None:
    """Lightning's advice that does not apply here stays out of the log."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for text in (".*does not have many workers.*", ".*number of training batches.*", ".*exists and is not empty.*"):
        warnings.filterwarnings("ignore", text)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
