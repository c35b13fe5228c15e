"""Annotators: soft labels, Krippendorff's alpha and the human ceiling."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from fer_id.evaluation.agreement import agreement, vote_shares
from fer_id.labels import TARGET


def table(votes: dict[str, dict[str, str]], confidence: float = float("nan")) -> pd.DataFrame:
    """Tabulate votes ``{clip: {annotator: label}}``."""
    rows = [(clip, who, label, confidence) for clip, labels in votes.items() for who, label in labels.items()]
    return pd.DataFrame(rows, columns=["clip_id", "annotator", "label", "confidence"])


def test_shares_are_votes_weighed_by_confidence() -> None:
    votes = table({"c1": {"a": "happy", "b": "happy", "c": "sad"}, "c2": {"a": "fear"}})
    assert vote_shares(votes, TARGET)["c1"] == pytest.approx([2 / 3, 1 / 3, 0, 0, 0])
    votes.loc[votes["annotator"] == "c", "confidence"] = 0.5
    assert vote_shares(votes, TARGET) == {
        "c1": pytest.approx([0.8, 0.2, 0, 0, 0]),
        "c2": pytest.approx([0, 0, 0, 1.0, 0]),
    }
    assert "c2" not in vote_shares(votes.assign(confidence=[1, 1, 1, 0.0]), TARGET)


def test_alpha_equals_the_published_example() -> None:
    """Krippendorff's own example with missing votes (Computing Krippendorff's Alpha-Reliability, 2011): 0.743."""
    observers = {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    }
    votes = {
        f"c{unit:02d}": {who: TARGET.names[codes[unit] - 1] for who, codes in observers.items() if codes[unit]}
        for unit in range(12)
    }
    assert agreement(table(votes), TARGET)["alpha"] == pytest.approx(0.743, abs=5e-4)


def test_the_ceiling_compares_each_annotator_with_the_majority_of_the_others() -> None:
    votes = {
        "c1": {"a": "happy", "b": "happy", "c": "happy"},
        "c2": {"a": "sad", "b": "sad", "c": "fear"},
        "c3": {"a": "fear", "b": "angry", "c": "neutral"},
    }
    metrics = agreement(table(votes), TARGET)
    # a: right, others tied between sad (b) and fear (c): half, none; b: right, half, none; c: right, none, none.
    assert metrics["ceiling"] == pytest.approx(np.mean([(1 + 0.5 + 0) / 3, (1 + 0.5 + 0) / 3, (1 + 0 + 0) / 3]))
    assert (metrics["annotators"], metrics["clips"]) == (3, 3)


@given(codes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30))
def test_the_ceiling_of_two_annotators_is_their_agreement(codes: list[tuple[int, int]]) -> None:
    names = [(TARGET.names[a], TARGET.names[b]) for a, b in codes]
    metrics = agreement(table({f"c{n}": {"a": a, "b": b} for n, (a, b) in enumerate(names)}), TARGET)
    if metrics["ceiling"] is None:
        assert len({name for pair in names for name in pair}) == 1
    else:
        first, second = zip(*names, strict=True)
        assert metrics["ceiling"] == pytest.approx(accuracy_score(first, second))
        settings = {"labels": TARGET.names, "average": None, "zero_division": np.nan}
        with warnings.catch_warnings(action="ignore"):  # of a class that nobody named: nan
            recalls = [recall_score(*pair, **settings) for pair in ((first, second), (second, first))]
            expected = np.nanmean(recalls, axis=0)
        by_class = np.array([metrics["ceiling_by_class"][name] for name in TARGET.names], float)
        np.testing.assert_allclose(by_class, expected)


def test_undefined_agreement_is_none_with_a_reason() -> None:
    alone = agreement(table({"c1": {"a": "sad"}, "c2": {"b": "happy"}}), TARGET)
    same = agreement(table({"c1": {"a": "sad", "b": "sad"}}), TARGET)
    for metrics, reason in ((alone, "two people"), (same, "one class")):
        assert (metrics["alpha"], metrics["ceiling"]) == (None, None)
        assert reason in metrics["reason"]
