"""How far people agree about the same clips: the ceiling that a model is to be seen under."""

from __future__ import annotations

from typing import Any

import krippendorff
import numpy as np
import pandas as pd

from fer_id.labels import LabelSpace


def vote_shares(votes: pd.DataFrame, space: LabelSpace) -> dict[str, list[float]]:
    """Soft label of every clip: the votes of its annotators, weighed by their confidence, as shares.

    Args:
        votes: one row per vote: ``clip_id``, ``annotator``, ``label``, ``confidence`` (0 to 1; NaN counts as 1).
        space: the classes.

    Returns:
        clip_id -> K shares that sum to one; a clip whose annotators all had no confidence has none.
    """
    weights = votes["confidence"].astype(float).fillna(1.0)
    table = weights.groupby([votes["clip_id"], votes["label"]]).sum().unstack(fill_value=0)
    table = table.reindex(columns=list(space.names), fill_value=0.0)
    totals = table.sum(axis=1)
    shares = table[totals > 0].div(totals[totals > 0], axis=0)
    return {str(clip): row.tolist() for clip, row in zip(shares.index, shares.to_numpy(), strict=True)}


def agreement(votes: pd.DataFrame, space: LabelSpace) -> dict[str, Any]:
    """Krippendorff's alpha and the human ceiling.

    Alpha (Krippendorff, 2018, chapter 12; nominal) is 1 for full agreement and 0 for what chance gives; it allows for
    annotators who saw only some clips. The ceiling is the accuracy of one annotator against the majority of the others,
    in the mean over annotators; where the others are tied between n classes, naming one of them counts 1/n.

    Args:
        votes: as for :func:`vote_shares`.
        space: the classes.

    Returns:
        ``annotators``, ``clips`` (with at least two votes), ``alpha``, ``ceiling``; the latter two None where no clip
        has two votes, or where all votes are for one class (nothing could disagree), with ``reason``.
    """
    codes = votes.assign(code=[space.index(label) for label in votes["label"]])
    grid = codes.pivot(index="annotator", columns="clip_id", values="code").to_numpy(float)
    shared = np.isfinite(grid).sum(axis=0) > 1
    found: dict[str, Any] = {"annotators": len(grid), "clips": int(shared.sum()), "alpha": None, "ceiling": None}
    if not shared.any():
        return {**found, "reason": "no clip was labelled by two people"}
    if len(np.unique(grid[:, shared][np.isfinite(grid[:, shared])])) < 2:
        return {**found, "reason": "all votes are for one class"}
    alpha = krippendorff.alpha(reliability_data=grid, level_of_measurement="nominal", value_domain=range(len(space)))
    return {**found, "alpha": float(alpha), "ceiling": _ceiling(grid, len(space))}


def _ceiling(grid: np.ndarray[Any, Any], classes: int) -> float:
    """Accuracy (annotators, clips) codes, NaN for none: each annotator against the majority of the others."""
    scores = []
    for one, votes in enumerate(grid):
        others = np.delete(grid, one, axis=0)
        counts = np.stack([(others == code).sum(axis=0) for code in range(classes)])
        judged = np.isfinite(votes) & (counts.max(axis=0) > 0)
        if judged.any():
            best = counts == counts.max(axis=0)
            named = best[votes[judged].astype(int), np.flatnonzero(judged)]
            scores.append(float((named / best.sum(axis=0)[judged]).mean()))
    return float(np.mean(scores))
