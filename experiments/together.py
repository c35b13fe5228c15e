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
    """Who started the processes: torchrun, SLURM, or (Lightning's own) this program; of a training of one, nobody."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if config.trainer.processes > 1 and TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if config.trainer.processes > 1 and SLURMEnvironment.detect():
        return SLURMEnvironment(auto_requeue=False)  # it would put a checkpoint of its own in the place of ours
    return LightningEnvironment()


def rank(config: TrainConfig) -> int:
    """Which of the processes that train together this is; the first one, 0, leads.

    Raises:
        ConfigError: torchrun started another number of processes than the configuration says.
    """
    started, said = int(os.environ.get("WORLD_SIZE", "1")), config.trainer.processes
    if "TORCHELASTIC_RUN_ID" in os.environ and started != said:
        raise ConfigError(
            f"torchrun started {started} processes, and trainer.devices={config.trainer.devices} times "
            f"trainer.num_nodes={config.trainer.num_nodes} is {said}: let both say the same"
        )
    if said == 1:
        return 0
    here = environment(config)
    if here.creates_processes_externally and "LOCAL_RANK" not in os.environ:
        return here.global_rank()
    return here.node_rank() * config.trainer.devices + here.local_rank()


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
