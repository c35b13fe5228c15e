"""Distributed training (Lightning DDP): cluster environment, rank of this process, and the duties of the first one.

Each process learns from its share of every batch and validates on all inner-validation clips. The first process alone
writes files, prints messages, and predicts when the training is over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config import TrainConfig
from fer_id.errors import ConfigError

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment


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
    """Discard standard error within the block: the first process prints the same messages; exceptions still pass."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield
