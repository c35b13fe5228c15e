"""Lightning Trainer of a run: its callbacks, loggers, device, precision, and the processes of a distributed training.

In a distributed training (DDP) each process learns from its share of every batch and validates on all inner-validation
clips. The first process alone writes files, prints messages, and predicts when the training is over.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from experiments.config import TrainConfig, TrainerConfig
from fer_id.callbacks.progress_lines import ProgressLines
from fer_id.callbacks.record import run_callbacks
from fer_id.callbacks.registry import make_callbacks
from fer_id.errors import ConfigError
from fer_id.loggers.disclosure import TRIAL
from fer_id.runs.run_dir import RunDir

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from pytorch_lightning.callbacks import Callback
    from pytorch_lightning.loggers import Logger

    from data_modules.base import FerDataModule
    from fer_id.loggers.wandb import PrivateWandbLogger

ALWAYS = ("class_metrics", "subgroup_fairness")
"""Callbacks of every training, beside ``trainer.callbacks``."""


def chosen_callbacks(config: TrainConfig) -> list[Callback]:
    """Return the callbacks of every training and those of the configuration, for the Trainers of one training; raise
    ConfigError for one that cannot be made."""
    return make_callbacks(list(dict.fromkeys([*ALWAYS, *config.trainer.callbacks])))


def make_trainer(
    config: TrainConfig,
    run: RunDir,
    loggers: Sequence[Logger],
    measuring: Sequence[Callback],
    watchers: Sequence[Callback] = (),
) -> pl.Trainer:
    """Return the Trainer with the callbacks that measure (:func:`chosen_callbacks`), record, save and stop;
    ``watchers`` run after ``Record``."""
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from pytorch_lightning.callbacks import EarlyStopping, RichProgressBar

    from fer_id.callbacks.checkpoint import WholeFiles, better
    from fer_id.callbacks.weight_average import WeightAverage

    chosen, several = config.trainer, config.trainer.processes > 1
    callbacks: list[Callback] = [*measuring, OwnSignals()]
    callbacks += run_callbacks(run, chosen.monitor, config.seed, watchers)
    if config.optim.ema:
        callbacks.append(WeightAverage(config.optim.ema, device=device(config)))
    if chosen.patience:
        callbacks.append(EarlyStopping(chosen.monitor, mode=better(chosen.monitor), patience=chosen.patience))
    on_terminal = sys.stderr.isatty()
    name = os.path.relpath(run.path, config.runs.root)
    callbacks.append(RichProgressBar() if on_terminal else ProgressLines(name))
    try:
        return pl.Trainer(
            accelerator=chosen.accelerator,
            devices=chosen.devices,  # Lightning would use all devices
            num_nodes=chosen.num_nodes,
            strategy="ddp" if several else "auto",
            sync_batchnorm=several and device(config).type == "cuda",  # torch has none on CPUs
            use_distributed_sampler=False,  # it repeats clips; fer_id's own sampler shares out each batch
            precision="bf16-mixed" if chosen.precision == "bf16" else "32-true",
            max_epochs=chosen.max_epochs,
            max_time=None if chosen.max_time_min is None else timedelta(minutes=chosen.max_time_min),
            check_val_every_n_epoch=min(chosen.validate_every, chosen.max_epochs),
            gradient_clip_val=chosen.gradient_clip or None,
            callbacks=callbacks,
            plugins=[WholeFiles(), environment(config)],
            logger=list(loggers),
            default_root_dir=run.path,
            enable_progress_bar=on_terminal,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=50,
        )
    except MisconfigurationException as problem:  # more devices or processes than there are
        places = f"trainer.devices={chosen.devices}, trainer.num_nodes={chosen.num_nodes}"
        raise ConfigError(f"{places}: {problem}") from None


def validation_note(chosen: TrainerConfig) -> str | None:
    """Return a sentence where epochs come after the last inner validation, so that none of them can be chosen, or where
    the only validation comes with the last epoch; else None."""
    every, epochs = chosen.validate_every, chosen.max_epochs
    settings = f"trainer.validate_every={every}, trainer.max_epochs={epochs}"
    if every > epochs:
        return f"{settings}: inner validation comes once, after epoch {epochs}, whose checkpoint is then the best one"
    if epochs % every:
        last = epochs - epochs % every
        rest = f"epoch {epochs} comes" if last + 1 == epochs else f"epochs {last + 1} to {epochs} come"
        return f"{settings}: {rest} after the last inner validation, so that no checkpoint of them is chosen"
    return None


def make_wandb_logger(config: TrainConfig, run: RunDir, data: FerDataModule, job_type: str) -> PrivateWandbLogger:
    """Return the W&B logger of a run, named after it: a fold by its number, since the name of its folder may
    be that of the child whom it tests. A training that an agent of a W&B sweep started is a trial of that sweep,
    whatever ``job_type`` is."""
    from fer_id.loggers.wandb import PrivateWandbLogger

    name = _wandb_name(run.path.relative_to(config.runs.root).parts, data)
    study = config.logging.group or name.partition("/")[0]
    job_type = TRIAL if os.environ.get("WANDB_SWEEP_ID") else job_type
    tags = [config.adapt.strategy] if config.init.transfer or config.adapt.strategy == "head" else []
    tags += [study] if job_type == TRIAL else []
    return PrivateWandbLogger(
        run,
        name,
        project=config.logging.project,
        entity=config.logging.entity,
        group=study,
        job_type=job_type,
        tags=[*tags, *config.logging.tags],
        mode=config.logging.wandb,
        faces=config.logging.faces,
    )


def _wandb_name(path: Sequence[str], data: FerDataModule) -> str:
    """Return the path of a run with the number of its fold instead of the fold's name."""
    number = f"{1 + [fold.name for fold in data.folds].index(data.fold.name):02d}"
    before = ("", *path)
    return "/".join(
        number if before[place] == "folds" and part == data.fold.name else part for place, part in enumerate(path)
    )


