"""Finished runs with records, configuration, curves and test predictions, for pages over several runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from fer_id.errors import FerIdError, Problems, RunError
from fer_id.evaluation.predictions import Judged, judge
from fer_id.labels import LabelSpace
from fer_id.objectives import MONITOR
from fer_id.reporting import words
from fer_id.reporting.jobs import read_metrics
from fer_id.runs.job import Job
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir

T = TypeVar("T")
_SAME = 1e-9


@dataclass
class Entry:
    """A finished run among several.

    Attributes:
        name: name of its row.
        run: the run.
        metrics: ``metrics.json``.
        job: ``job.json``.
        config: configuration by dotted keys.
        records: ``metrics.jsonl``, one table per fold.
        judged: its labelled test clips.
    """

    name: str
    run: RunDir
    metrics: Metrics
    job: Job
    config: dict[str, Any]
    records: list[pd.DataFrame]
    judged: Judged

    @property
    def curves(self) -> list[pd.Series]:
        """Inner-validation macro-F1 by epoch, one curve per fold that logged it."""
        return self.curves_of(MONITOR)

    def curves_of(self, column: str) -> list[pd.Series]:
        """Return a column of ``metrics.jsonl`` by epoch, one curve per fold that logged it."""
        return [curve for table in self.records if (curve := _curve(table, column)) is not None]


def load_entries(runs: Sequence[RunDir]) -> list[Entry]:
    """Return finished runs of one label space, in their order, each once.

    Raises:
        RunError: no run, runs of different label spaces, or files that are missing or damaged (all listed).
    """
    return read_entries(runs, lambda entry: entry)


def read_entries(
    runs: Sequence[RunDir],
    take: Callable[[Entry], T],
    names: Mapping[Path, str] | None = None,
    problems: Problems | None = None,
) -> list[T]:
    """Return the result of ``take`` for each run in order, each once; runs are released one by one.

    Args:
        runs: runs of one label space.
        take: called with each readable run, as long as all have the label space of the first.
        names: names of the runs, by resolved folder; the others get the shortest distinct names.
        problems: earlier problems, reported together with those of this function.

    Raises:
        RunError: no run, runs of different label spaces, or files that are missing or damaged (all listed).
    """
    unique = list({run.path.resolve(): run for run in runs}.values())
    problems, taken = problems if problems is not None else Problems("compare"), []
    if not unique and not len(problems):
        problems.add("no run given; name the folders of finished runs")
    called = short_names([run.path.resolve() for run in unique]) | dict(names or {})
    spaces: dict[tuple[str, ...], list[str]] = {}
    for run in unique:
        try:
            entry = read_entry(run, called[run.path.resolve()])
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
    """Return one finished run.

    Args:
        run: the run.
        name: name of its row; the mode is added where the model saw data of the tested children.

    Raises:
        RunError: a file is missing or damaged, or the metrics do not match the predictions.
        DataError: its predictions contradict their contract.
    """
    metrics = read_metrics(run)
    judged = judge(run.predictions(), LabelSpace("run", tuple(metrics.labels)), where=run.path / "predictions.parquet")
    _check_alike(run, metrics, judged)
    job = run.job()
    if job.mode in words.MODE_CAVEATS:
        name = f"{name} ({job.mode})"  # everywhere, so that it cannot pass for a result on new children
    records = [part.learning_curve() for part in run.folds or [run]]
    return Entry(name, run, metrics, job, flatten(dict(run.config())), records, judged)


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the shortest distinct names of folders: paths below their common folder."""
    if len(paths) < 2:
        return {path: path.name for path in paths}
    common = os.path.commonpath(paths)
    named = {path: path.relative_to(common).as_posix() for path in paths}
    return {path: path.name if name == "." else name for path, name in named.items()}


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _check_alike(run: RunDir, metrics: Metrics, judged: Judged) -> None:
    """Raise where ``metrics.json`` does not match the predictions, as after an incomplete copy."""
    clips = len(judged.truth)
    right = int((judged.truth == judged.predicted).sum())
    accuracy = metrics.accuracy_with_missing or 0.0
    if metrics.n_clips != clips or (clips and abs(accuracy - right / clips) > _SAME):
        raise RunError(
            f"{run.path}: metrics.json is not of these predictions ({right} of {clips} clips are right in "
            f"predictions.parquet); `fer-id evaluate {run.path}` computes it again"
        )


def _curve(table: pd.DataFrame, column: str) -> pd.Series | None:
    if not {"epoch", column} <= set(table):
        return None
    scores = table.dropna(subset=["epoch", column]).groupby("epoch")[column].mean()
    return scores if len(scores) else None
