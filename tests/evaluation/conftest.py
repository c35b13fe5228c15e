"""Fixtures: tables of simulated predictions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fer_id.labels import LabelSpace

TablesFrom = Callable[..., pd.DataFrame]


@pytest.fixture(scope="session")
def table_from() -> TablesFrom:
    """Return a factory: ``table_from(labels, truth, logits, subjects)`` -> the columns of ``predictions.parquet``."""

    def make(
        labels: LabelSpace,
        truth: Sequence[int],
        logits: np.ndarray,
        subjects: Sequence[str],
        *,
        missing: Sequence[int] = (),
    ) -> pd.DataFrame:
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        columns: dict[str, Any] = {
            "clip_id": [f"clip{i:05d}" for i in range(len(truth))],
            "subject_id": list(subjects),
            "fold": "holdout",
            "split": "test",
            "label": [labels.names[t] if t >= 0 else None for t in truth],
            "predicted": [labels.names[k] for k in p.argmax(1)],
        }
        columns |= {f"logit_{name}": logits[:, k] for k, name in enumerate(labels.names)}
        columns |= {f"p_{name}": p[:, k] for k, name in enumerate(labels.names)}
        columns |= {f"q_{name}": None for name in labels.names}
        table = pd.DataFrame(columns | {"flagged": False})
        for row in missing:
            table.loc[row, "predicted"] = None
            table.loc[row, [c for c in table if str(c).startswith(("logit_", "p_"))]] = np.nan
        return table

    return make


@pytest.fixture(scope="session")
def random_table(table_from: TablesFrom) -> TablesFrom:
    """Return a factory of plausible predictions: ``random_table(labels, clips=120, subjects=12)``."""

    def make(
        labels: LabelSpace, clips: int = 120, subjects: int = 12, seed: int = 0, skill: float = 1.5
    ) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        truth = rng.integers(len(labels), size=clips)
        logits = rng.normal(size=(clips, len(labels)))
        logits[np.arange(clips), truth] += skill * rng.uniform(0.3, 1.7, size=subjects)[np.arange(clips) % subjects]
        return table_from(labels, truth, logits, [f"s{i % subjects:04d}" for i in range(clips)])

    return make
