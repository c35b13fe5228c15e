"""The parts of a training, each made from the configuration: data, model, task, trainer, mirror."""

from __future__ import annotations

import logging
import math
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from experiments.loading import plain, read
from experiments.parents import label_space
from experiments.registry import get_dataset
from experiments.together import environment
from fer_id.callbacks.curves import MirrorCurve
from fer_id.callbacks.mirror import open_mirror
from fer_id.callbacks.record import Record
from fer_id.callbacks.seeding import EpochSeed
from fer_id.callbacks.subgroups import GroupAccuracy
from fer_id.callbacks.telling import withheld
from fer_id.errors import CheckpointError, ConfigError, FerIdError, RunError
from fer_id.models.build import build_model
from fer_id.models.checkpoint import load_encoder, load_model
from fer_id.models.transfer import transfer
from fer_id.progress import say
from fer_id.runs import RunDir
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.config import ALIGNING
from fer_id.tasks.numerics import FORMATS, PRECISIONS, Numerics, measure
from fer_id.tasks.strategies import STRATEGIES
from fer_id.types import CROP

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import wandb
    from pytorch_lightning.callbacks import Callback
    from torch import Tensor

    from fer_id.models.network import ClipClassifier
    from fer_id.tasks.bank import FeatureBank


def open_data(config: TrainConfig, fold: str | None, part: int | None = None) -> FerDataModule:
    """The dataset's data module for one fold (None: the first), or for one part of its cross-fitting."""
    data = get_dataset(config.data.name).load_datamodule()(
        config.data,
        config.protocol,
        augment=config.augment,
        batch_size=config.batch_size,
        seed=config.seed,
        fold=fold,
    )
    if part is not None:
        data.fold = data.parts(data.fold)[part]
    return data


def open_run_data(run: RunDir) -> tuple[TrainConfig, FerDataModule]:
    """What a finished training learned from and was judged on, with its configuration.

    Raises:
        RunError: its store was made again since.
        StoreError: its store is gone or damaged.
    """
    config = read(TrainConfig, run.path / "config.yaml")
    of = run.path if run.part is None else run.path.parent.parent
    fold = run.job().get("fold") or of.name  # older runs did not note it, and lie in a folder of that name
    data = open_data(config, fold if config.protocol.name in ("kfold", "loso") else None, run.part)
    run.require_store(data.fingerprint)
    return config, data


def open_source(config: TrainConfig, parent: RunDir | None) -> FerDataModule | None:
    """What the run to start from learned from, where the strategy learns from it again; None where it does not.

    Raises:
        RunError: its stores are not there any more, or not as they were.
    """
    if parent is None or config.adapt.strategy not in ALIGNING:
        return None
    try:
        return open_run_data(parent)[1]
    except FerIdError as problem:
        raise RunError(
            f"adapt.strategy={config.adapt.strategy} learns again from what {parent.path} learned from, which cannot "
            f"be read: {problem}"
        ) from None


def make_model(
    config: TrainConfig, data: FerDataModule, parent: RunDir | None
) -> tuple[ClipClassifier, dict[str, Tensor]]:
    """A new model, or one with the weights of ``parent``, as ``experiments.parents.open_parent`` gives it.

    Returns:
        the model, and copies of the weights that were transferred to it, for strategies that hold on to them.

    Raises:
        CheckpointError: the parent's weights do not fit.
    """
    model = build_model(config.model, len(data.labels))
    if parent is None:
        return model, {}
    if not config.init.transfer:
        load = load_model if config.init.run else load_encoder
        load(model, parent.checkpoint())
        return model, {}
    taken = transfer(model, parent.checkpoint(), label_space(parent), data.labels)
    new = [name for name in data.labels.names if name not in taken.classes]
    if not taken.head and config.adapt.strategy == "linear_probe":
        raise CheckpointError(
            f"{parent.path} has another temporal head than model.head={config.model.head}, and a linear probe would "
            "leave the new one as it was drawn; choose another adapt.strategy, or the head of that run"
        )
    if new and config.adapt.strategy in ("source_only", "adabn"):
        raise CheckpointError(
            f"{parent.path} has nothing to tell {', '.join(new)} by, and adapt.strategy={config.adapt.strategy} learns "
            "nothing: " + ("its classes are others" if taken.head else "its temporal head is another than model.head")
        )
    return model, taken.weights


def make_task(
    config: TrainConfig,
    model: ClipClassifier,
    data: FerDataModule,
    start: dict[str, Tensor],
    bank: FeatureBank | None = None,
) -> ClipClassification:
    """The task that trains the model, which is now in the memory format of the configuration."""
    resolution = config.trainer.resolution
    if resolution and not model.encoder.any_size:
        say(f"{config.model.encoder} takes {CROP}x{CROP} pixels only: trainer.resolution is left out")
        resolution = []
    return ClipClassification(
        model.to(memory_format=FORMATS[config.trainer.memory_format]),
        data.labels,
        config.optim,
        config.loss,
        test_views=config.trainer.test_views,
        resolution=resolution,
        strategy=STRATEGIES[config.adapt.strategy](config.adapt, start),
        bank=bank,
    )


def settled(config: TrainConfig, path: Path, data: FerDataModule) -> TrainConfig:
    """The configuration with ``auto`` precision and memory format decided: as in a begun run, or measured."""
    chosen = config.trainer
    if chosen.accelerator == "gpu" and device(config).type != "cuda":
        raise ConfigError("trainer.accelerator=gpu: there is no GPU that torch can use; say cpu or auto")
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


