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
    in the mean over annotators; where the others are tied between n classes, naming one of them counts 1/n. By class it
    is the recall of one annotator: of the clips that the others call happy, the share that it calls happy too.

    Args:
        votes: as for :func:`vote_shares`.
        space: the classes.

    Returns:
        ``annotators``, ``clips`` (with at least two votes), ``alpha``, ``ceiling``, ``ceiling_by_class``; the latter
        three None where no clip has two votes, or where all votes are for one class (nothing could disagree), with
        ``reason``.
    """
    codes = votes.assign(code=[space.index(label) for label in votes["label"]])
    grid = codes.pivot(index="annotator", columns="clip_id", values="code").to_numpy(float)
    shared = np.isfinite(grid).sum(axis=0) > 1
    found: dict[str, Any] = {"annotators": len(grid), "clips": int(shared.sum())}
    found |= {"alpha": None, "ceiling": None, "ceiling_by_class": None}
    if not shared.any():
        return {**found, "reason": "no clip was labelled by two people"}
    if len(np.unique(grid[:, shared][np.isfinite(grid[:, shared])])) < 2:
        return {**found, "reason": "all votes are for one class"}
    alpha = krippendorff.alpha(reliability_data=grid, level_of_measurement="nominal", value_domain=range(len(space)))
    overall, recalls = _ceiling(grid, len(space))
    by_class = dict(zip(space.names, recalls, strict=True))
    return {**found, "alpha": float(alpha), "ceiling": overall, "ceiling_by_class": by_class}


def _ceiling(grid: np.ndarray[Any, Any], classes: int) -> tuple[float, list[float | None]]:
    """Accuracy and recalls of each annotator (annotators, clips; NaN: no vote) against the majority of the others."""
    scores, recalls = [], []
    for one, votes in enumerate(grid):
        others = np.delete(grid, one, axis=0)
        counts = np.stack([(others == code).sum(axis=0) for code in range(classes)])
        judged = np.isfinite(votes) & (counts.max(axis=0) > 0)
        if judged.any():
            best = (counts == counts.max(axis=0))[:, judged]
            weight = best / best.sum(axis=0)  # of each class in each clip: 1 for the majority's, 1/n of n tied ones
            named = votes[judged] == np.arange(classes)[:, None]
            scores.append(float((weight * named).sum(axis=0).mean()))
            there = weight.sum(axis=1)
            recalls.append(
                np.divide((weight * named).sum(axis=1), there, out=np.full(classes, np.nan), where=there > 0)
            )
    table = np.stack(recalls)
    known = np.isfinite(table).any(axis=0)
    means = [float(np.nanmean(column)) if has else None for column, has in zip(table.T, known, strict=True)]
    return float(np.mean(scores)), means