class OwnSignals(pl.Callback):
    """Callback that restores the program's handler of SIGTERM; Lightning's waits for a batch, and requeues."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the handler after the Trainer has set its own, which it removes itself when it ends."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Terminate the processes that this one started for a distributed training."""
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGTERM)


def device(config: TrainConfig) -> Any:
    """Return the torch device of the training: the first GPU where there is one and it is allowed, else the CPU."""
    import torch

    gpu = torch.cuda.is_available() and config.trainer.accelerator != "cpu"
    return torch.device("cuda" if gpu else "cpu")


def quiet() -> None:
    """Silence hints and warnings of Lightning and torch that do not apply here."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # This logger names the process that failed, before the other processes are ended.
    logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    inapplicable = ("does not have many workers", "number of training batches", "exists and is not empty")
    for text in (*inapplicable, "LeafSpec", "sync_dist=True", "Total length of `DataLoader`"):
        warnings.filterwarnings("ignore", f".*{text}.*")


def environment(config: TrainConfig) -> ClusterEnvironment:
    """Return the cluster environment: of torchrun, of srun, or Lightning's own, in which this program starts processes,
    and always for one process. Raise ConfigError where Lightning cannot use the variables of SLURM."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if config.trainer.processes > 1 and TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if config.trainer.processes > 1 and _by_srun() and SLURMEnvironment.detect():
        try:
            return SLURMEnvironment(auto_requeue=False)  # requeueing overwrites our checkpoint with Lightning's
        except RuntimeError as problem:
            raise ConfigError(str(problem)) from None
    return LightningEnvironment()


def _by_srun() -> bool:
    """Return whether srun started this process; a batch script alone has no job step and starts its own processes."""
    return "SLURM_STEP_ID" in os.environ


def rank(config: TrainConfig) -> int:
    """Return the rank of this process among the processes of the training; the process of rank 0 leads. Raise
    ConfigError where the number of processes that were started differs from the configuration."""
    here, processes = environment(config), config.trainer.processes
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _require_same("torchrun", os.environ["WORLD_SIZE"], config)
    elif processes > 1 and _by_srun() and "SLURM_NTASKS" in os.environ:
        _require_same("srun", os.environ["SLURM_NTASKS"], config)
    if processes == 1:
        return 0
    if here.creates_processes_externally and "LOCAL_RANK" not in os.environ:
        return here.global_rank()
    return here.node_rank() * config.trainer.devices + here.local_rank()


def _require_same(starter: str, started: str, config: TrainConfig) -> None:
    if int(started) != config.trainer.processes:
        raise ConfigError(
            f"{starter} started {started} processes, and trainer.devices={config.trainer.devices} times "
            f"trainer.num_nodes={config.trainer.num_nodes} is {config.trainer.processes}: let both say the same"
        )


def alone(config: TrainConfig) -> TrainConfig:
    """Return the configuration for one process: the first process continues alone once the training is over."""
    return replace(config, trainer=replace(config.trainer, devices=1, num_nodes=1))


def leave_group() -> None:
    """Destroy the process group, if there is one, so that no process waits for another any more."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


@contextmanager
def silent() -> Iterator[None]:
    """Discard what Python writes to standard error, in the further processes of a distributed training: the first one
    prints the same. Exceptions and native libraries still pass."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield
