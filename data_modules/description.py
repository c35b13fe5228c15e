"""Description of stores and folds for ``job.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pandas as pd

from data_modules.pool import made_of
from fer_id.evaluation.config import SPLITS, Fold, Rows
from fer_id.evaluation.protocol import OF_THE_TESTED
from fer_id.labels import LabelSpace
from fer_id.runs.job import Geometry, Store
from fer_id.runs.records import Provenance
from fer_id.store.reader import ClipStore


class DataFacts(TypedDict):
    """Entries of ``job.json`` about the data."""

    fold: str | None
    mode: str
    dataset: str
    store: Store
    subjects: dict[str, list[str] | None]
    children: dict[str, int]
    clips: dict[str, int]
    dropped: dict[str, int]


def describe_stores(
    stores: Sequence[ClipStore], clips: pd.DataFrame, labels: LabelSpace, provenance: Provenance
) -> Store:
    """Return ``store`` of ``job.json``.

    Args:
        stores: opened stores, in their order.
        clips: the pooled table.
        labels: label space of the training.
        provenance: the least real provenance among the stores.
    """
    card = stores[0].card
    return Store(
        name=" + ".join(store.path.name for store in stores),
        fingerprint=", ".join(store.fingerprint for store in stores),
        made_of=made_of(stores),
        provenance=provenance,
        drawn=all(store.card.provenance == "synthetic" for store in stores),
        label_space=labels.name,
        shard_by=card.shard_by,
        geometry=Geometry.model_validate(card.geometry),
        mesh_mappings=sorted(filter(None, {store.card.mesh_mapping for store in stores})),
        fps=_same(clips["fps"].dropna().unique().tolist()),
        min_eye_distance=_same([store.card.settings.min_eye_distance for store in stores]),
        audit=card.audit if len(stores) == 1 else {store.path.name: store.card.audit for store in stores},
    )


def united(folds: Sequence[Fold]) -> dict[str, Rows]:
    """Return the rows of each split, all folds together; with ``unlabelled`` where a fold has unlabelled clips."""
    seen = (*SPLITS, *(["unlabelled"] if any(len(fold.unlabelled) for fold in folds) else []))
    return {split: np.unique(np.concatenate([getattr(fold, split) for fold in folds])) for split in seen}


def dropped(folds: Sequence[Fold]) -> dict[str, int]:
    """Return the clips left out by reason; for several folds only clips of test subjects, and missing folds."""
    if len(folds) == 1:
        return folds[0].dropped
    added = Counter[str]()
    for fold in folds:
        added.update({reason: count for reason, count in fold.dropped.items() if reason in OF_THE_TESTED})
    missing = {reason: count for reason, count in folds[0].dropped.items() if reason.startswith("folds ")}
    return dict(added) | missing


def _same(values: Sequence[float | None]) -> float | None:
    """Return the common value; None where the values differ or are all None."""
    known = set(values)
    return known.pop() if len(known) == 1 else None
