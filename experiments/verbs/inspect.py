"""``fer-id inspect``: what a store holds, for a person."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fer_id.reporting.audit import audit_rows
from fer_id.settings import setting
from fer_id.store.reader import ClipStore


@dataclass
class InspectConfig:
    """Which store."""

    store: str = setting("", required=True, help="folder of the store")


def inspect(config: InspectConfig) -> str:
    """The description of a store, and what its audit found.

    Raises:
        StoreError: it is damaged or none.
    """
    store = ClipStore.open(config.store)
    found = [f"  {name}: {value}" for name, value in audit_rows(store.card.audit) if value]
    return "\n".join([describe(store), "audit (what is not listed was counted as 0):" if found else "no audit", *found])


def describe(store: ClipStore) -> str:
    """Path, provenance, and clips by split and class (splits only where there are some)."""
    clips, card = store.clips, store.card
    what = "images" if (clips["length"] == 1).all() else "clips"
    rows = clips["split"].fillna("no split") if clips["split"].notna().any() else pd.Series("all", index=clips.index)
    labels = clips["label"].fillna("unlabelled")
    counts = pd.crosstab(rows, labels, margins=True, margins_name="total").rename_axis(index=None, columns=None)
    order = [name for name in (*store.labels.names, "unlabelled", "total") if name in counts.columns]
    with_landmarks = card.parameters.get("images_with_landmarks")
    lines = [
        f"{store.path}: {len(clips)} {what}, {clips['length'].sum()} frames ({clips['n_valid'].sum()} valid)"
        + ("" if with_landmarks is None else f", {with_landmarks} images with landmarks"),
        f"provenance {card.provenance}, label space {card.label_space}, {clips['subject_id'].nunique()} subjects"
        + (" (groups of near-identical images)" if card.shard_by == "split" else ""),
        counts[order].to_string(),
        *(f"note: {note}" for note in card.notes),
    ]
    return "\n".join(lines)
