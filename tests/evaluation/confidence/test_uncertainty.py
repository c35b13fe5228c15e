import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score

from fer_id.errors import DataError
from fer_id.evaluation.confidence.uncertainty import decompose, error_auroc, uncertainty_scores, uncertainty_table
from fer_id.evaluation.intervals import jackknife
from fer_id.labels import TARGET


def members(seed, number=4, clips=6, classes=5, sharpness=1.0):
    return np.random.default_rng(seed).dirichlet(np.full(classes, sharpness), size=(number, clips))


@given(st.integers(2, 10), st.integers(2, 8), st.sampled_from([0.05, 1.0, 20.0]), st.integers(0, 2**32 - 1))
def test_the_entropy_of_the_mean_is_the_sum_of_both_kinds(number, classes, sharpness, seed):
    p = members(seed, number, classes=classes, sharpness=sharpness)
    doubt = decompose(p)
    np.testing.assert_allclose(doubt.total, entropy(p.mean(0), axis=-1), atol=1e-10)
    np.testing.assert_allclose(doubt.aleatoric, entropy(p, axis=-1).mean(0), atol=1e-10)
    np.testing.assert_allclose(doubt.total, doubt.aleatoric + doubt.epistemic)
    divergences = [entropy(member, p.mean(0), axis=-1) for member in p]  # mutual information, otherwise
    np.testing.assert_allclose(doubt.epistemic, np.mean(divergences, axis=0), atol=1e-10)
    assert (doubt.epistemic >= 0).all()
    assert (doubt.total <= np.log(classes) + 1e-10).all()


def test_shared_ambiguity_is_aleatoric_and_confident_disagreement_epistemic():
    torn, first, second = [0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    doubt = decompose(np.array([[torn, first], [torn, second]]))
    np.testing.assert_allclose(doubt.aleatoric, [np.log(2), 0])
    np.testing.assert_allclose(doubt.epistemic, [0, np.log(2)], atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (members(0)[:1], "1 members"),
        (members(0) * 1.01, "do not sum to 1"),
        (np.where(members(0) > 0.5, np.nan, members(0)), "NaN"),
        (np.array([[[1.5, -0.5]], [[0.5, 0.5]]]), r"outside \[0, 1\]"),
    ],
)
def test_invalid_probabilities_are_refused(wrong, message):
    with pytest.raises(DataError, match=message):
        decompose(wrong)


def test_the_auroc_of_a_doubt_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    doubt, right = rng.integers(0, 9, 80) / 9, rng.random(80) < 0.6
    subjects = rng.integers(0, 7, 80)
    value, interval = error_auroc(doubt, right, subjects)
    assert value == pytest.approx(roc_auc_score(~right, doubt))
    without = np.array([roc_auc_score(~right[subjects != s], doubt[subjects != s]) for s in range(7)])
    expected = jackknife(value, without)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.n_subjects == 7


def test_the_table_has_predictions_and_their_correctness():
    p = members(2, clips=40, sharpness=0.5)
    labels = np.random.default_rng(3).choice(TARGET.names, 40).astype(object)
    labels[0] = None
    clips = pd.DataFrame({"clip_id": [f"c{i}" for i in range(40)], "subject_id": "s", "fold": "a", "label": labels})
    table = uncertainty_table(p, clips, TARGET.names, "simulated")
    best = p.mean(0).argmax(-1)
    assert table["predicted"].tolist() == [TARGET.names[k] for k in best]
    assert pd.isna(table["right"][0])
    assert table["right"][1:].tolist() == (np.array(TARGET.names)[best] == labels)[1:].tolist()
    assert set(table["provenance"]) == {"simulated"}
    scores = uncertainty_scores(table, "ensemble", 4)
    assert (scores["n_clips"], scores["members"], scores["reason"]) == (40, 4, None)
    wrong = ~table["right"][1:].astype(bool)
    assert scores["auroc_error"]["confidence"] == pytest.approx(roc_auc_score(wrong, -table["confidence"][1:]))
    assert scores["auroc_error"]["epistemic"] == pytest.approx(roc_auc_score(wrong, table["epistemic"][1:]))
    assert set(scores["intervals"].values()) == {None}  # of one subject
    nothing = uncertainty_scores(table.assign(right=True), "ensemble", 4)
    assert set(nothing["auroc_error"].values()) == {None}
    assert nothing["reason"]
