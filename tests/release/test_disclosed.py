"""Disclosure control: released metrics name no child and hold no single child's numbers."""

import json
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.release.evidence import disclosed
from fer_id.runs.metrics import Metrics, Review
from tests.release.conftest import good_metrics

CHILD = "s00000000deadbeef"


def left_out_child_by_child(provenance: str = "real") -> Metrics:
    """Return metrics of a cross-validation whose folds are named by the children's pseudonyms."""
    metrics = deepcopy(good_metrics(provenance))
    metrics["per_subject"] = {CHILD: {"accuracy": 0.2}}
    metrics["calibration"]["temperatures"] = {CHILD: 1.4, "s1": 1.1}
    metrics["review"]["thresholds"] = {CHILD: None, "s1": 0.6}
    metrics["conformal"] = {"level": 0.9, "verdict": "ok", "n_subjects_calibration": {CHILD: 7, "s1": 9}}
    metrics["reasons"] = {
        f"per_subject.{CHILD}": "no clip with a prediction",
        f"review.thresholds.{CHILD}": "too few",
        f"calibration.temperatures.{CHILD}": "too few",
        f"conformal.n_subjects_calibration.{CHILD}": "too few",
        "subgroups.columns.severity.groups.severe.ece": "1 subject",
        "auc": "all test clips are of one class",
    }
    return Metrics.model_validate(metrics)


@pytest.mark.parametrize("provenance", ["real", "simulated", "synthetic"])
def test_no_pseudonym_is_left(provenance: str) -> None:
    public = disclosed(left_out_child_by_child(provenance))
    assert CHILD not in json.dumps(public)
    assert "per_subject" not in public
    assert public["calibration"]["temperatures"] == [1.1, 1.4]
    assert public["review"]["thresholds"] == [0.6, None]
    assert public["conformal"]["n_subjects_calibration"] == [7, 9]
    assert public["reasons"] == {"auc": "all test clips are of one class"}


def test_the_input_is_not_modified() -> None:
    metrics = left_out_child_by_child()
    before = deepcopy(metrics)
    disclosed(metrics)
    assert metrics == before


def test_missing_metrics_disclose_nothing() -> None:
    assert disclosed(Metrics()) == {"reasons": {}}


@given(st.dictionaries(st.text(min_size=3), st.none() | st.floats(0, 1), max_size=4))
def test_values_by_fold_lose_the_names_of_their_folds(folds: dict[str, float | None]) -> None:
    public = disclosed(Metrics(review=Review(risk=0.2, thresholds=folds)))["review"]["thresholds"]
    assert sorted(public, key=str) == sorted(folds.values(), key=str)
