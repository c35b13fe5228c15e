"""Risk-coverage curves against direct counting and scikit-learn's area, and edge cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc

from fer_id.evaluation.confidence.selective import COVERAGES, RISKS, best_aurc, risk_coverage, selective_scores

Answers = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)


@given(Answers)
def test_every_point_equals_direct_counting(answers: list[tuple[int, bool]]) -> None:
    confidence, correct = np.array([c for c, _ in answers]) / 6, np.array([right for _, right in answers])
    curve = risk_coverage(confidence, correct)
    assert curve.threshold.tolist() == sorted(set(confidence.tolist()), reverse=True)
    for threshold, coverage, risk in zip(curve.threshold, curve.coverage, curve.risk, strict=True):
        answered = confidence >= threshold
        assert coverage == pytest.approx(answered.mean())
        assert risk == pytest.approx((~correct[answered]).mean())
    assert curve.coverage[-1] == 1
    assert curve.aurc >= best_aurc(correct) - 1e-12
    for risk in RISKS:
        possible = [c for c, r in zip(curve.coverage, curve.risk, strict=True) if r <= risk + 1e-12]
        assert curve.coverage_at(risk) == max(possible, default=0.0)
    for coverage in COVERAGES:
        least = min(c for c in curve.coverage if c >= coverage - 1e-12)
        assert curve.risk_at(coverage) == curve.risk[curve.coverage == least][0]


@given(Answers, st.integers(0, 2**32 - 1))
def test_the_order_of_clips_with_equal_confidence_does_not_matter(answers: list[tuple[int, bool]], seed: int) -> None:
    confidence, correct = np.array([float(c) for c, _ in answers]), np.array([right for _, right in answers])
    order = np.random.default_rng(seed).permutation(len(answers))
    whole, shuffled = risk_coverage(confidence, correct), risk_coverage(confidence[order], correct[order])
    assert shuffled.aurc == pytest.approx(whole.aurc)


def test_the_area_is_close_to_the_trapezoid_rule() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(5000)
    curve = risk_coverage(confidence, rng.random(5000) < confidence)
    assert curve.aurc == pytest.approx(auc(curve.coverage, curve.risk), abs=2e-3)
    assert curve.aurc < 0.5 * curve.risk[-1] + 0.1


def test_right_answers_first_is_the_best_order_and_without_clips_it_is_nan() -> None:
    correct = np.array([True, True, False, False])
    assert risk_coverage(np.array([0.9, 0.8, 0.2, 0.1]), correct).aurc == pytest.approx(best_aurc(correct))
    assert best_aurc(correct) == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    scores = selective_scores(np.zeros(0), np.zeros(0, bool))
    assert np.isnan(scores["aurc"])  # type: ignore[arg-type]
    assert set(scores["coverage_at_risk"].values()) == {0.0}  # type: ignore[attr-defined]
