import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from fer_id.evaluation.calibration import reliability
from fer_id.evaluation.metrics import compute_metrics
from fer_id.labels import TARGET


@given(st.integers(1, 200), st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 15]))
def test_ece_equals_torchmetrics(n, seed, bins):
    rng = np.random.default_rng(seed)
    p, truth = rng.dirichlet(np.ones(4) * 0.5, size=n), rng.integers(4, size=n)
    expected = multiclass_calibration_error(torch.tensor(p), torch.tensor(truth), num_classes=4, n_bins=bins)
    assert reliability(p.max(1), p.argmax(1) == truth, bins).ece == pytest.approx(float(expected), abs=1e-6)


def test_bins_hold_every_clip_and_edges_go_up():
    result = reliability(np.array([0.0, 0.2, 0.5, 1.0]), np.array([False, True, True, True]), bins=5)
    assert result.counts.tolist() == [1, 1, 1, 0, 1]
    assert np.isnan(result.accuracy[3])
    assert result.ece == pytest.approx((0 + 0.8 + 0.5 + 0) / 4)


def test_no_clip_no_calibration_error():
    assert np.isnan(reliability(np.zeros(0), np.zeros(0, dtype=bool)).ece)


def test_metrics_hold_the_error_of_the_raw_probabilities(random_table):
    table = random_table(TARGET)
    p = table[[f"p_{name}" for name in TARGET.names]].to_numpy()
    expected = reliability(p.max(1), (table["label"] == table["predicted"]).to_numpy()).ece
    calibration = compute_metrics(table, TARGET, "real")["calibration"]
    assert calibration == {"ece": pytest.approx(expected), "bins": 15, "of": "p"}
