import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from fer_id.evaluation.confidence.calibration import adaptive_ece, calibrated, fit_temperature, reliability
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
    assert np.isnan(reliability(np.zeros(0), np.zeros(0, dtype=bool)).ece)  # without a clip


def test_metrics_hold_the_error_of_the_raw_probabilities(random_table):
    table = random_table(TARGET)
    p = table[[f"p_{name}" for name in TARGET.names]].to_numpy()
    expected = reliability(p.max(1), (table["label"] == table["predicted"]).to_numpy()).ece
    calibration = compute_metrics(table, TARGET, "real")["calibration"]
    assert calibration["ece"] == pytest.approx(expected)
    assert calibration["bins"] == 15
    assert calibration["calibrated"] is None  # nobody fitted a temperature
    truth = table["label"].map(TARGET.index).to_numpy()
    assert calibration["nll"] == pytest.approx(log_loss(truth, p / p.sum(1, keepdims=True), labels=range(5)), abs=1e-3)
    assert calibration["brier"] == pytest.approx(((p - np.eye(5)[truth]) ** 2).sum(1).mean())


@given(st.integers(16, 300), st.integers(0, 2**32 - 1))
def test_adaptive_bins_hold_equally_many(n, seed):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.uniform(0.2, 1, n), rng.random(n) < 0.5
    order = np.argsort(confidence)
    edges = [len(part) for part in np.array_split(order, 15)]
    assert max(edges) - min(edges) <= 1
    parts = np.split(order, np.cumsum(edges)[:-1])
    expected = sum(abs(confidence[part].sum() - correct[part].sum()) for part in parts) / n
    assert adaptive_ece(confidence, correct) == pytest.approx(expected)
    assert np.isnan(adaptive_ece(np.zeros(0), np.zeros(0, bool)))


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_fit_temperature_recovers_the_temperature_of_the_data(true):
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(20_000, 5)) * 2
    p = softmax(logits / true, axis=1)
    truth = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    assert fit_temperature(logits, truth) == pytest.approx(true, rel=0.05)


def test_each_fold_is_calibrated_on_its_own_validation_without_test_labels(table_from):
    rng = np.random.default_rng(3)
    parts = []
    for fold, scale, clips in (("a", 3.0, 400), ("b", 0.5, 400), ("few", 1.0, 10)):
        for split in ("validation", "test"):
            truth = rng.integers(5, size=clips)
            logits = scale * (rng.normal(size=(clips, 5)) + 1.5 * np.eye(5)[truth])
            parts.append(table_from(TARGET, truth, logits, ["s"] * clips, split=split).assign(fold=fold))
    table = pd.concat(parts, ignore_index=True)
    table.loc[5, ["predicted", *(f"logit_{name}" for name in TARGET.names)]] = None
    table_calibrated, temperatures, reasons = calibrated(table, TARGET)
    assert temperatures["a"] == pytest.approx(6 * temperatures["b"], rel=0.2)
    assert set(reasons) == {"few"}
    assert "10 labelled clips" in reasons["few"]
    q = table_calibrated[[f"q_{name}" for name in TARGET.names]]
    assert q[table_calibrated["fold"] == "few"].isna().all(axis=None)
    assert q.iloc[5].isna().all()
    rest = (table_calibrated["fold"] != "few") & table_calibrated["predicted"].notna()
    np.testing.assert_allclose(q[rest].sum(axis=1), 1)
    assert (q[rest].to_numpy().argmax(1) == table_calibrated["predicted"][rest].map(list(TARGET.names).index)).all()
    table.loc[table["split"] == "test", "label"] = "neutral"
    pd.testing.assert_frame_equal(calibrated(table, TARGET)[0][q.columns], q)
