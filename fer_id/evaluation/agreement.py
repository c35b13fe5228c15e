"""Inter-annotator agreement (Krippendorff's alpha), the human ceiling of accuracy, and soft labels from votes."""

from __future__ import annotations

from typing import Any

import krippendorff
import numpy as np
import pandas as pd

from fer_id.evaluation.scores import ratio
from fer_id.labels import LabelSpace


def vote_shares(votes: pd.DataFrame, space: LabelSpace) -> dict[str, list[float]]:
    """Return the soft label of every clip by its id: K shares of its annotators' votes, weighted by their confidence.

    The table has one row per vote: ``clip_id``, ``annotator``, ``label``, ``confidence`` (0 to 1; NaN counts as 1). A
    clip whose votes all have confidence 0 is left out.
    """
    weights = votes["confidence"].astype(float).fillna(1.0)
    table = weights.groupby([votes["clip_id"], votes["label"]]).sum().unstack(fill_value=0)
    table = table.reindex(columns=list(space.names), fill_value=0.0)
    totals = table.sum(axis=1)
    shares = table[totals > 0].div(totals[totals > 0], axis=0)
    return {str(clip): row.tolist() for clip, row in zip(shares.index, shares.to_numpy(), strict=True)}


def agreement(votes: pd.DataFrame, space: LabelSpace) -> dict[str, object]:
    """Compute Krippendorff's alpha and the human ceiling of votes as for :func:`vote_shares`.

    Alpha (Krippendorff, 2018, chapter 12; nominal) is 1 for full agreement and 0 for agreement by chance; annotators
    may have labelled some of the clips only. The ceiling is the accuracy of one annotator against the majority of the
    others, averaged over annotators; where the others are tied between n classes, each of these counts 1/n. By class it
    is the recall of one annotator against the majority of the others, averaged likewise. ``clips`` counts those with at
    least two votes; alpha and ceilings are None, with ``reason``, where there is none or all votes are for one class.
    """
    codes = votes.assign(code=[space.index(label) for label in votes["label"]])
    grid = codes.pivot(index="annotator", columns="clip_id", values="code").to_numpy(float)
    shared = np.isfinite(grid).sum(axis=0) > 1
    metrics: dict[str, object] = {"annotators": len(grid), "clips": int(shared.sum())}
    metrics |= {"alpha": None, "ceiling": None, "ceiling_by_class": None}
    if not shared.any():
        return {**metrics, "reason": "no clip was labelled by two people"}
    if len(np.unique(grid[:, shared][np.isfinite(grid[:, shared])])) < 2:
        return {**metrics, "reason": "all votes are for one class"}
    alpha = krippendorff.alpha(reliability_data=grid, level_of_measurement="nominal", value_domain=range(len(space)))
    overall, recalls = _ceiling(grid, len(space))
    by_class = dict(zip(space.names, recalls, strict=True))
    return {**metrics, "alpha": float(alpha), "ceiling": overall, "ceiling_by_class": by_class}


def _ceiling(grid: np.ndarray[Any, Any], classes: int) -> tuple[float, list[float | None]]:
    """Compute mean accuracy and K mean recalls of annotators (annotators, clips; NaN: no vote), each against the
    majority of the others."""
    scores, recalls = [], []
    for annotator, votes in enumerate(grid):
        others = np.delete(grid, annotator, axis=0)
        counts = np.stack([(others == code).sum(axis=0) for code in range(classes)])
        common = np.isfinite(votes) & (counts.max(axis=0) > 0)
        if common.any():
            best = (counts == counts.max(axis=0))[:, common]
            weight = best / best.sum(axis=0)  # (K, clips): 1 for the majority's class, 1/n for each of n tied classes
            chosen = votes[common] == np.arange(classes)[:, None]
            scores.append(float((weight * chosen).sum(axis=0).mean()))
            recalls.append(ratio((weight * chosen).sum(axis=1), weight.sum(axis=1)))
    table: np.ndarray[Any, Any] = np.stack(recalls)
    known = np.isfinite(table).any(axis=0)
    means = [float(np.nanmean(column)) if has else None for column, has in zip(table.T, known, strict=True)]
    return float(np.mean(scores)), means
