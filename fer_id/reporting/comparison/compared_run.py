"""Finished runs for pages over several runs, and their comparison with the first."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from fer_id.errors import FerIdError, Problems, RunError
from fer_id.evaluation.choice import LossDifference, loss_difference, validation_losses
from fer_id.evaluation.evaluate import subjects_are_people
from fer_id.evaluation.paired import Comparison, compare_runs, holm, why_not_paired
from fer_id.evaluation.predictions import Judged, judge
from fer_id.labels import LabelSpace
from fer_id.objectives import MONITOR, OBJECTIVES, lower_is_better
from fer_id.reporting import words
from fer_id.reporting.figures import curves_by_epoch
from fer_id.reporting.jobs import read_metrics
from fer_id.runs.configs import FREE_KEYS, leaves
from fer_id.runs.job import Job, Store
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir

T = TypeVar("T")
_SAME = 1e-9
_SMALL: Mapping[str, object] = {
    **{"per_subject": {}, "reasons": {}, "confusion_matrix": []},
    **dict.fromkeys(("selective", "review", "conformal", "uncertainty")),
}
"""Values instead of the large parts of ``metrics.json``, which a comparison does not show."""


@dataclass
class Entry:
    """A finished run among several: its configuration by dotted keys, ``metrics.jsonl`` of each fold, its labelled test
    clips, and the losses of its inner-validation clips; ``name`` is that of its row."""

    name: str
    run: RunDir
    metrics: Metrics
    job: Job
    config: dict[str, object]
    records: list[pd.DataFrame]
    judged: Judged
    losses: pd.DataFrame


def read_entries(
    runs: Sequence[RunDir],
    take: Callable[[Entry], T],
    names: Mapping[Path, str] | None = None,
    problems: Problems | None = None,
) -> list[T]:
    """Return the result of ``take`` for each run in order, each once; runs are released one by one.

    ``take`` is called with each readable run, as long as all have the label space of the first. ``names`` are those of
    runs by resolved folder; the others get the shortest distinct names. ``problems`` are earlier ones, reported with
    those of this function. Raises RunError: no run, runs of different label spaces, or files that are missing or
    damaged (all listed).
    """
    unique = {run.path.resolve(): run for run in runs}
    problems, taken = problems if problems is not None else Problems("compare"), []
    if not unique and not len(problems):
        problems.add("no run given; name the folders of finished runs")
    called = short_names([*unique]) | dict(names or {})
    spaces: dict[tuple[str, ...], list[str]] = {}
    for path, run in unique.items():
        try:
            entry = read_entry(run, called[path])
        except FerIdError as error:
            problems.add(str(error))
            continue
        spaces.setdefault(tuple(entry.metrics.labels), []).append(entry.name)
        if len(spaces) == 1:
            taken.append(take(entry))
    hint = ""
    if len(spaces) > 1:
        hint = "Scores over different classes cannot be compared; compare each label space on its own."
        for labels, members in spaces.items():
            problems.add(f"classes {', '.join(labels)}: {', '.join(members[:3])}{' ...' if len(members) > 3 else ''}")
    problems.raise_if_any(RunError, hint)
    return taken


def read_entry(run: RunDir, name: str) -> Entry:
    """Return one finished run; the mode is added to its name where the model saw data of the tested children. Raises
    RunError where a file is missing or damaged, or the metrics do not match the predictions (an incomplete copy), and
    DataError where its predictions contradict their contract."""
    metrics, job = read_metrics(run), run.job()
    predictions, labels = run.predictions(), LabelSpace("run", tuple(metrics.labels))
    judged = judge(predictions, labels, where=run.path / "predictions.parquet")
    clips, right = len(judged.truth), int((judged.truth == judged.predicted).sum())
    accuracy = metrics.accuracy_with_missing or 0.0
    if metrics.n_clips != clips or (clips and abs(accuracy - right / clips) > _SAME):
        raise RunError(
            f"{run.path}: metrics.json is not of these predictions ({right} of {clips} clips are right in "
            f"predictions.parquet); `fer-id evaluate {run.path}` computes it again"
        )
    if job.mode in words.MODE_CAVEATS:
        name = f"{name} ({job.mode})"  # everywhere, so that it cannot pass for a result on new children
    records = [part.learning_curve() for part in run.folds or [run]]
    losses = validation_losses(predictions, labels)
    return Entry(name, run, metrics, job, dict(leaves(run.config())), records, judged, losses)


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the shortest distinct names of folders: paths below their common folder."""
    if len(paths) < 2:
        return {path: path.name for path in paths}
    common = os.path.commonpath(paths)
    named = {path: path.relative_to(common).as_posix() for path in paths}
    return {path: path.name if name == "." else name for path, name in named.items()}


class Result(NamedTuple):
    """Result of a run on another store."""

    path: Path
    metrics: Metrics
    store: Store


