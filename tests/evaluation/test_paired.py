import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fer_id.evaluation.paired import compare_runs, sign_flip, why_not_paired
from fer_id.evaluation.predictions import judge
from fer_id.labels import TARGET


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
    difference = compare_runs(judge(better, TARGET), judge(worse, TARGET), len(TARGET)).differences[
        "accuracy_with_missing"
    ]
    assert difference.value == pytest.approx(len(wrong) / len(worse))
    assert 0 < difference.interval.low < difference.value < difference.interval.high

    opposite = compare_runs(judge(worse, TARGET), judge(better, TARGET), len(TARGET)).differences[
        "accuracy_with_missing"
    ]
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
    relabelled = table.copy()
    relabelled.loc[0, "subject_id"] = "someone else"
    assert "1 clips have another label or subject" in str(
        why_not_paired(judge(relabelled, TARGET), judge(table, TARGET))
    )


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


def test_a_clip_that_was_tested_twice_is_not_paired(random_table):
    table = random_table(TARGET)
    twice = judge(pd.concat([table, table.iloc[:1].assign(fold="other")]), TARGET)
    assert why_not_paired(twice, twice) == "a clip was tested in more than one fold"
