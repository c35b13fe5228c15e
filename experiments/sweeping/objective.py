"""Objective of a sweep trial: its best inner validation score, computed without test subjects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from experiments.sweeping.spec import OBJECTIVES
from fer_id.errors import RunError
from fer_id.runs.run_dir import RunDir


def measured(run: RunDir, metric: str) -> dict[str, Any]:
    """Return objective, epochs and seconds of a finished run.

    Args:
        run: the trial.
        metric: a key of :data:`~experiments.sweeping.spec.OBJECTIVES`.

    Raises:
        RunError: the run has no finite objective.
    """
    values, epochs = objective_curve(run, metric)
    objective = best(values, metric) if values else _as_predicted(run, metric)
    return {"objective": objective, "epochs": epochs, "seconds": run.job().seconds}


def objective_curve(run: RunDir, metric: str) -> tuple[list[float], int]:
    """Return the objective at each inner validation so far, and the number of epochs trained."""
    curve = run.learning_curve()
    if metric not in curve:
        return [], len(curve)
    return [float(score) for score in curve[metric].dropna() if math.isfinite(score)], len(curve)


def best(values: Sequence[float], metric: str) -> float:
    """Return the best of the objective's values."""
    return max(values) if OBJECTIVES[metric] == "maximize" else min(values)


def _as_predicted(run: RunDir, metric: str) -> float:
    """Return the objective from the validation predictions of a run that trained nothing and so logged no curve."""
    import torch
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    table = run.predictions()
    table = table[(table["split"] == "validation") & table["label"].notna() & table["predicted"].notna()]
    if metric == "val/loss" or table.empty:
        why = "no clip of its inner validation could be judged" if table.empty else "it learned nothing, so logged none"
        raise RunError(f"{run.path} has no {metric}: {why}")
    names = run.label_space().names
    truth, predicted = (torch.tensor([names.index(label) for label in table[name]]) for name in ("label", "predicted"))
    if metric == "val/accuracy":
        return float(multiclass_accuracy(predicted, truth, len(names), average="micro"))
    return float(multiclass_f1_score(predicted, truth, len(names), average="macro"))
