"""W&B logger of a run, with its name, group, tags and configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from experiments.settings.loading import plain
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

    name, whole, number = _wandb_name(run.path.relative_to(config.runs.root).parts, data)
    study = config.logging.group or name.partition("/")[0]
    job_type = TRIAL if os.environ.get("WANDB_SWEEP_ID") else job_type
    tags = [config.data.name, data.provenance, config.model.name, config.protocol.name, config.protocol.mode]
    tags += [config.adapt.strategy] if config.init.transfer or config.adapt.strategy == "head" else []
    tags += [study] if job_type == TRIAL else []
    within = {"group": study, "name": whole, "fold": number, "provenance": data.provenance}
    return PrivateWandbLogger(
        run,
        mode=config.logging.wandb,
        project=config.logging.project,
        entity=config.logging.entity,
        group=study,
        job_type=job_type,
        name=name,
        tags=[*tags, *config.logging.tags],
        config={**plain(config), "name": name, "study": within},
        monitor=config.trainer.monitor,
        faces=config.logging.faces,
    )


def _wandb_name(path: Sequence[str], data: FerDataModule) -> tuple[str, str, int | None]:
    """Return the name in W&B, the name of the cross-validation, and the number of the fold.

    A run without folds has its own name twice, and None.
    """
    names = [fold.name for fold in data.folds]
    for place in range(1, len(path)):
        if path[place - 1] == "folds" and path[place] == data.fold.name:
            number = names.index(data.fold.name) + 1
            return "/".join((*path[:place], f"{number:02d}", *path[place + 1 :])), "/".join(path[: place - 1]), number
    return "/".join(path), "/".join(path), None
