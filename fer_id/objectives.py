"""Scores of inner validation that choose the best epoch of a run, or a run among several, and which way is better."""

from __future__ import annotations

MONITOR = "val/macro_f1"  # score that chooses unless another one is named
OBJECTIVES = {MONITOR: "macro-F1", "val/accuracy": "accuracy", "val/loss": "loss"}
"""Column of ``metrics.jsonl`` -> its name on a page."""


def lower_is_better(score: str) -> bool:
    """Return True for a loss, False for any other score."""
    return score.endswith("loss")