@dataclass
class Compared:
    """A run of a comparison.

    Attributes:
        name: name of its row.
        metrics: the part of ``metrics.json`` that a comparison shows.
        job: ``job.json`` without its lists of subjects and the audit.
        people: True where its subjects are people.
        config: configuration by dotted keys.
        curves: column of ``OBJECTIVES`` -> score by epoch, mean over folds; only if all folds logged it.
        reached: column of ``OBJECTIVES`` -> its best value over the epochs, the mean over folds.
        folds: number of folds; 1 for a single training.
        paired: comparison with the reference; None for the reference, and where the two cannot be paired.
        unpaired: reason why they cannot be paired.
        p_holm: ``paired.p`` corrected for the number of runs tested.
        loss: mean NLL of its inner-validation clips; None without any.
        choice: difference of that NLL from the reference's; None for the reference, and on other clips.
        elsewhere: results of its model on other stores.
    """

    name: str
    path: Path
    metrics: Metrics
    job: Job
    people: bool
    config: dict[str, object]
    curves: dict[str, pd.Series]
    reached: dict[str, float]
    folds: int = 1
    paired: Comparison | None = None
    unpaired: str | None = None
    p_holm: float | None = None
    loss: float | None = None
    choice: LossDifference | None = None
    elsewhere: list[Result] = field(default_factory=list)

    @property
    def provenance(self) -> str:
        """``real``, ``simulated`` or ``synthetic``."""
        return self.metrics.provenance


def compare_with_first(
    runs: Sequence[RunDir], names: Mapping[Path, str] | None = None, problems: Problems | None = None
) -> list[Compared]:
    """Return every run compared with the first, which is the reference; arguments and errors of `read_entries`."""
    reference: list[tuple[Compared, Entry]] = []

    def take(entry: Entry) -> Compared:
        run = _compared(entry)
        if not reference:
            reference.append((run, entry))
            return run
        first, other = reference[0]
        if run.provenance != first.provenance:  # although their clips may have equal names
            run.unpaired = f"{run.provenance} clips, the reference's are {first.provenance}"
        else:
            run.unpaired = why_not_paired(entry.judged, other.judged)
        if run.unpaired is None:
            run.paired = compare_runs(entry.judged, other.judged, len(run.metrics.labels))
        if run.provenance == first.provenance:
            run.choice = loss_difference(entry.losses, other.losses)
        return run

    compared = read_entries(runs, take, names, problems)
    adjusted = holm({str(place): run.paired.p for place, run in enumerate(compared) if run.paired})
    for place, p in adjusted.items():
        compared[int(place)].p_holm = None if np.isnan(p) else p
    return compared


def monitor_of(compared: Sequence[Compared]) -> str:
    """Return the score that chose the best epochs, where all runs agree and logged it; else macro-F1."""
    chosen = {str(run.config.get("trainer.monitor", MONITOR)) for run in compared}
    agreed = chosen.pop() if len(chosen) == 1 else MONITOR
    return agreed if agreed in OBJECTIVES and any(agreed in run.reached for run in compared) else MONITOR


def better_first(compared: Sequence[Compared], monitor: str) -> list[Compared]:
    """Return the runs with the best on inner validation first; runs without such a score last, in their order."""
    sign = 1 if lower_is_better(monitor) else -1
    return sorted(compared, key=lambda run: sign * run.reached[monitor] if monitor in run.reached else np.inf)


def differing_keys(compared: Sequence[Compared], swept: Sequence[str] = ()) -> list[str]:
    """Return the configuration keys that differ between runs: swept keys first; last keys that do not affect learning,
    and keys that differ only by being absent in some runs (as those of another version)."""
    known = dict.fromkeys(key for run in compared for key in run.config)
    keys = sorted(known, key=lambda key: swept.index(key) if key in swept else len(swept))
    values = {key: {repr(run.config[key]) for run in compared if key in run.config} for key in keys}
    everywhere = {key: all(key in run.config for run in compared) for key in keys}
    differing = [key for key in keys if key != "name" and (len(values[key]) > 1 or not everywhere[key])]
    return sorted(differing, key=lambda key: key not in swept and (key.startswith(FREE_KEYS) or len(values[key]) == 1))


def _compared(entry: Entry) -> Compared:
    # Where a fold has not logged a score, the mean over the others would be over other children, so it is left out.
    logged = {column: curves_by_epoch(entry.records, column) for column in OBJECTIVES}
    folds = {column: curves for column, curves in logged.items() if curves and len(curves) == len(entry.records)}
    return Compared(
        name=entry.name,
        path=entry.run.path,
        metrics=entry.metrics.model_copy(update=_SMALL),
        job=entry.job.model_copy(update={"subjects": {}, "store": entry.job.store.model_copy(update={"audit": {}})}),
        people=subjects_are_people(entry.metrics, entry.job.store),
        config=entry.config,
        curves={column: pd.concat(curves, axis=1).mean(axis=1) for column, curves in folds.items()},
        reached={column: _reached(curves, column) for column, curves in folds.items()},
        folds=len(entry.records),
        loss=float(entry.losses["nll"].mean()) if len(entry.losses) else None,
        elsewhere=_elsewhere(entry.run),
    )


def _elsewhere(run: RunDir) -> list[Result]:
    """Return the results of a run on other stores, by name, without those that have no metrics (after a withdrawal)."""
    found = []
    for other in run.elsewhere:
        with suppress(RunError):
            found.append(Result(other.path, read_metrics(RunDir.open(other.path)), other.job().store))
    return found


def _reached(folds: Sequence[pd.Series], column: str) -> float:
    best = [float(fold.min() if lower_is_better(column) else fold.max()) for fold in folds]
    return sum(best) / len(best)
