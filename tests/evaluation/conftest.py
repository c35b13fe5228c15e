"""Fixtures: tables of simulated predictions."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

Tables = Callable[..., pd.DataFrame]


def predictions_table(labels, truth, logits, subjects, *, split="test", missing=()) -> pd.DataFrame:
    """Return the columns of ``predictions.parquet``: N classes ``truth`` (-1: no label), logits (N, K), N subjects; the
    rows ``missing`` have no prediction."""
    names, p = np.array([*labels.names, None], object), np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = pd.DataFrame({"clip_id": [f"clip{i:05d}" for i in range(len(truth))], "subject_id": list(subjects)})
    table = table.assign(fold="holdout", split=split, label=names[truth], predicted=names[p.argmax(1)])
    for prefix, values in (("logit", logits), ("p", p), ("q", np.full(p.shape, None))):
        table[[f"{prefix}_{name}" for name in labels.names]] = values
    table.loc[list(missing), "predicted"] = None
    table.loc[list(missing), [c for c in table if c.startswith(("logit_", "p_"))]] = np.nan
    return table.assign(flagged=False)


@pytest.fixture(scope="session")
def table_from() -> Tables:
    """``table_from(labels, truth, logits, subjects)`` -> a table of these predictions."""
    return predictions_table


@pytest.fixture(scope="session")
def random_table() -> Tables:
    """``random_table(labels, clips=120, subjects=12)`` -> a table of plausible predictions."""

    def make(labels, clips=120, subjects=12, seed=0, skill=1.5) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        truth = rng.integers(len(labels), size=clips)
        logits = rng.normal(size=(clips, len(labels)))
        logits[np.arange(clips), truth] += skill * rng.uniform(0.3, 1.7, size=subjects)[np.arange(clips) % subjects]
        return predictions_table(labels, truth, logits, [f"s{i % subjects:04d}" for i in range(clips)])

    return make
