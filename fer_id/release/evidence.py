"""Record of a run's files for the release gate and the model card; missing files are empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fer_id.reporting.explanation import read_explanation
from fer_id.runs.job import Job
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
    config: dict[str, Any]
    job: Job
    metrics: dict[str, Any]
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
        metrics=run.metrics() if (run.path / "metrics.json").is_file() else {},
        explanation=read_explanation(run),
    )


def only(metrics: dict[str, Any], section: str, name: str) -> float | None:
    """Return the value of a single training from an entry that is stored by fold; None for no value or several."""
    values = list(((metrics.get(section) or {}).get(name) or {}).values())
    return values[0] if len(values) == 1 else None


def answers_nothing(metrics: dict[str, Any]) -> bool:
    """Return whether no threshold of review keeps the requested risk, so that every clip goes to a person."""
    thresholds = (metrics.get("review") or {}).get("thresholds") or {}
    return bool(thresholds) and all(threshold is None for threshold in thresholds.values())


def reason_of(metrics: dict[str, Any], name: str) -> str:
    """Return the reason in ``metrics.json`` for a null value; empty where no reason is stated."""
    reasons = metrics.get("reasons") or {}
    return next((str(why) for key, why in reasons.items() if key == name or key.startswith(f"{name}.")), "")
