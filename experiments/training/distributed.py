"""One training in several processes (Lightning DDP): which of them this is, and who does what.

Each process learns from its share of every batch, and validates on all inner-validation clips. The first one alone
writes, speaks, and predicts when the training is over.
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
    """Who started the processes: torchrun, srun, or (Lightning's own) this program; of a training of one, nobody.

    Raises:
        ConfigError: SLURM was told of its tasks in a way that does not say where they run.
    """
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if config.trainer.processes > 1 and TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if config.trainer.processes > 1 and _by_srun() and SLURMEnvironment.detect():
        try:
            return SLURMEnvironment(auto_requeue=False)  # it would put a checkpoint of its own in the place of ours
        except RuntimeError as problem:
            raise ConfigError(str(problem)) from None
    return LightningEnvironment()


def _by_srun() -> bool:
    """Whether this process is one of srun's tasks; a batch script alone, which has no step, starts its own."""
    return "SLURM_STEP_ID" in os.environ


def rank(config: TrainConfig) -> int:
    """Which of the processes that train together this is; the first one, 0, leads.

    Raises:
        ConfigError: another number of processes was started than the configuration says.
    """
    here, said = environment(config), config.trainer.processes
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _require_same("torchrun", os.environ["WORLD_SIZE"], config)
    elif said > 1 and _by_srun() and "SLURM_NTASKS" in os.environ:
        _require_same("srun", os.environ["SLURM_NTASKS"], config)
    if said == 1:
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
    """The same configuration for one process, as the first one goes on when the others are done."""
    return replace(config, trainer=replace(config.trainer, devices=1, num_nodes=1))


def leave_group() -> None:
    """Leaves the group; from now on nobody waits for anybody."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


@contextmanager
def silent() -> Iterator[None]:
    """What the leading process says too is not said by the others; errors are."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield
