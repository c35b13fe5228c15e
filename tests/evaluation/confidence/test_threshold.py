import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fer_id.evaluation.confidence.calibration import calibrated
from fer_id.evaluation.confidence.threshold import (
    BOUND_LEVEL,
    FEWEST_SUBJECTS,
    choose_threshold,
    flagged,
    review_scores,
    risk_bound,
    top_probability,
)
from fer_id.evaluation.intervals import jackknife
from fer_id.labels import TARGET


def children(rng, number, clips=15, skill=1.2, spread=0.8):
    """Confidence and correctness (number, clips) of children with different accuracy."""
    served = rng.normal(skill, spread, (number, 1)) + rng.normal(0, 1.2, (number, clips))
    right = rng.random((number, clips)) < 1 / (1 + np.exp(-served))
    confidence = 1 / (1 + np.exp(-(skill + 0.7 * (served - skill) + rng.normal(0, 0.5, (number, clips)))))
    return confidence, right


def choose(confidence, right, risk=0.2):
    names = pd.Series(np.repeat([f"s{i}" for i in range(len(confidence))], confidence.shape[1]))
    return choose_threshold(confidence.ravel(), right.ravel(), names, risk)


@pytest.fixture
def table(random_table):
    """Predictions of eight children of inner validation and eight test children."""
    validation = random_table(TARGET, clips=240, subjects=8, seed=1, skill=4).assign(split="validation")
    test = random_table(TARGET, clips=240, subjects=8, seed=2, skill=4)
    test = test.assign(subject_id="t" + test["subject_id"], clip_id="t" + test["clip_id"])
    return pd.concat([validation, test], ignore_index=True)


def test_the_bound_is_the_jackknife_with_a_further_child_of_one_wrong_answer():
    wrong, answered = np.array([1.0, 0, 3, 2, 0, 1]), np.array([10.0, 12, 9, 15, 0, 11])
    w, a = np.append(wrong, 1), np.append(answered, 1)
    seen = a > 0
    without = ((w.sum() - w) / (a.sum() - a))[seen]
    two_sided = jackknife(w.sum() / a.sum(), without, bounds=(-np.inf, np.inf))
    margin = (two_sided.high - w.sum() / a.sum()) * stats.t.ppf(BOUND_LEVEL, 5) / stats.t.ppf(0.975, 5)
    assert risk_bound(wrong, answered) == pytest.approx(w.sum() / a.sum() + margin)


def test_a_flawless_validation_has_a_positive_bound_and_few_children_an_infinite_one():
    none = np.zeros(8)
    bound = risk_bound(none, np.full(8, 15.0))
    assert 1 / 121 < bound < 0.05
    assert risk_bound(none, np.full(8, 1.0)) > 0.2  # one answer each shows little
    assert risk_bound(none[: FEWEST_SUBJECTS - 1], np.full(FEWEST_SUBJECTS - 1, 100.0)) == np.inf


@given(st.integers(5, 15), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.2, 0.3]))
def test_the_threshold_is_the_lowest_whose_bound_holds(number, seed, risk):
    confidence, right = children(np.random.default_rng(seed), number, clips=6)

    def bound(threshold):
        answered = confidence >= threshold
        return risk_bound((answered & ~right).sum(1).astype(float), answered.sum(1).astype(float))

    chosen, reason = choose(confidence, right, risk)
    holding = [threshold for threshold in np.unique(confidence) if bound(threshold) <= risk]
    assert chosen == (min(holding) if holding else None)
    assert (reason is None) == bool(holding)


def test_copying_every_clip_ten_times_does_not_lower_the_threshold():
    confidence, right = children(np.random.default_rng(4), 12)
    chosen, _ = choose(confidence, right)
    copied, _ = choose(np.repeat(confidence, 10, 1), np.repeat(right, 10, 1))
    assert copied == pytest.approx(chosen, abs=0.1)
    one_child = pd.Series(["s"] * confidence.size)  # many clips of one child are one child
    assert choose_threshold(confidence.ravel(), np.ones(confidence.size, bool), one_child, 0.2)[0] is None


