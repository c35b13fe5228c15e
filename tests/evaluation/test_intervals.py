import numpy as np
import pytest
from scipy import stats

from fer_id.evaluation import scores
from fer_id.evaluation.intervals import DIFFERENCE_RANGE, count_intervals, jackknife
from fer_id.evaluation.metrics import compute_metrics
from fer_id.labels import TARGET

ACCURACY = {"accuracy": scores.overall_statistics(2)["accuracy"]}


def coin_flips(right: list[int], wrong: list[int]) -> np.ndarray:
    """Tables of two classes, one per subject, with so many clips right and wrong."""
    counts = np.zeros((len(right), 2, 3))
    counts[:, 0, 0], counts[:, 0, 1] = right, wrong
    return counts


def test_jackknife_of_a_mean_is_the_t_interval():
    values = np.array([0.2, 0.5, 0.9, 0.4, 0.6])
    without_each = (values.sum() - values) / 4
    interval = jackknife(values.mean(), without_each, bounds=DIFFERENCE_RANGE)
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_jackknife_of_clips_leaves_out_whole_subjects():
    without_each = np.array([7 / 20, 13 / 20, 10 / 20])  # right of the 20 clips of the two others
    logits = np.log(without_each / (1 - without_each))
    error = np.sqrt(2 / 3 * ((logits - logits.mean()) ** 2).sum())
    interval = count_intervals(coin_flips([8, 2, 5], [2, 8, 5]), ACCURACY)["accuracy"]
    margin = stats.t.ppf(0.975, 2) * error  # around the logit of one half, zero
    assert (interval.low, interval.high) == pytest.approx((1 / (1 + np.exp(margin)), 1 / (1 + np.exp(-margin))))
    assert interval.method == "jackknife"


def test_a_share_of_0_uses_the_plain_scale():
    right = np.array([10, 0, 0])  # without the first nobody is right
    without_each = (right.sum() - right) / 20
    error = np.sqrt(2 / 3 * ((without_each - without_each.mean()) ** 2).sum())
    interval = count_intervals(coin_flips([10, 0, 0], [0, 10, 10]), ACCURACY)["accuracy"]
    assert interval.low == 0
    assert interval.high == pytest.approx(min(1, 1 / 3 + stats.t.ppf(0.975, 2) * error))


@pytest.mark.parametrize("subjects", [2, 48])
def test_every_number_of_subjects_has_the_jackknife(random_table, subjects):
    metrics = compute_metrics(random_table(TARGET, clips=400, subjects=subjects), TARGET, "real")
    for score in ("macro_f1", "auc"):
        assert metrics["intervals"][score]["method"] == "jackknife"
        assert metrics["intervals"][score]["n_subjects"] == subjects


def test_one_subject_has_no_interval_and_says_why(random_table):
    metrics = compute_metrics(random_table(TARGET, subjects=1), TARGET, "real")
    assert metrics["accuracy"] is not None
    assert all(interval is None for interval in metrics["intervals"].values())
    assert "needs at least 2" in metrics["reasons"]["intervals.accuracy"]


@pytest.mark.parametrize("subjects", [5, 50])
def test_subjects_with_equal_scores_give_no_interval(subjects):
    interval = count_intervals(coin_flips([10] * subjects, [0] * subjects), ACCURACY)["accuracy"]
    assert interval.as_record() is None
    assert "scores alike" in interval.reason


def test_with_many_subjects_it_agrees_with_scipys_bootstrap_of_subjects():
    rng = np.random.default_rng(5)
    right = rng.integers(0, 21, size=400)
    drawn = stats.bootstrap((right / 20,), np.mean, method="percentile", rng=rng).confidence_interval
    interval = count_intervals(coin_flips(right.tolist(), (20 - right).tolist()), ACCURACY)["accuracy"]
    # Percentiles of 9,999 draws have a Monte-Carlo error of about sqrt(.025 * .975 / 9999) / density: below .001 here.
    assert (interval.low, interval.high) == pytest.approx((drawn.low, drawn.high), abs=0.003)


def test_an_interval_counts_the_contributing_subjects():
    counts = np.zeros((3, 2, 3))
    counts[:, 0, 0] = [4, 5, 6]
    counts[0, 1] = [1, 3, 0]
    counts[1, 1] = [2, 2, 0]
    statistics = {"recall": scores.class_statistics(2)[1, "recall"]}
    assert count_intervals(counts, statistics)["recall"].n_subjects == 2
