"""``fer-id wandb study``: the configurations of a search within folds, each as one W&B run over all its folds.

Where subjects are left out in folds, every fold searches for itself, and W&B has a run of each trial. A configuration
that all folds trained gets one more, with the mean of their inner validations: to look at, not to choose by, since each
child that is tested validates other folds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.online.config import WandbConfig
from experiments.sweeping.ledger import FINISHED, Ledger, place
from fer_id.errors import RunError
from fer_id.runs.run_dir import RunDir

PLACE = "configurations"
"""Folder in a study that holds the mirrors of its configurations."""

NOTE = "mean over folds of their inner validation; no fold chose by it"


@dataclass(frozen=True)
class Configuration:
    """One configuration that every fold of a study trained to its end.

    Attributes:
        job: hash of the resolved configuration.
        runs: of the folds, in their order.
    """

    job: str
    runs: tuple[RunDir, ...]


def tell(config: WandbConfig) -> str:
    """Tells W&B of the configurations of a study, once more where that was done before.

    Raises:
        RunError: no study of a sweep.
    """
    folder = Path(str(config.target))
    told = tell_configurations(folder, mode=config.wandb, project=config.project, entity=config.entity)
    if told:
        return f"{told} configurations of {folder}, each over all its folds; offline ones go to W&B by `wandb sync`"
    return (
        f"{folder}: nothing to add; no configuration was trained by several folds, and each trial has its own W&B run"
    )


def tell_configurations(folder: Path, *, mode: str, project: str, entity: str | None) -> int:
    """One W&B run for every configuration that all folds of a study trained.

    Args:
        folder: of the study.
        mode, project, entity: as ``logging`` of a training.

    Returns:
        how many.

    Raises:
        RunError: no study of a sweep, or a damaged one.
    """
    found = list(configurations(folder))
    for one in found:
        _tell(folder, one, mode=mode, project=project, entity=entity)
    return len(found)


def configurations(folder: Path) -> Iterator[Configuration]:
    """Those that every fold of a study finished; none where there is one split alone. A run that was removed since, or
    quarantined, takes its configuration out."""
    trials = Ledger.open(folder).trials.values()
    folds = sorted({one.fold for one in trials if one.fold is not None})
    by_job: dict[str, set[str]] = defaultdict(set)
    for one in trials:
        if one.fold is not None and one.status == FINISHED:
            by_job[one.job].add(one.fold)
    for job, of in by_job.items():
        runs = tuple(RunDir(folder / place(fold, job)) for fold in folds)
        if len(of) == len(folds) > 1 and all(map(_can_be_read, runs)):
            yield Configuration(job, runs)


def _can_be_read(run: RunDir) -> bool:
    """Whether consent for it stands and everything that is told of it is whole."""
    try:
        run.require_consent()
        run.learning_curve()
    except RunError:
        return False
    return run.done and (run.path / "config.yaml").is_file() and (run.path / "job.json").is_file()


def _tell(folder: Path, one: Configuration, *, mode: str, project: str, entity: str | None) -> None:
    from fer_id.loggers.wandb import PrivateWandbLogger

    config: dict[str, Any] = one.runs[0].config()
    provenance = one.runs[0].job()["store"]["provenance"]
    name = f"{folder.name}/{one.job}"
    tags = [config["data"]["name"], provenance, config["model"]["name"], config["protocol"]["name"], folder.name]
    logger = PrivateWandbLogger(
        RunDir(folder / PLACE / one.job),
        mode=mode,
        project=project,
        entity=entity,
        group=folder.name,
        job_type="study",
        name=name,
        tags=[*tags, "configuration"],
        config={**config, "study": {"group": folder.name, "name": name, "fold": None, "provenance": provenance}},
        monitor=config["trainer"]["monitor"],
        folds=one.runs,
    )
    logger.log_mean_curve(one.runs)
    logger.summarise({"provenance": provenance, "folds": len(one.runs), "note": NOTE})
    logger.close()
