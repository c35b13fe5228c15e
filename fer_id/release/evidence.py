"""Evidence for the release gate and the model card: the record of a run, and disclosure control of its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fer_id.evaluation.groups.disclosure import public_view
from fer_id.files import sha256
from fer_id.reporting.explanation import read_explanation
from fer_id.reporting.jobs import run_name
from fer_id.reporting.result_shapes import Explanation
from fer_id.runs.configs import Config
from fer_id.runs.job import Job
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir

BY_FOLD = {"calibration": "temperatures", "review": "thresholds", "conformal": "n_subjects_calibration"}
"""Values stored by fold; under leave-one-child-out a fold's name is a child's pseudonym."""

_OF_FEW = ("per_subject.", "subgroups.", *(f"{section}.{name}." for section, name in BY_FOLD.items()))


@dataclass(frozen=True)
class Record:
    """Content of a run's files, empty where they are missing. ``path`` is as it was typed; ``name``, ``study/name``,
    reveals no path on a disk. ``folds`` are the paths of the trainings of a cross-validation, none for a single
    training. ``elsewhere`` are the results of the same weights on other stores, by the store's name."""

    path: str
    name: str
    done: bool
    folds: tuple[str, ...]
    config: Config
    job: Job
    metrics: Metrics
    explanation: Explanation | None
    elsewhere: Mapping[str, Record] = field(default_factory=dict)


def read_record(run: RunDir) -> Record:
    """Read the record of a run that has at least its ``config.yaml``; raise RunError where a file is damaged."""
    return Record(
        path=str(run.path),
        name=run_name(run),
        done=run.done,
        folds=tuple(str(fold.path) for fold in run.folds),
        config=run.config(),
        job=run.job() if (run.path / "job.json").is_file() else Job(),
        metrics=run.metrics() if (run.path / "metrics.json").is_file() else Metrics(),
        explanation=read_explanation(run),
        elsewhere={other.path.name: read_record(other) for other in judged_elsewhere(run)},
    )


def judged_elsewhere(run: RunDir) -> list[RunDir]:
    """Return the finished results of a run's weights on other stores; those of weights that it has no more are not."""
    finished = [other for other in run.elsewhere if other.done and (other.path / "metrics.json").is_file()]
    if not finished or run.folds:
        return finished
    weights = sha256(run.checkpoint())
    return [other for other in finished if other.job().weights == weights]


def disclosed(metrics: Metrics) -> dict[str, object]:
    """Return ``metrics.json`` without the numbers of single children, pseudonyms, and groups of few children. Values by
    fold become a list in rising order. For real children the subgroups are those of the public view."""
    public: dict[str, object] = metrics.model_dump(exclude_unset=True, exclude={"per_subject"})
    for section, name in BY_FOLD.items():
        if isinstance(part := public.get(section), dict):
            by_fold = part.get(name) or {}
            part[name] = sorted(by_fold.values(), key=lambda value: (value is None, value or 0.0))  # nulls last
    if metrics.subgroups is not None:
        public["subgroups"] = disclosed_subgroups(metrics)
    public["reasons"] = {name: why for name, why in metrics.reasons.items() if not name.startswith(_OF_FEW)}
    return public


def disclosed_subgroups(metrics: Metrics) -> Mapping[str, Any]:
    """Return the public view of the entry ``subgroups``; empty where the entry is missing."""
    if metrics.subgroups is None:
        return {}
    real = metrics.provenance == "real"
    return public_view(metrics.subgroups) if real else metrics.subgroups.model_dump(exclude_unset=True)
