"""What a run says of itself, as the gate and the model card read it; what is not there is empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fer_id.reporting.explanation import read_explanation
from fer_id.runs.run_dir import LEARNED_FROM, RunDir

_NAMED = ("cost", "seed", "mode", "started", "git_commit")
"""Keys of ``job.json`` that the card names in any case."""


@dataclass(frozen=True)
class Record:
    """A run's own words.

    Attributes:
        path: as people call it.
        name: ``study/name``, which tells no place on a disk.
        done: whether it is finished.
        folds: paths of the trainings of a cross-validation; empty for a single one.
        config, job, metrics: the files of that name; empty where they are not there.
        explanation: ``explain/explain.json``; None where it was not explained.
    """

    path: str
    name: str
    done: bool
    folds: tuple[str, ...]
    config: dict[str, Any]
    job: dict[str, Any]
    metrics: dict[str, Any]
    explanation: dict[str, Any] | None

    @property
    def store(self) -> dict[str, Any]:
        """What ``job.json`` says of the store."""
        return self.job.get("store") or {}

    def learned_from(self) -> set[str]:
        """Pseudonyms of those whom it has seen."""
        subjects = self.job.get("subjects") or {}
        return {one for split in LEARNED_FROM for one in subjects.get(split) or ()}

    def tested(self) -> set[str]:
        """Pseudonyms of those on whom it was judged."""
        return set((self.job.get("subjects") or {}).get("test") or ())


def read_record(run: RunDir, name: str) -> Record:
    """A run's record.

    Args:
        run: with its ``config.yaml`` at least.
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
        job=dict.fromkeys(_NAMED) | run.job() if (run.path / "job.json").is_file() else {},
        metrics=run.metrics() if (run.path / "metrics.json").is_file() else {},
        explanation=read_explanation(run),
    )


def only(metrics: dict[str, Any], section: str, name: str) -> float | None:
    """The one value of something that is kept by fold, of a single training; None where there is none."""
    values = list(((metrics.get(section) or {}).get(name) or {}).values())
    return values[0] if len(values) == 1 else None


def answers_nothing(metrics: dict[str, Any]) -> bool:
    """Whether no threshold of review keeps the risk that was asked, so that everything goes to a person."""
    thresholds = (metrics.get("review") or {}).get("thresholds") or {}
    return bool(thresholds) and all(one is None for one in thresholds.values())


def reason_of(metrics: dict[str, Any], name: str) -> str:
    """Why ``metrics.json`` says that a value is null; empty where it does not say."""
    reasons = metrics.get("reasons") or {}
    return next((str(why) for key, why in reasons.items() if key == name or key.startswith(f"{name}.")), "")
