"""Concordance of valence and arousal against other libraries, its intervals, and the loss."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional import concordance_corrcoef

from fer_id.errors import DataError
from fer_id.evaluation.affect import concordance, moments
from fer_id.evaluation.intervals import jackknife
from fer_id.evaluation.metrics import compute_metrics
from fer_id.labels import TARGET
from fer_id.tasks.affect import Concordance, concordance_loss

Pairs = tuple[np.ndarray, np.ndarray]


def drawn(clips: int = 60, seed: int = 0) -> Pairs:
    """Return predictions and annotations (N, 2), a tenth of which are missing."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, (clips, 2))
    predicted = np.clip(0.6 * truth + 0.1 + rng.normal(0, 0.2, truth.shape), -1, 1)
    truth[rng.random(truth.shape) < 0.1] = np.nan
    return predicted, truth


def by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """Lin's formula (1989), moments over n."""
    x, y = x[~np.isnan(y)], y[~np.isnan(y)]
    return float(2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def test_the_coefficient_is_that_of_lin_and_of_torchmetrics() -> None:
    predicted, truth = drawn()
    expected = [by_hand(predicted[:, k], truth[:, k]) for k in range(2)]
    np.testing.assert_allclose(concordance(moments(predicted, truth).sum(axis=0)), expected)
    known = ~np.isnan(truth[:, 0])
    many = [torch.from_numpy(np.tile(values[known, 0], 2000)) for values in (predicted, truth)]  # theirs is over n - 1
    assert float(concordance_corrcoef(*many)) == pytest.approx(expected[0], abs=1e-4)
    metric, (x, y) = Concordance(), map(torch.from_numpy, (predicted, truth))
    metric.update(x[:7], y[:7])
    metric.update(x[7:], y[7:])
    values = {"valence_ccc": expected[0], "arousal_ccc": expected[1], "ccc": np.mean(expected)}
    assert metric.compute() == pytest.approx(values)
    loss = concordance_loss(x.float(), y.float())
    assert loss is not None
    assert float(loss) == pytest.approx(1 - np.mean(expected), abs=1e-6)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=9))
def test_it_is_symmetric_in_range_and_1_for_equal_values(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs).T
    value = float(concordance(moments(x, y).sum(axis=0)))
    if np.isnan(value):
        assert y.std() < 1e-5
        return
    assert -1 - 1e-9 <= value <= 1 + 1e-9
    assert float(concordance(moments(y, y).sum(axis=0))) == pytest.approx(1, abs=1e-6)


def test_the_loss_leaves_out_what_has_no_spread() -> None:
    x = torch.tensor([[0.1, 0.3], [0.5, 0.2], [0.4, 0.9]], requires_grad=True)
    nan = float("nan")
    assert concordance_loss(x, torch.tensor([[nan, nan], [0.5, nan], [nan, 0.2]])) is None
    loss = concordance_loss(x, torch.tensor([[0.2, nan], [0.5, nan], [nan, 0.2]]))
    assert loss is not None
    loss.backward()
    assert x.grad is not None
    assert x.grad[:, 1].tolist() == [0, 0, 0]
    assert x.grad[2, 0] == 0


@pytest.fixture
def table(random_table) -> pd.DataFrame:
    """Predictions of 60 clips of 12 subjects, every tenth without a label and the first without a face."""
    predicted, truth = drawn()
    rows = random_table(TARGET, clips=60)
    rows[["valence", "arousal"]], rows[["predicted_valence", "predicted_arousal"]] = truth, predicted
    rows.loc[::10, "label"] = None
    rows.loc[0, ["predicted_valence", "predicted_arousal"]] = np.nan
    return rows


def test_metrics_have_it_with_intervals_over_subjects(table: pd.DataFrame) -> None:
    metrics = compute_metrics(table, TARGET, "synthetic")
    scored = table.iloc[1:]
    value = by_hand(*scored[["predicted_valence", "valence"]].to_numpy().T)
    without = [
        by_hand(*rows[["predicted_valence", "valence"]].to_numpy().T)
        for subject in sorted(set(scored["subject_id"]))
        for rows in [scored[scored["subject_id"] != subject]]
    ]
    assert metrics.valence_ccc == pytest.approx(value)
    assert metrics.n_valence == scored["valence"].notna().sum()
    interval, expected = (
        metrics.interval("valence_ccc"),
        jackknife(value, np.array(without), bounds=(-1, 1), scale="fisher"),
    )
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.low < value < interval.high
    assert metrics.ccc == pytest.approx((value + metrics["arousal_ccc"]) / 2)


def test_an_undefined_one_has_a_reason_and_a_wrong_one_is_refused(table: pd.DataFrame) -> None:
    metrics = compute_metrics(table.assign(valence=np.nan, arousal=0.5), TARGET, "synthetic")
    assert (metrics.valence_ccc, metrics.arousal_ccc, metrics.ccc) == (None, None, None)
    assert metrics.reason("valence_ccc") == "fewer than two test clips have valence and a prediction"
    assert metrics.reason("arousal_ccc") == "all annotations of arousal are equal"
    assert metrics.reason("intervals.ccc")
    with pytest.raises(DataError, match=r"predicted_arousal is no number from -1 to 1 in 60 of 60 rows"):
        compute_metrics(table.assign(predicted_arousal=1.2), TARGET, "synthetic")
    plain = compute_metrics(table[table.columns[:-4]], TARGET, "synthetic")
    assert not plain.rates_affect
    assert "ccc" not in plain.model_dump(exclude_unset=True)
