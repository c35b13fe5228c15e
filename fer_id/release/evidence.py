"""Record of a run's files for the release gate and the model card; missing files are empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fer_id.reporting.explanation import read_explanation
from fer_id.runs.configs import Config
from fer_id.runs.job import Job
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir


@dataclass(frozen=True)
class Record:
    """Content of a run's files.

    Attributes:
        path: of the run, as it was typed.
        name: ``study/name``, which reveals no path on a disk.
        done: whether the run is finished.
        folds: paths of the trainings of a cross-validation; empty for a single training.
        config, job, metrics: the files of that name; empty where they are missing.
        explanation: ``explain/explain.json``; None where it is missing.
    """

    path: str
    name: str
    done: bool
    folds: tuple[str, ...]
    config: Config
    job: Job
    metrics: Metrics
    explanation: dict[str, Any] | None


def read_record(run: RunDir, name: str) -> Record:
    """Read a run's record.

    Args:
        run: with at least its ``config.yaml``.
        name: see :class:`Record`.

    Raises:
        RunError: a file is damaged.
    """
    return Record(
        path=str(run.path),
        name=name,
        done=run.done,
        folds=tuple(str(fold.path) for fold in run.folds),
        config=run.config(),
        job=run.job() if (run.path / "job.json").is_file() else Job(),
        metrics=run.metrics() if (run.path / "metrics.json").is_file() else Metrics(),
        explanation=read_explanation(run),
    )
