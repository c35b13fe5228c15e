"""W&B logger of a run, with its name, group, tags and configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from fer_id.loggers.disclosure import TRIAL
from fer_id.runs.run_dir import RunDir

if TYPE_CHECKING:
    from fer_id.loggers.wandb import PrivateWandbLogger


def make_wandb_logger(config: TrainConfig, run: RunDir, data: FerDataModule, job_type: str) -> PrivateWandbLogger:
    """Return the W&B logger of a run, named and tagged after it.

    A fold is named by its number, since the name of its folder may be that of the child whom it tests. A training that
    an agent of a W&B sweep started is a trial of that sweep, whatever ``job_type`` is.
    """
    from fer_id.loggers.wandb import PrivateWandbLogger

    name = _wandb_name(run.path.relative_to(config.runs.root).parts, data)
    study = config.logging.group or name.partition("/")[0]
    job_type = TRIAL if os.environ.get("WANDB_SWEEP_ID") else job_type
    tags = [config.data.name, data.provenance, config.model.name, config.protocol.name, config.protocol.mode]
    tags += [config.adapt.strategy] if config.init.transfer or config.adapt.strategy == "head" else []
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
