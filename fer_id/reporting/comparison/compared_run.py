"""Data of one run in a comparison, small enough for hundreds of runs in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_id.errors import Problems
from fer_id.evaluation.evaluate import subjects_are_people
from fer_id.evaluation.paired import Comparison, compare_runs, holm, why_not_paired
from fer_id.evaluation.predictions import Judged
from fer_id.objectives import MONITOR, OBJECTIVES, lower_is_better
from fer_id.reporting.comparison.entries import Entry, read_entries
from fer_id.runs.configs import FREE_KEYS
from fer_id.runs.job import Job
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir

_SMALL: Mapping[str, object] = {
    **{"per_subject": {}, "reasons": {}, "confusion_matrix": []},
    **dict.fromkeys(("selective", "review", "conformal", "uncertainty")),
}
"""Values instead of the large parts of ``metrics.json``, which a comparison does not show."""


@dataclass
class Compared:
    """A run of a comparison.

    Attributes:
        name: name of its row.
        path: its folder.
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
    """

    name: str
    path: Path
    metrics: Metrics
    job: Job
    people: bool
    config: dict[str, Any]
    curves: dict[str, pd.Series]
    reached: dict[str, float]
    folds: int = 1
    paired: Comparison | None = None
    unpaired: str | None = None
    p_holm: float | None = None

    @property
    def provenance(self) -> str:
        """``real``, ``simulated`` or ``synthetic``."""
        return self.metrics.provenance


def compare_with_first(
    runs: Sequence[RunDir], names: Mapping[Path, str] | None = None, problems: Problems | None = None
) -> list[Compared]:
    """Return every run compared with the first, which is the reference, in their order.

    Args:
        runs: finished runs; a run that is named twice counts once.
        names: names of the runs, by resolved folder.
        problems: earlier problems, reported together with those of this function.

    Raises:
        RunError: no run, runs of different label spaces, or files that are missing or damaged (all listed).
    """
    reference: list[tuple[Compared, Judged]] = []

    def take(entry: Entry) -> Compared:
        run = _compared(entry)
        if not reference:
            reference.append((run, entry.judged))
            return run
        first, judged = reference[0]
        run.unpaired = _why_not(run, first) or why_not_paired(entry.judged, judged)
        if run.unpaired is None:
            run.paired = compare_runs(entry.judged, judged, len(run.metrics.labels))
        return run

    compared = read_entries(runs, take, names, problems)
    tested = {place: run.paired.p for place, run in enumerate(compared) if run.paired}
    adjusted = holm({str(place): p for place, p in tested.items()})
    for place in tested:
        p = adjusted[str(place)]
        compared[place].p_holm = None if np.isnan(p) else p
    return compared


def monitor_of(compared: Iterable[Compared]) -> str:
    """Return the score that chose the best epochs, where all runs agree and logged it; else macro-F1."""
    compared = list(compared)
    chosen = {run.config.get("trainer.monitor", MONITOR) for run in compared}
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
    logged = {column: entry.curves_of(column) for column in OBJECTIVES}
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
    )


def _reached(folds: Sequence[pd.Series], column: str) -> float:
    best = [float(fold.min() if lower_is_better(column) else fold.max()) for fold in folds]
    return sum(best) / len(best)


def _why_not(run: Compared, reference: Compared) -> str | None:
    """Return why runs of different provenance cannot be paired, although their clips may have equal names."""
    if run.provenance != reference.provenance:
        return f"{run.provenance} clips, the reference's are {reference.provenance}"
    return None
