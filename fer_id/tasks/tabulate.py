"""Conversion of predicted batches into rows of ``predictions.parquet``."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from fer_id.evaluation.confidence.threshold import FACE_SHARE
from fer_id.labels import LabelSpace
from fer_id.types import Predicted


def prediction_table(
    batches: Sequence[Predicted],
    rows: pd.DataFrame,
    labels: LabelSpace,
    *,
    fold: str,
    split: str,
    groups: list[str],
) -> pd.DataFrame:
    """Return the rows of ``predictions.parquet`` for one split.

    Args:
        batches: output of ``ClipClassification.predict_step``: ``clip_id``, ``logits`` (B, K), ``covered`` (B,).
        rows: rows of the store for at least the predicted clips, in any order; ``n_valid`` and ``length`` give the
            share of a clip's frames with a face.
        labels: the K classes.
        fold, split: values for every row.
        groups: group columns to carry along.

    Returns:
        One row per predicted clip; a clip without a valid frame has null predictions and is flagged.
    """

    logits = torch.cat([batch["logits"] for batch in batches]).double()
    covered = torch.cat([batch["covered"] for batch in batches]).numpy()
    ids = [clip_id for batch in batches for clip_id in batch["clip_id"]]
    rows = rows.set_index("clip_id").loc[ids].reset_index()
    names = labels.names
    numbers = {
        **{f"logit_{name}": logits[:, k].numpy() for k, name in enumerate(names)},
        **{f"p_{name}": logits.softmax(dim=1)[:, k].numpy() for k, name in enumerate(names)},
    }
    table = rows[["clip_id", "subject_id"]].assign(fold=fold, split=split, label=rows["label"])
    table["predicted"] = pd.Series([names[k] for k in logits.argmax(dim=1)], dtype=object).where(covered, None)
    table = table.assign(**{key: pd.Series(value).where(covered) for key, value in numbers.items()})
    table = table.assign(**{f"q_{name}": float("nan") for name in names}, flagged=~covered)
    table = table.assign(**{FACE_SHARE: rows["n_valid"] / rows["length"]})
    return table.assign(**{group: rows[group] for group in groups})
