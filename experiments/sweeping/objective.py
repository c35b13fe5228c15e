"""What a trial is worth: its best inner validation, and nothing of whom it tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from experiments.sweeping.spec import OBJECTIVES
from fer_id.errors import RunError
from fer_id.labels import get_space
from fer_id.runs.run_dir import RunDir


def measured(run: RunDir, metric: str) -> dict[str, Any]:
    """Objective, epochs and seconds of a finished run.

    Args:
        run: the trial.
        metric: of :data:`~experiments.sweeping.spec.OBJECTIVES`.

    Raises:
        RunError: it has no finite objective.
    """
    values, epochs = objective_curve(run, metric)
    objective = best(values, metric) if values else _as_predicted(run, metric)
    return {"objective": objective, "epochs": epochs, "seconds": run.job().get("seconds")}


def objective_curve(run: RunDir, metric: str) -> tuple[list[float], int]:
    """The objective at every inner validation so far, and how many epochs were trained."""
    curve = run.learning_curve()
    if metric not in curve:
        return [], len(curve)
    return [float(one) for one in curve[metric].dropna() if math.isfinite(one)], len(curve)


def best(values: Sequence[float], metric: str) -> float:
    """The best of them."""
    return max(values) if OBJECTIVES[metric] == "maximize" else min(values)


def _as_predicted(run: RunDir, metric: str) -> float:
    """Of a run that learned nothing, and so logged nothing: what a validation would have logged of its predictions."""
    import torch
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    table = run.predictions()
    table = table[(table["split"] == "validation") & table["label"].notna() & table["predicted"].notna()]
    if metric == "val/loss" or table.empty:
        why = "no clip of its inner validation could be judged" if table.empty else "it learned nothing, so logged none"
        raise RunError(f"{run.path} has no {metric}: {why}")
    names = get_space(run.job()["store"]["label_space"]).names
    truth, predicted = (torch.tensor([names.index(one) for one in table[name]]) for name in ("label", "predicted"))
    if metric == "val/accuracy":
        return float(multiclass_accuracy(predicted, truth, len(names), average="micro"))
    return float(multiclass_f1_score(predicted, truth, len(names), average="macro"))
