"""One run beside the reference: what a comparison keeps of it, so that hundreds of runs take little memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_id.errors import Problems
from fer_id.evaluation.paired import Comparison, compare_runs, holm, why_not_paired
from fer_id.evaluation.predictions import Judged
from fer_id.reporting import words
from fer_id.reporting.entries import MONITOR, Entry, read_entries
from fer_id.run_configs import FREE_KEYS
from fer_id.runs import RunDir

MONITORS = {"val/macro_f1": "macro-F1", "val/accuracy": "accuracy", "val/loss": "loss"}
"""Columns of ``metrics.jsonl`` that a run's best epoch may be chosen by, and what they are called."""

_LARGE = ("per_subject", "confusion_matrix", "reasons", "selective", "review", "conformal", "uncertainty")
_JOB = ("mode", "cost", "seconds", "peak_memory_bytes", "machine", "precision", "seed", "git_commit")


@dataclass
class Compared:
    """One run of a comparison.

    Attributes:
        name: of its row.
        path: its folder.
        metrics: ``metrics.json`` without what a comparison does not show.
        job: of ``job.json`` what a comparison shows.
        store: the name and fingerprint of the store it was judged on.
        people: whether its subjects are people.
        config: by dotted keys.
        curves: column of ``MONITORS`` -> inner-validation score by epoch, the mean over folds; those that all logged.
        reached: column of ``MONITORS`` -> its best value over the epochs, the mean over folds.
        folds: of a cross-validation; 1 of a single training.
        paired: beside the reference; None for the reference, and where the two cannot be paired.
        unpaired: why they cannot.
        p_holm: of ``paired.p``, corrected for the number of runs tested.
    """

    name: str
    path: Path
    metrics: dict[str, Any]
    job: dict[str, Any]
    store: dict[str, Any]
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
        return str(self.metrics["provenance"])


def compare_with_first(
    runs: Sequence[RunDir], names: Mapping[Path, str] | None = None, problems: Problems | None = None
) -> list[Compared]:
    """Every run beside the first, which is the reference, in their order.

    Args:
        runs: finished ones; one that is named twice counts once.
        names: what to call them, by resolved folder.
        problems: found before, and told with those that are found here.

    Raises:
        RunError: no run, runs of different label spaces, or files that are missing or damaged (all listed).
    """
    reference: list[tuple[Compared, Judged]] = []

    def take(entry: Entry) -> Compared:
        one = _kept(entry)
        if not reference:
            reference.append((one, entry.judged))
            return one
        first, judged = reference[0]
        one.unpaired = _why_not(one, first) or why_not_paired(entry.judged, judged)
        if one.unpaired is None:
            one.paired = compare_runs(entry.judged, judged, len(one.metrics["labels"]))
        return one

    compared = read_entries(runs, take, names, problems)
    tested = {place: one.paired.p for place, one in enumerate(compared) if one.paired}
    adjusted = holm({str(place): p for place, p in tested.items()})
    for place in tested:
        p = adjusted[str(place)]
        compared[place].p_holm = None if np.isnan(p) else p
    return compared


def monitor_of(compared: Iterable[Compared]) -> str:
    """What the best epochs were chosen by, where all runs agree and logged it; else macro-F1."""
    compared = list(compared)
    chosen = {one.config.get("trainer.monitor", MONITOR) for one in compared}
    agreed = chosen.pop() if len(chosen) == 1 else MONITOR
    return agreed if agreed in MONITORS and any(agreed in one.reached for one in compared) else MONITOR


def better_first(compared: Sequence[Compared], monitor: str) -> list[Compared]:
    """The best on inner validation first; those that logged none last, in their order."""
    sign = 1 if monitor == "val/loss" else -1
    return sorted(compared, key=lambda one: sign * one.reached[monitor] if monitor in one.reached else np.inf)


def differing_keys(compared: Sequence[Compared], swept: Sequence[str] = ()) -> list[str]:
    """Configuration keys that are not the same in all runs: the swept ones first, and last those that decide nothing
    that is learned, or that differ only in being no setting of some runs (as those of another version)."""
    known = dict.fromkeys(key for one in compared for key in one.config)
    keys = sorted(known, key=lambda key: swept.index(key) if key in swept else len(swept))
    values = {key: {repr(one.config[key]) for one in compared if key in one.config} for key in keys}
    everywhere = {key: all(key in one.config for one in compared) for key in keys}
    differing = [key for key in keys if key != "name" and (len(values[key]) > 1 or not everywhere[key])]
    return sorted(differing, key=lambda key: key not in swept and (key.startswith(FREE_KEYS) or len(values[key]) == 1))


def _kept(entry: Entry) -> Compared:
    store = entry.job["store"]
    # Where a fold has not logged a score, the mean of the others would be over other children: there is none.
    logged = {column: entry.curves_of(column) for column in MONITORS}
    folds = {column: found for column, found in logged.items() if found and len(found) == len(entry.records)}
    return Compared(
        name=entry.name,
        path=entry.run.path,
        metrics={key: value for key, value in entry.metrics.items() if key not in _LARGE},
        job={key: entry.job[key] for key in _JOB},
        store={key: store[key] for key in ("name", "fingerprint")},
        people=words.subjects_are_people(entry.metrics, store),
        config=entry.config,
        curves={column: pd.concat(found, axis=1).mean(axis=1) for column, found in folds.items()},
        reached={column: _reached(found, column) for column, found in folds.items()},
        folds=len(entry.records),
    )


def _reached(folds: Sequence[pd.Series], column: str) -> float:
    best = [float(fold.min() if column == "val/loss" else fold.max()) for fold in folds]
    return sum(best) / len(best)


def _why_not(one: Compared, reference: Compared) -> str | None:
    """Clips of two cohorts may bear the same names; of two provenances they are never the same."""
    if one.provenance != reference.provenance:
        return f"{one.provenance} clips, the reference's are {reference.provenance}"
    return None
