import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fer_id.evaluation import scores
from fer_id.evaluation.auc import auc_by_class, auc_without_each, macro_auc


def test_counts_keep_groups_apart_and_missing_predictions_in_the_last_column():
    counts = scores.count_clips(np.array([0, 1, 1]), np.array([0, -1, 0]), np.array([0, 0, 1]), n_groups=2, classes=2)
    assert counts.tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [1, 0, 0]]]


@given(st.integers(0, 2**32 - 1))
def test_scores_of_many_tables_equal_those_of_single_tables(seed):
    counts = np.random.default_rng(seed).integers(0, 3, (2, 3, 4, 5)).astype(float)
    for score in (scores.accuracy, scores.accuracy_with_missing, scores.macro_f1, scores.macro_specificity):
        together = score(counts)
        alone = [[score(counts[i, j]) for j in range(3)] for i in range(2)]
        np.testing.assert_array_equal(together, alone)


@given(st.integers(0, 2**32 - 1))
def test_auc_without_each_subject_is_the_auc_of_the_others(seed):
    rng = np.random.default_rng(seed)
    n, classes, n_subjects = 24, 3, 4
    truth, subjects = rng.integers(classes, size=n), rng.integers(n_subjects, size=n)
    score = rng.integers(0, 5, (n, classes)) / 4  # coarse: many ties
    without_each = auc_without_each(score, truth, subjects, n_subjects)
    for subject in range(n_subjects):
        others = subjects != subject
        np.testing.assert_allclose(without_each[subject], auc_by_class(score[others], truth[others]))


@given(st.integers(0, 2**32 - 1))
def test_auc_equals_sklearn_with_ties(seed):
    rng = np.random.default_rng(seed)
    truth, score = rng.permutation(np.arange(30) % 3), rng.integers(0, 6, (30, 3)) / 5
    expected = [roc_auc_score(truth == k, score[:, k]) for k in range(3)]
    np.testing.assert_allclose(auc_by_class(score, truth), expected)


def test_macro_auc_leaves_out_undefined_classes():
    assert macro_auc(np.array([0.5, np.nan, 1.0])) == 0.75
    assert np.isnan(macro_auc(np.array([np.nan, np.nan])))
    assert np.isnan(auc_by_class(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))).all()


@pytest.mark.parametrize("score", [scores.macro_f1, scores.macro_recall, scores.accuracy])
def test_scores_without_clips_are_nan(score):
    assert np.isnan(score(np.zeros((3, 4))))
