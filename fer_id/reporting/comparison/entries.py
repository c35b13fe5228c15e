"""Finished runs as pages over several of them read them: records, configuration, curves, and what was judged."""

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
from fer_id.reporting import words
from fer_id.reporting.jobs import described, read_metrics
from fer_id.runs.run_dir import RunDir

T = TypeVar("T")
MONITOR = "val/macro_f1"
_SAME = 1e-9


@dataclass
class Entry:
    """One run of several.

    Attributes:
        name: of its row.
        run: its folder.
        metrics: ``metrics.json``.
        job: ``job.json``, absent keys filled in.
        config: by dotted keys.
        records: ``metrics.jsonl``, one table per fold.
        judged: its labelled test clips.
    """

    name: str
    run: RunDir
    metrics: dict[str, Any]
    job: dict[str, Any]
    config: dict[str, Any]
    records: list[pd.DataFrame]
    judged: Judged

    @property
    def curves(self) -> list[pd.Series]:
        """Inner-validation macro-F1 by epoch, one per fold that logged it."""
        return self.curves_of(MONITOR)

    def curves_of(self, column: str) -> list[pd.Series]:
        """A column of ``metrics.jsonl`` by epoch, one per fold that logged it."""
        return [curve for table in self.records if (curve := _curve(table, column)) is not None]


def load_entries(runs: Sequence[RunDir]) -> list[Entry]:
    """Finished runs of one label space, in their order, each once.

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
    """What ``take`` makes of each run, in their order, each run once; a run is let go before the next one is read.

    Args:
        runs: of one label space.
        take: called with those that can be read, as long as they are of the first one's label space.
        names: what to call them, by resolved folder; others get the shortest names that tell them apart.
        problems: found before, and told with those that are found here.

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
        spaces.setdefault(tuple(entry.metrics["labels"]), []).append(entry.name)
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
    """One finished run.

    Args:
        run: its folder.
        name: of its row; a protocol that shows something of the tested children is added to it.

    Raises:
        RunError: a file is missing or damaged, or its numbers are not those of its predictions.
        DataError: its predictions contradict their contract.
    """
    metrics = read_metrics(run)
    judged = judge(
        run.predictions(), LabelSpace("run", tuple(metrics["labels"])), where=run.path / "predictions.parquet"
    )
    _check_alike(run, metrics, judged)
    job = described(run.job())
    if job["mode"] in words.MODE_CAVEATS:
        name = f"{name} ({job['mode']})"  # wherever it is named: it must not pass for a result on new children
    records = [part.learning_curve() for part in run.folds or [run]]
    return Entry(name, run, metrics, job, flatten(run.config()), records, judged)


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The shortest names that tell folders apart: below their common folder."""
    if len(paths) < 2:
        return {path: path.name for path in paths}
    common = os.path.commonpath(paths)
    named = {path: path.relative_to(common).as_posix() for path in paths}
    return {path: path.name if name == "." else name for path, name in named.items()}


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _check_alike(run: RunDir, metrics: dict[str, Any], judged: Judged) -> None:
    """Raises where ``metrics.json`` is not of these predictions, as after a copy that took one file of two."""
    clips = len(judged.truth)
    right = int((judged.truth == judged.predicted).sum())
    found = metrics["accuracy_with_missing"] or 0.0
    if metrics["n_clips"] != clips or (clips and abs(found - right / clips) > _SAME):
        raise RunError(
            f"{run.path}: metrics.json is not of these predictions ({right} of {clips} clips are right in "
            f"predictions.parquet); `fer-id evaluate {run.path}` computes it again"
        )


def _curve(table: pd.DataFrame, column: str) -> pd.Series | None:
    if not {"epoch", column} <= set(table):
        return None
    scores = table.dropna(subset=["epoch", column]).groupby("epoch")[column].mean()
    return scores if len(scores) else None
