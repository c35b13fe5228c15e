"""Intervals of calibration and selective scores against an explicit leave-one-subject-out loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.evaluation.confidence.calibration import calibration_intervals, calibration_scores
from fer_id.evaluation.confidence.selective import COVERAGES, risk_coverage, selective_intervals
from fer_id.evaluation.intervals import jackknife

Seeds = st.integers(0, 2**32 - 1)


def answers(seed: int, *, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (with many ties for small ``steps``), classes and subjects of random clips."""
    rng = np.random.default_rng(seed)
    subjects = np.repeat(rng.choice(100, 5, replace=False), rng.integers(1, 9, 5))
    p = rng.integers(1, steps, (len(subjects), 4)).astype(float)
    return p / p.sum(axis=1, keepdims=True), rng.integers(4, size=len(subjects)), rng.permutation(subjects)


@given(Seeds, st.sampled_from([4, 1000]))
def test_calibration_intervals_equal_leaving_each_subject_out(seed: int, steps: int) -> None:
    p, truth, subjects = answers(seed, steps=steps)
    rows = [subjects != subject for subject in np.unique(subjects)]
    whole, without = calibration_scores(p, truth), [calibration_scores(p[keep], truth[keep]) for keep in rows]
    scored = calibration_intervals(p, truth, subjects)
    for name, high, scale in (("ece", 1.0, "plain"), ("brier", 2.0, "log"), ("nll", np.inf, "log")):
        value, interval = scored[name]
        assert value == pytest.approx(whole[name])
        of_others = np.array([scores[name] for scores in without])
        expected = jackknife(whole[name], of_others, bounds=(0.0, high), scale=scale)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    excess = p.max(axis=1) - (p.argmax(axis=1) == truth)
    expected = jackknife(excess.mean(), np.array([excess[keep].mean() for keep in rows]), bounds=(-1.0, 1.0))
    assert scored["overconfidence"][0] == pytest.approx(excess.mean())
    assert scored["overconfidence"][1].low == pytest.approx(expected.low)


@given(Seeds, st.integers(2, 8), st.sampled_from([1, 7, 2_000_000]))
def test_selective_intervals_equal_leaving_each_subject_out(seed: int, levels: int, at_once: int) -> None:
    rng = np.random.default_rng(seed)
    _, _, subjects = answers(seed, steps=9)
    confidence, correct = rng.integers(levels, size=len(subjects)) / levels, rng.random(len(subjects)) < 0.7
    others = [subjects != subject for subject in np.unique(subjects)]
    curves = [risk_coverage(confidence[keep], correct[keep]) for keep in others if keep.any()]
    whole = risk_coverage(confidence, correct)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer_id.evaluation.confidence.selective._AT_ONCE", at_once)
        scored = selective_intervals(confidence, correct, subjects)
    expected_scores = {"aurc": lambda curve: curve.aurc}
    expected_scores |= {
        f"risk_at_coverage.{share}": lambda curve, share=share: curve.risk_at(share) for share in COVERAGES
    }
    assert scored.keys() == expected_scores.keys()
    for name, score in expected_scores.items():
        expected = jackknife(score(whole), np.array([score(curve) for curve in curves]))
        value, interval = scored[name]
        assert value == pytest.approx(score(whole))
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_without_clips_or_with_one_subject_there_is_a_reason() -> None:
    nothing = np.zeros(0, np.int64)
    for scored in (
        calibration_intervals(np.zeros((0, 3)), nothing, nothing),
        selective_intervals(np.zeros(0), np.zeros(0, bool), nothing),
    ):
        assert all(np.isnan(value) and "no subject" in str(interval.reason) for value, interval in scored.values())
    single = selective_intervals(np.array([0.9, 0.8]), np.array([True, False]), np.zeros(2, np.int64))
    assert single["aurc"][0] == pytest.approx(0.25)
    assert "only one subject" in str(single["aurc"][1].reason)
