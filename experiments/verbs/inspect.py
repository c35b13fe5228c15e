"""``fer-id inspect``: summary of a store and its audit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_id.errors import ConfigError
from fer_id.reporting.audit import audit_rows
from fer_id.settings import setting
from fer_id.store.reader import ClipStore


@dataclass
class InspectConfig:
    """Configuration of an inspection."""

    store: str = setting("", required=True, help="folder of the store")


def inspect(config: InspectConfig) -> str:
    """Return the summary of a store and the results of its audit."""
    store = ClipStore.open(config.store)
    audit = [f"  {name}: {value}" for name, value in audit_rows(store.card.audit) if value]
    return "\n".join([describe(store), "audit (what is not listed was counted as 0):" if audit else "no audit", *audit])


def describe(store: ClipStore) -> str:
    """Return path, provenance, and a table of clips by split (where there are splits) and class."""
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


def require_free(out: Path, *, overwrite: bool) -> None:
    """Raise ConfigError where the folder to make exists, unless it is to be replaced."""
    if out.exists() and not overwrite:
        raise ConfigError(f"out={out}: exists already; choose another folder, or say overwrite=true to replace it")
