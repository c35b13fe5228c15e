"""Scores of inner validation that choose the best epoch of a run, or a run among several, and which way is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MONITOR = "val/macro_f1"  # score that chooses unless another one is named
OBJECTIVES = {MONITOR: "macro-F1", "val/accuracy": "accuracy", "val/loss": "loss"}
"""Column of ``metrics.jsonl`` -> its name on a page."""


def lower_is_better(score: str) -> bool:
    """Return True for a loss, False for any other score."""
    return score.endswith("loss")


def best_row(curve: pd.DataFrame, monitor: str) -> dict[str, float]:
    """Return the row of the best epoch, the first of equal ones as in its checkpoint; empty without a validation."""
    if monitor not in curve or (values := curve[monitor].dropna()).empty:
        return {}
    place = int(values.argmin() if lower_is_better(monitor) else values.argmax())
    row = curve.loc[values.index[[place]]].iloc[0]
    return {str(name): float(value) for name, value in row.dropna().items()}
