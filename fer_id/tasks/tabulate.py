"""Conversion of predicted batches into rows of ``predictions.parquet``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from fer_id.evaluation.confidence.threshold import FACE_SHARE
from fer_id.evaluation.predictions import NO_BASELINE, PREDICTED_AFFECT
from fer_id.labels import LabelSpace
from fer_id.models.heads import FEWEST
from fer_id.types import AFFECT, Predicted


def prediction_table(
    batches: Sequence[Predicted],
    rows: pd.DataFrame,
    labels: LabelSpace,
    *,
    fold: str,
    split: str,
    groups: list[str],
    own_baseline: bool = False,
) -> pd.DataFrame:
    """Return the rows of ``predictions.parquet`` for one split, one per clip predicted by ``predict_step``.

    ``rows`` are the store's rows of at least these clips, in any order; ``n_valid`` and ``length`` give the share of a
    clip's frames with a face. A clip without a valid frame has null predictions and is flagged. The columns ``groups``
    are carried along. Where the batches have valence and arousal, so has the table, beside the annotated ones. With
    ``own_baseline``, of a head that subtracts one, the clips without one are marked.
    """
    logits = torch.cat([batch["logits"] for batch in batches]).double()
    answered = torch.cat([batch["covered"] for batch in batches])
    covered = answered.numpy()
    ids = [clip_id for batch in batches for clip_id in batch["clip_id"]]
    rows = rows.set_index("clip_id").loc[ids].reset_index()
    names = labels.names
    table = rows[["clip_id", "subject_id"]].assign(fold=fold, split=split, label=rows["label"])
    table["predicted"] = pd.Series([names[k] for k in logits.argmax(dim=1)], dtype=object).where(covered, None)
    for prefix, values in (("logit", logits), ("p", logits.softmax(dim=1))):
        known = values.masked_fill(~answered.unsqueeze(1), float("nan")).numpy()
        table = table.join(pd.DataFrame(known, columns=[f"{prefix}_{name}" for name in names]))
    table = table.assign(**{f"q_{name}": float("nan") for name in names}, flagged=~covered)
    if all("affect" in batch for batch in batches):
        rated = torch.cat([batch["affect"] for batch in batches]).double()
        known = rated.masked_fill(~answered.unsqueeze(1), float("nan")).numpy()
        table[[*AFFECT]] = rows.reindex(columns=[*AFFECT]).to_numpy(np.float64, na_value=np.nan)
        table[[*PREDICTED_AFFECT]] = known
    if own_baseline:
        table[NO_BASELINE] = rows["n_valid"] < FEWEST
    return table.assign(**{FACE_SHARE: rows["n_valid"] / rows["length"]}, **{group: rows[group] for group in groups})