def make_trainer(
    config: TrainConfig,
    run: RunDir,
    mirror: wandb.Run | None,
    data: FerDataModule,
    watchers: Sequence[Callback] = (),
) -> pl.Trainer:
    """The Trainer with everything that records, stops, and saves; ``watchers`` come after what is recorded."""
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from pytorch_lightning.callbacks import EarlyStopping, RichProgressBar

    from fer_id.callbacks.saving import Checkpoint
    from fer_id.callbacks.signals import OwnSignals

    chosen = config.trainer
    mode = "min" if chosen.monitor.endswith("loss") else "max"
    folder = run.path / "checkpoints"
    best = Checkpoint(folder, "best", monitor=chosen.monitor, mode=mode)
    # One of its own: ModelCheckpoint's save_last writes only when the best is written too. After Record's line, so that
    # an epoch is either recorded and saved or trained again.
    last = Checkpoint(folder, "last")
    told = []
    if mirror is not None:
        hidden = withheld(run.job(), mirror.job_type or "")
        told = [MirrorCurve(mirror, run.path / "metrics.jsonl", chosen.monitor, hidden)]
    record = Record(run.path / "metrics.jsonl")
    callbacks: list[Callback] = [OwnSignals(), EpochSeed(config.seed), record, *told, *watchers, best, last]
    if not data.images:  # before Record, which writes down what is logged
        validated = data.clips.iloc[data.fold.validation]
        callbacks.insert(0, GroupAccuracy(validated, data.groups, public=data.has_children))
    if chosen.patience:
        callbacks.append(EarlyStopping(chosen.monitor, mode=mode, patience=chosen.patience))
    on_terminal = sys.stderr.isatty()
    if on_terminal:
        callbacks.append(RichProgressBar())
    try:
        return _trainer(config, run, callbacks, on_terminal)
    except MisconfigurationException as problem:  # other devices, or another number of processes, than there are
        raise ConfigError(
            f"trainer.devices={chosen.devices}, trainer.num_nodes={chosen.num_nodes}: {problem}"
        ) from None


def _trainer(config: TrainConfig, run: RunDir, callbacks: list[Callback], on_terminal: bool) -> pl.Trainer:
    import pytorch_lightning as pl

    from fer_id.callbacks.saving import WholeFiles

    chosen, several = config.trainer, config.trainer.processes > 1
    return pl.Trainer(
        accelerator=chosen.accelerator,
        devices=chosen.devices,  # Lightning would take all there are
        num_nodes=chosen.num_nodes,
        strategy="ddp" if several else "auto",
        sync_batchnorm=several and device(config).type == "cuda",  # torch has none on CPUs
        use_distributed_sampler=False,  # it repeats clips; ours shares batches
        precision="bf16-mixed" if chosen.precision == "bf16" else "32-true",
        max_epochs=chosen.max_epochs,
        max_time=None if chosen.max_time_min is None else timedelta(minutes=chosen.max_time_min),
        check_val_every_n_epoch=min(chosen.validate_every, chosen.max_epochs),
        gradient_clip_val=chosen.gradient_clip or None,
        callbacks=callbacks,
        plugins=[WholeFiles(), environment(config)],
        logger=False,  # our own record, which the mirror tells
        default_root_dir=run.path,
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
    )


def device(config: TrainConfig) -> Any:
    """Where the training computes."""
    import torch

    gpu = torch.cuda.is_available() and config.trainer.accelerator != "cpu"
    return torch.device("cuda" if gpu else "cpu")


def open_run_mirror(config: TrainConfig, run: RunDir, data: FerDataModule, job_type: str) -> wandb.Run | None:
    """The mirror of a run, named and tagged after it; None where there is none.

    A fold bears its number: its name is that of the child whom it tests. A training that an agent of a W&B sweep
    started is a trial of that sweep, whatever it is here.
    """
    name, whole, number = _told_name(run.path.relative_to(config.runs.root).parts, data)
    study = config.logging.group or name.partition("/")[0]
    job_type = "trial" if os.environ.get("WANDB_SWEEP_ID") else job_type
    tags = [config.data.name, data.provenance, config.model.name, config.protocol.name, config.protocol.mode]
    tags += [config.adapt.strategy] if config.init.transfer else []
    tags += [study] if job_type == "trial" else []
    within = {"group": study, "name": whole, "fold": number, "provenance": data.provenance}
    return open_mirror(
        run.path,
        mode=config.logging.wandb,
        project=config.logging.project,
        entity=config.logging.entity,
        group=study,
        job_type=job_type,
        name=name,
        tags=[*tags, *config.logging.tags],
        config={**plain(config), "name": name, "study": within},
    )


def _told_name(path: Sequence[str], data: FerDataModule) -> tuple[str, str, int | None]:
    """What W&B calls a run, the study that it is a fold of, and the fold's number; without folds: itself, and None."""
    names = [fold.name for fold in data.folds]
    for place in range(1, len(path)):
        if path[place - 1] == "folds" and path[place] == data.fold.name:
            number = names.index(data.fold.name) + 1
            return "/".join((*path[:place], f"{number:02d}", *path[place + 1 :])), "/".join(path[: place - 1]), number
    return "/".join(path), "/".join(path), None


def quiet() -> None:
    """Lightning's advice that does not apply here stays out of the log."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Which of the processes that train together was lost, before it ends the others.
    logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    for text in (
        "does not have many workers",
        "number of training batches",
        "exists and is not empty",
        "LeafSpec",
        "sync_dist=True",
    ):
        warnings.filterwarnings("ignore", f".*{text}.*")
