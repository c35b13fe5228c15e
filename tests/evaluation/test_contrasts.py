"""Contrasts of macro recall against scipy's t-test, a two-way variance by hand, and simulated power."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import recall_score

from fer_id.evaluation.contrasts import (
    SHOWN,
    SMALLER,
    UNDECIDED,
    Clips,
    RecallEstimate,
    planned,
    recall,
    recall_difference,
    verdicts,
)


def made(clips=60, classes=3, bases=6, stills=20, seed=0):
    """Clips with every class, and correctness of two classifiers with three trainings each, (3, N)."""
    rng = np.random.default_rng(seed)
    truth = np.arange(clips) % classes
    names = [rng.integers(0, number, clips).astype(str).tolist() for number in (bases, stills)]
    right = (rng.random((2, 3, clips)) < 0.6).astype(float)
    return Clips.of(truth, *names), *right


def test_one_class_without_clusters_is_the_paired_t_test():
    _, right, other = made(clips=40)
    alone = Clips.of(np.zeros(40, int), [str(n) for n in range(40)], [str(n) for n in range(40)])
    estimate = recall_difference(right[:1], other[:1], alone)
    expected = stats.ttest_rel(right[0], other[0])
    assert estimate.value == pytest.approx((right[0] - other[0]).mean())
    assert estimate.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert (estimate.interval().low, estimate.interval().high) == pytest.approx((low, high))
    assert estimate.training is None


def test_the_two_way_variance_by_hand():
    """Two bases by two stills, one clip each of one class; correctness 1, 1, 1, 0 has influences 1, 1, 1, -3 (/16)."""
    clips = Clips.of(np.zeros(4, int), ["a", "a", "b", "b"], ["x", "y", "x", "y"])
    estimate = recall(np.array([[1.0, 1.0, 1.0, 0.0]]), clips)
    by_base = by_still = 2 * (2**2 + 2**2) / 16**2
    by_both = 4 / 3 * (3 * 1 + 9) / 16**2
    assert estimate.sampling == pytest.approx(max(by_base + by_still - by_both, by_base))
    assert estimate.clusters == 2


def test_macro_recall_is_that_of_sklearn_and_seeds_enter_the_error():
    clips, right, _ = made()
    predicted = np.where(right == 1, clips.truth, (clips.truth + 1) % 3)
    each = [recall_score(clips.truth, row, average="macro") for row in predicted]
    estimate = recall(right, clips)
    assert estimate.value == pytest.approx(np.mean(each))
    assert estimate.training == pytest.approx(np.var(each, ddof=1) / 3)
    assert estimate.error**2 == pytest.approx(estimate.sampling + np.var(each, ddof=1) / 3)
    assert min(2, clips.fewest - 1) <= estimate.freedom <= clips.fewest + 1


@given(st.integers(0, 10_000))
def test_neither_order_nor_copies_of_clips_change_a_contrast(seed):
    clips, right, other = made(seed=seed)
    rows = np.random.default_rng(seed).permutation(np.tile(np.arange(60), 3))
    copied = Clips(clips.truth[rows], clips.bases[rows], clips.stills[rows])
    first, second = recall_difference(right, other, clips), recall_difference(right[:, rows], other[:, rows], copied)
    assert second.value == pytest.approx(first.value, abs=1e-12)
    assert second.error == pytest.approx(first.error)


def test_the_interval_holds_where_bases_and_stills_both_vary():
    """Coverage of the nominal 95 % in 300 cohorts whose clips share effects of their base and of their still."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        bases, stills = np.repeat(np.arange(30), 8), rng.integers(0, 60, 240)
        chance = 0.3 * rng.standard_normal(30)[bases] + 0.3 * rng.standard_normal(60)[stills]
        clips = Clips.of(rng.integers(0, 2, 240), bases.astype(str).tolist(), stills.astype(str).tolist())
        interval = recall((chance + 0.3 * rng.standard_normal(240))[None], clips).interval()
        held += interval.low <= 0 <= interval.high
    assert held / 300 >= 0.92


@pytest.mark.parametrize("tests", [1, 5])
def test_a_detectable_difference_is_found_with_the_stated_power(tests):
    estimate = RecallEstimate(0.0, 0.01**2, None, 41, 1)
    critical = stats.t.ppf(1 - 0.025 / tests, 40)
    assert stats.nct.sf(critical, 40, estimate.detectable(tests) / 0.01) == pytest.approx(0.8, abs=0.01)


def test_a_plan_from_the_clips_themselves_is_their_error():
    clips, right, other = made()
    own = Clips(clips.truth, np.arange(60), np.arange(60))
    plan, result = planned(right - other, own, own), recall_difference(right, other, own)
    assert plan.error == pytest.approx(result.error, rel=0.02)
    four = Clips(np.tile(own.truth, 4), np.arange(240), np.arange(240))
    assert planned(right - other, own, four).sampling == pytest.approx(plan.sampling / 4)


def test_each_contrast_is_shown_or_smaller_or_undecided():
    estimates = {
        "large": RecallEstimate(0.05, 0.01**2, 0.0, 100, 5),
        "small": RecallEstimate(0.002, 0.005**2, 0.0, 100, 5),
        "wide": RecallEstimate(0.02, 0.02**2, 0.0, 100, 5),
        "none": RecallEstimate(0.0, float("nan"), None, 1, 1),
    }
    judged = verdicts(estimates, relevant=0.03)
    assert [verdict.answer for verdict in judged.values()] == [SHOWN, SMALLER, UNDECIDED, UNDECIDED]
    assert judged["small"].bound == pytest.approx(estimates["small"].interval(4).high)
    assert np.isnan(judged["none"].p_holm)
    assert "fewer than two" in estimates["none"].why_not


def test_clips_that_all_score_alike_have_no_interval():
    clips, *_ = made()
    estimate = recall(np.ones((1, 60)), clips)
    assert estimate.value == 1
    assert estimate.interval().reason == "every clip scores alike, so the spread is unknown"
