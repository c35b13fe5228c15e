"""``fer-id wandb study``: configurations of a search within folds, each as one W&B run over all folds.

In a cross-validation every fold is searched by itself, and W&B has a run of each trial. A configuration that all folds
trained gets another run, with the mean of their inner validations: for inspection, not for selection, since each test
child is in the inner validation of other folds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from experiments.sweeping.ledger import FINISHED, Ledger, place
from fer_id.errors import RunError
from fer_id.runs.run_dir import RunDir

PLACE = "configurations"
"""Folder in a study that holds the mirrors of its configurations."""

NOTE = "mean over folds of their inner validation; no fold chose by it"


def log_configurations(folder: Path, *, mode: str, project: str, entity: str | None) -> int:
    """Log a W&B run for every configuration that all folds of a study trained; return their number. ``folder`` is the
    study's (RunError where it is none, or damaged); the others are ``logging`` of a training."""
    from fer_id.loggers.wandb import PrivateWandbLogger

    complete = list(configurations(folder))
    for job, runs in complete:
        provenance = str(runs[0].job().store.provenance)
        logger = PrivateWandbLogger(
            RunDir(folder / PLACE / job),
            f"{folder.name}/{job}",
            project=project,
            entity=entity,
            group=folder.name,
            job_type="study",
            tags=[folder.name, "configuration"],
            mode=mode,
        )
        logger.log_mean_curve(runs)
        logger.summarise({"provenance": provenance, "folds": len(runs), "note": NOTE})
        logger.close()
    return len(complete)


def configurations(folder: Path) -> Iterator[tuple[str, list[RunDir]]]:
    """Yield the job of each configuration that every fold of a study finished, and its runs; none for a single split. A
    configuration with a removed or quarantined run is left out."""
    trials = Ledger.open(folder).trials.values()
    folds = sorted({trial.fold for trial in trials if trial.fold is not None})
    by_job: dict[str, set[str]] = defaultdict(set)
    for trial in trials:
        if trial.fold is not None and trial.status == FINISHED:
            by_job[trial.job].add(trial.fold)
    for job, finished in by_job.items():
        runs = [RunDir(folder / place(fold, job)) for fold in folds]
        if len(finished) == len(folds) > 1 and all(map(_can_be_read, runs)):
            yield job, runs


def _can_be_read(run: RunDir) -> bool:
    """Return True for a finished run with valid consent and complete files."""
    try:
        run.require_consent()
        run.learning_curve()
    except RunError:
        return False
    return run.done and (run.path / "config.yaml").is_file() and (run.path / "job.json").is_file()
