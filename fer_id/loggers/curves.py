"""Learning curves for W&B: the best epoch of a training, and the mean curve of a cross-validation over its folds.

A row is a line of ``metrics.jsonl``, with the epoch as x axis. Means over fewer than five real children are left out,
see ``fer_id.loggers.disclosure``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from fer_id.loggers.disclosure import FEW, SPLITS, disclosed, few_of_split
from fer_id.objectives import lower_is_better
from fer_id.runs.run_dir import RunDir

AVERAGED = ("lr", "train/", "val/")
"""Prefixes of the numbers that a mean curve averages over folds."""


def best_row(curve: pd.DataFrame, monitor: str) -> dict[str, float]:
    """Return the row of the best epoch, the first of equal ones as in its checkpoint; empty without a validation."""
    values = curve[monitor].dropna() if monitor in curve else pd.Series(dtype=float)
    if values.empty:
        return {}
    place = int(values.argmin() if lower_is_better(monitor) else values.argmax())
    row = curve.loc[values.index[[place]]].iloc[0]
    return {str(name): float(value) for name, value in row.dropna().items()}


def best_epoch_summary(rows: Sequence[Mapping[str, float]], hidden: Mapping[str, str]) -> dict[str, float]:
    """Return the inner validation of the best epoch, for a summary that otherwise holds the last epoch.

    ``rows`` are :func:`best_row` of a training, or of each fold (then the mean is taken); empty ones are left out.
    """
    table = pd.DataFrame([row for row in rows if row])
    if table.empty:
        return {}
    numbers = {str(name): float(value) for name, value in table.mean().items() if str(name).startswith("val/")}
    return disclosed({**numbers, "val/best_epoch": float(table["epoch"].mean())}, hidden)


def mean_curve(folds: Sequence[RunDir]) -> Iterator[dict[str, float]]:
    """Yield the mean learning curve of a cross-validation: of every epoch the mean over the folds that trained so long,
    with ``epoch`` and their number ``folds``. Where real children are among those validated, only as long as these
    folds validate five or more of them together."""
    jobs = [fold.job() for fold in folds]
    curves = [fold.learning_curve() for fold in folds]
    last = max((int(curve["epoch"].max()) for curve in curves if len(curve)), default=-1)
    for epoch in range(last + 1):
        at = [(curve[curve["epoch"] == epoch], job) for curve, job in zip(curves, jobs, strict=True) if len(curve)]
        table = pd.concat([rows for rows, _ in at])
        hidden = {w: FEW for w in SPLITS if few_of_split(w, [job for rows, job in at if _speaks_of(w, rows)])}
        averaged = {str(name): float(value) for name, value in table.mean().items() if str(name).startswith(AVERAGED)}
        yield {"epoch": epoch, "folds": len(table), **disclosed(averaged, hidden)}


def _speaks_of(word: str, rows: pd.DataFrame) -> bool:
    """Return whether these rows of a curve hold any number of a split."""
    return bool(rows.filter(regex=f"^{word}/").notna().to_numpy().any())