@pytest.mark.parametrize("number", [6, 12, 30])
def test_new_children_rarely_exceed_the_risk_unlike_with_the_observed_risk_alone(number):
    rng = np.random.default_rng(number)
    confidence, right = children(rng, 20_000)

    def risk_of(threshold):
        answered = confidence >= threshold
        return (answered & ~right).sum() / answered.sum()

    exceeded, naive, draws = 0, 0, 150
    for _ in range(draws):
        seen, correct = children(rng, number)
        chosen, _ = choose(seen, correct)
        exceeded += 0 if chosen is None else risk_of(chosen) > 0.2
        order = np.sort(seen.ravel())
        observed = [(threshold, (~correct[seen >= threshold]).mean()) for threshold in order[:: number // 2]]
        bold = [threshold for threshold, risk in observed if risk <= 0.2]
        naive += bool(bold) and risk_of(min(bold)) > 0.2
    # 2 to 8 of 100 in 300 draws (see the module); a Monte-Carlo error of 150 draws is .02
    assert exceeded / draws < 0.13
    assert naive / draws > 0.3


def test_top_probability_is_calibrated_where_available(table):
    filled, _, _ = calibrated(table, TARGET)
    q = filled[[f"q_{name}" for name in TARGET.names]].to_numpy(float)
    np.testing.assert_allclose(top_probability(filled, TARGET), q.max(1))
    raw = table[[f"p_{name}" for name in TARGET.names]].to_numpy(float)
    np.testing.assert_allclose(top_probability(table, TARGET), raw.max(1))


def test_clips_below_the_threshold_or_without_a_prediction_are_flagged(table):
    table.loc[300, ["predicted", *(c for c in table if str(c).startswith(("logit_", "p_")))]] = None
    result, thresholds, reasons = flagged(table, TARGET)
    assert not reasons
    threshold = thresholds["holdout"]
    below = ~(top_probability(result, TARGET) >= threshold)
    assert (result["flagged"] == below).all()
    assert result["flagged"][300]
    assert 0 < below.mean() < 1
    review, why = review_scores(result, thresholds, reasons, 0.2)
    test = result[result["split"] == "test"]
    answered = test[~test["flagged"]]
    assert review["coverage"] == pytest.approx(len(answered) / len(test))
    assert review["flagged"] == pytest.approx(1 - review["coverage"])
    assert review["risk_answered"] == pytest.approx((answered["label"] != answered["predicted"]).mean())
    assert review["interval"]["n_subjects"] == 8
    assert not why


def test_the_threshold_does_not_depend_on_test_rows(table):
    before = flagged(table, TARGET)[1]
    test = table["split"] == "test"
    table.loc[test, "label"] = "neutral"
    table.loc[test, "predicted"] = "happy"
    for name in TARGET.names:
        table.loc[test, f"p_{name}"] = 1.0 if name == "happy" else 0.0
    assert flagged(table, TARGET)[1] == before
    assert flagged(table[~test], TARGET)[1] == before


def test_new_sites_need_a_threshold_chosen_over_sites(table):
    alone = table.assign(site=table["subject_id"])
    assert flagged(alone, TARGET, unit="site")[1] == flagged(table, TARGET)[1]
    two = table.assign(site=table["subject_id"].str[-1].astype(int) % 2)
    _, thresholds, reasons = flagged(two, TARGET, unit="site")
    assert thresholds == {"holdout": None}
    assert "2 groups of site to choose a threshold on, expected 5 at least" in reasons["holdout"]


def test_cross_fitted_rows_replace_inner_validation(table):
    rng = np.random.default_rng(0)
    others = table[table["split"] == "validation"].assign(split="calibration")
    others = others.assign(clip_id="c" + others["clip_id"], subject_id=rng.permutation(others["subject_id"]))
    others["label"] = rng.permutation(others["label"])  # they are mostly wrong: everything is flagged then
    result, thresholds, reasons = flagged(pd.concat([table, others], ignore_index=True), TARGET)
    assert thresholds == {"holdout": None}
    assert "no threshold" in reasons["holdout"]
    assert result["flagged"].all()


def test_without_inner_validation_every_clip_is_flagged_with_a_reason(random_table):
    result, thresholds, reasons = flagged(random_table(TARGET), TARGET)
    assert result["flagged"].all()
    assert thresholds == {"holdout": None}
    review, why = review_scores(result, thresholds, reasons, 0.2)
    assert (review["flagged"], review["coverage"], review["risk_answered"]) == (1.0, 0.0, None)
    assert "0 subjects" in why["review.thresholds.holdout"]
    assert why["review.risk_answered"] == "every test clip is flagged"
    unlabelled, why = review_scores(result.assign(label=None), thresholds, reasons, 0.2)
    assert unlabelled["flagged"] is None
    assert why["review.flagged"] == "no labelled test clip"


def test_each_fold_has_its_own_threshold(table):
    other = table.assign(fold="other")
    other.loc[other["split"] == "validation", "label"] = "sad"
    _, thresholds, reasons = flagged(pd.concat([table, other], ignore_index=True), TARGET)
    assert thresholds["holdout"] is not None
    assert thresholds["other"] is None
    assert set(reasons) == {"other"}


def test_clips_with_too_little_of_the_face_are_flagged_and_do_not_choose_the_threshold(table):
    known = table["split"] == "validation"
    few = known & (np.arange(len(table)) % 5 == 0)
    spoilt = table.assign(face_share=np.where(few, 0.4, 1.0))
    spoilt.loc[few, "label"] = np.where(spoilt.loc[few, "predicted"] == "happy", "sad", "happy")  # all of them wrong
    result, thresholds, _ = flagged(spoilt, TARGET)
    assert thresholds == flagged(table[~few], TARGET)[1]
    assert result.loc[few, "flagged"].all()
    assert thresholds != flagged(spoilt, TARGET, least_face=0.4)[1]
    half = flagged(table.assign(face_share=0.5), TARGET)[0]
    pd.testing.assert_frame_equal(half.drop(columns="face_share"), flagged(table, TARGET)[0])
    review, _ = review_scores(result.assign(face_share=0.2), thresholds, {}, 0.2)
    assert (review["least_face"], review["too_little_face"]) == (0.5, review["n_clips"])
