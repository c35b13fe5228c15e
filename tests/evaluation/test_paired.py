"""Paired comparison against scipy's tests; effect sizes by hand, against exact distributions, over every outcome."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fer_id.evaluation.paired import compare_runs, effect, hedges_g, sign_flip, superiority, why_not_paired
from fer_id.evaluation.predictions import judge
from fer_id.labels import TARGET

RUN, REFERENCE = np.array([0.8, 0.6, 0.9, 0.5, 0.7]), np.array([0.6, 0.5, 0.7, 0.6, 0.7])
Shares = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=30)


def test_a_run_does_not_differ_from_itself(random_table):
    judged = judge(random_table(TARGET), TARGET)
    assert why_not_paired(judged, judged) is None
    difference = compare_runs(judged, judged, len(TARGET)).differences["macro_f1"]
    assert difference.value == 0
    assert difference.interval.low is None


@pytest.mark.parametrize("subjects", [8, 60])
def test_pairing_is_sharper_than_comparing_two_intervals(random_table, table_from, subjects):
    worse = random_table(TARGET, clips=20 * subjects, subjects=subjects, skill=1.0)
    better = worse.copy()
    wrong = np.flatnonzero(worse["label"] != worse["predicted"])[::3]
    better.loc[wrong, "predicted"] = better.loc[wrong, "label"]
    runs = judge(better, TARGET), judge(worse, TARGET)
    difference = compare_runs(*runs, len(TARGET)).differences["accuracy_with_missing"]
    assert difference.value == pytest.approx(len(wrong) / len(worse))
    assert 0 < difference.interval.low < difference.value < difference.interval.high

    opposite = compare_runs(*runs[::-1], len(TARGET)).differences["accuracy_with_missing"]
    assert opposite.value == pytest.approx(-difference.value)
    assert opposite.interval.high < 0


def test_rows_in_another_order_are_the_same_clips(random_table):
    table = random_table(TARGET)
    shuffled = table.sample(frac=1, random_state=0)
    assert why_not_paired(judge(shuffled, TARGET), judge(table, TARGET)) is None
    difference = compare_runs(judge(shuffled, TARGET), judge(table, TARGET), len(TARGET)).differences
    assert difference["accuracy_with_missing"].value == 0


def test_runs_with_other_clips_labels_or_subjects_are_not_paired(random_table):
    table = random_table(TARGET)
    fewer = judge(table.iloc[:100], TARGET)
    assert why_not_paired(fewer, judge(table, TARGET)) == "other test clips: 100 in common of 100 and 120"
    other = table.assign(subject_id=["someone else", *table["subject_id"][1:]])
    assert why_not_paired(judge(other, TARGET), judge(table, TARGET)) == "1 clips have another label or subject"


@pytest.mark.parametrize("subjects", [2, 9, 13])
def test_the_sign_flip_equals_scipys_exact_permutation_test(subjects):
    for seed in range(8):
        gains = np.random.default_rng(seed).integers(-4, 6, subjects).astype(float)
        expected = stats.permutation_test((gains,), np.sum, permutation_type="samples", n_resamples=9_999).pvalue
        assert sign_flip(gains, np.zeros(subjects)) == pytest.approx(expected, rel=1e-12)


def test_the_sign_flip_is_a_binomial_test_where_every_difference_is_one_clip():
    gains = np.array([1.0] * 70 + [-1.0] * 40 + [0.0] * 300)
    expected = stats.binomtest(70, 110).pvalue
    assert sign_flip(gains, np.zeros(410)) == pytest.approx(expected, rel=1e-12)
    assert sign_flip(np.full(60, 3.0), np.zeros(60)) == pytest.approx(2.0**-59)  # far below what draws can tell
    assert sign_flip(np.zeros(20), np.zeros(20)) == 1
    assert np.isnan(sign_flip(np.ones(1), np.zeros(1)))


@pytest.mark.parametrize("trainings", [3, 7, 10])
def test_the_sign_flip_of_means_over_trainings_is_exact(trainings):
    """A mean over trainings is a whole number of clips divided by their number, so no flips have to be drawn."""
    rng = np.random.default_rng(trainings)
    right, reference = (rng.integers(0, 9, (12, number)).mean(axis=1) for number in (trainings, 5))
    expected = stats.permutation_test(
        (right - reference,), np.sum, permutation_type="samples", n_resamples=9_999
    ).pvalue
    assert sign_flip(right, reference) == pytest.approx(expected, rel=1e-12)
    alike = np.full(60, 1 / trainings)
    assert sign_flip(alike, np.zeros(60)) == pytest.approx(2.0**-59)  # 9,999 drawn flips end at .0001


def test_a_clip_that_was_tested_twice_is_not_paired(random_table):
    table = random_table(TARGET)
    twice = judge(pd.concat([table, table.iloc[:1].assign(fold="other")]), TARGET)
    assert why_not_paired(twice, twice) == "a clip was tested in more than one fold"


def test_g_by_hand() -> None:
    # Differences .2 .1 .2 -.1 0: mean .08. Variances .025 and .007, so the mean spread is the root of .016.
    assert statistics.variance(RUN.tolist()) == pytest.approx(0.025)
    assert statistics.variance(REFERENCE.tolist()) == pytest.approx(0.007)
    correction = math.gamma(2) / (math.sqrt(2) * math.gamma(1.5))  # four degrees of freedom
    assert correction == pytest.approx(1 - 3 / (4 * 4 - 1), abs=0.003)  # Hedges' usual approximation
    value, interval = hedges_g(RUN, REFERENCE)
    assert value == pytest.approx(correction * 0.08 / math.sqrt(0.016))

    # The limits are the effects under which a t so large, or so small, has a chance of 2.5 %.
    difference = RUN - REFERENCE
    scale = statistics.stdev(difference.tolist()) / math.sqrt(5) / math.sqrt(0.016)
    t = stats.ttest_rel(RUN, REFERENCE).statistic
    assert stats.nct.sf(t, 4, interval.low / scale) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, 4, interval.high / scale) == pytest.approx(0.025, abs=1e-6)


@given(Shares)
def test_the_interval_of_g_contains_zero_exactly_where_the_paired_t_test_is_not_significant(pairs) -> None:
    run, reference = np.array(pairs).T / 20
    value, interval = hedges_g(run, reference)
    opposite, mirrored = hedges_g(reference, run)
    if interval.low is None or interval.high is None:
        assert interval.reason
        return
    assert interval.low <= value <= interval.high
    assert (opposite, mirrored.low, mirrored.high) == pytest.approx((-value, -interval.high, -interval.low), abs=1e-6)
    p = stats.ttest_rel(run, reference).pvalue
    if abs(p - 0.05) > 1e-4:
        assert (interval.low <= 0 <= interval.high) == (p > 0.05)


@given(Shares, st.floats(0.5, 3), st.floats(-1, 1))
def test_g_is_invariant_to_unit_and_zero_of_the_scores(pairs: list[tuple[int, int]], unit: float, zero: float) -> None:
    run, reference = np.array(pairs).T / 20
    once, again = (hedges_g(*pair)[0] for pair in ((run, reference), (zero + unit * run, zero + unit * reference)))
    assert again == pytest.approx(once, abs=1e-6, nan_ok=True)


def test_without_ties_superiority_has_the_exact_binomial_limits() -> None:
    for wins in range(8):
        share, interval = superiority(wins, 7)
        exact = stats.binomtest(wins, 7).proportion_ci(method="exact")
        assert share == wins / 7
        assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("subjects", [6, 12])
def test_with_ties_the_limits_of_superiority_have_at_least_nominal_coverage(subjects: int) -> None:
    """Over every outcome of ``subjects`` subjects, for a grid of shares of better, worse and tied."""
    outcomes = [(better, alike) for better in range(subjects + 1) for alike in range(subjects + 1 - better)]
    limits = [superiority(better + alike / 2, subjects)[1] for better, alike in outcomes]
    for alike in np.arange(0, 1, 0.1):
        for better in np.linspace(0, 1 - alike, 12):
            truth = better + alike / 2
            held = [interval.low - 1e-9 <= truth <= interval.high + 1e-9 for interval in limits]
            world = stats.multinomial(subjects, [better, alike, max(0.0, 1 - better - alike)])
            chances = [world.pmf([b, a, subjects - b - a]) for b, a in outcomes]
            assert np.sum(np.array(chances)[held]) >= 0.95


def test_subjects_are_counted_by_the_sign_of_their_difference() -> None:
    effects = effect(RUN, REFERENCE)
    assert (effects.better, effects.worse, effects.alike) == (3, 1, 1)
    assert effects.superiority == pytest.approx(3.5 / 5)


def test_undefined_effects_have_a_reason() -> None:
    same = np.full(4, 0.5)
    assert "no spread" in str(hedges_g(same, same)[1].reason)
    value, interval = hedges_g(RUN, RUN - 0.1)
    assert value > 0
    assert "differs alike" in str(interval.reason)
    assert "at least 3" in str(hedges_g(RUN[:2], REFERENCE[:2])[1].reason)
    nobody = effect(np.zeros(0), np.zeros(0))
    assert math.isnan(nobody.superiority)
    assert nobody.superiority_interval.reason == "no subject"
