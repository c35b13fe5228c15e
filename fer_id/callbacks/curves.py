"""Learning curves in W&B: of one training as it goes, and of a cross-validation the mean over its folds.

A row is a line of ``metrics.jsonl``, with the epoch as x axis. What is withheld of few real children is left out, see
``fer_id.callbacks.telling``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytorch_lightning as pl

from fer_id.callbacks.mirror import harmless
from fer_id.callbacks.telling import FEW, SPLITS, told
from fer_id.errors import RunError
from fer_id.evaluation.groups.suppression import FEWEST_SUBJECTS
from fer_id.files import read_json_lines
from fer_id.runs.run_dir import RunDir

if TYPE_CHECKING:
    import wandb

MEANT = ("lr", "train/", "val/")
"""Beginnings of what a mean curve holds of its folds."""


class MirrorCurve(pl.Callback):
    """Tells the lines of ``metrics.jsonl`` as they are written; stands after ``Record``, which writes them.

    A training that resumes tells those of before first, so that the curve is whole whichever session is looked at.

    Args:
        run: the W&B run.
        path: ``metrics.jsonl``.
        monitor: decides which epoch is the best; its inner validation stands in the summary.
        hidden: first parts of names that are not told.
    """

    def __init__(self, run: wandb.Run, path: Path, monitor: str, hidden: Mapping[str, str]) -> None:
        self.run, self.path, self.monitor, self.hidden = run, path, monitor, hidden
        self._told: list[dict[str, Any]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tells what an interrupted training left, without the epochs that are trained again."""
        self._tell()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tells the epoch that ends."""
        self._tell()

    def _tell(self) -> None:
        with harmless():
            for row in read_json_lines(self.path, RunError)[len(self._told) :]:
                self._told.append(row)
                self.run.log(told(self._told[-1], self.hidden))
            summarise_best(self.run, [best_row(pd.DataFrame(self._told), self.monitor)], self.hidden)


def best_row(curve: pd.DataFrame, monitor: str) -> dict[str, float]:
    """The row of the best epoch, the first of equals, as its checkpoint is; empty where none was validated."""
    values = curve[monitor].dropna() if monitor in curve else pd.Series(dtype=float)
    if values.empty:
        return {}
    place = int(values.argmin() if monitor.endswith("loss") else values.argmax())
    row = curve.loc[values.index[[place]]].iloc[0]
    return {str(name): float(value) for name, value in row.dropna().items()}


def summarise_best(run: wandb.Run, rows: Sequence[Mapping[str, float]], hidden: Mapping[str, str]) -> None:
    """Puts the best epoch's inner validation into the summary, which else holds the last epoch's.

    Args:
        run: the W&B run.
        rows: :func:`best_row` of a training, or of each fold: the mean is taken. Empty ones are left out.
        hidden: first parts of names that are not told.
    """
    table = pd.DataFrame([row for row in rows if row])
    if not table.empty:
        numbers = {str(name): float(value) for name, value in table.mean().items() if str(name).startswith("val/")}
        run.summary.update(told({**numbers, "val/best_epoch": float(table["epoch"].mean())}, hidden))


def mean_curve(folds: Sequence[RunDir]) -> Iterator[dict[str, float]]:
    """The mean learning curve of a cross-validation.

    Yields:
        of every epoch the mean over the folds that trained so long, with ``epoch`` and their number ``folds``. Where
        real children are among those validated, only as long as these folds validate five or more of them together.
    """
    jobs = [fold.job() for fold in folds]
    curves = [fold.learning_curve() for fold in folds]
    last = max((int(curve["epoch"].max()) for curve in curves if len(curve)), default=-1)
    for epoch in range(last + 1):
        at = [(curve[curve["epoch"] == epoch], job) for curve, job in zip(curves, jobs, strict=True) if len(curve)]
        table = pd.concat([rows for rows, _ in at])
        hidden = [word for word in SPLITS if _few(word, [job for rows, job in at if _speaks_of(word, rows)])]
        means = {str(name): float(value) for name, value in table.mean().items() if str(name).startswith(MEANT)}
        yield {"epoch": epoch, "folds": len(table), **told(means, hidden)}


def _speaks_of(word: str, rows: pd.DataFrame) -> bool:
    """Whether any number of a split stands in these rows of a curve."""
    return bool(rows.filter(regex=f"^{word}/").notna().to_numpy().any())


def few_validated(folds: Sequence[RunDir]) -> dict[str, str]:
    """Which means over folds are withheld because fewer than five real children stand behind them, and why."""
    jobs = [fold.job() for fold in folds]
    return {word: FEW for word in SPLITS if _few(word, jobs)}


def _few(word: str, jobs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the real children of a split are too few, over all these trainings together."""
    split = SPLITS[word]
    if any(job.get("children") is None for job in jobs):
        return True
    counts = [job["children"].get(split, 0) for job in jobs]
    names = [set((job.get("subjects") or {}).get(split, ())) for job in jobs]
    # Where drawn subjects are among the names, no one here knows which: so many at least are real.
    all_real = all(count == len(known) for count, known in zip(counts, names, strict=True))
    children = len(set().union(*names)) if all_real else max(counts, default=0)
    return 0 < children < FEWEST_SUBJECTS
