"""Temporal controls: bins of peak and delay, power of the tests for a planted gain, and pooling over seeds."""

from math import nan

import numpy as np
import pytest

from fer_id.evaluation.controls import (
    CHOSEN,
    CONTROLS,
    TESTED,
    WHOLE,
    Answers,
    peak_and_delay,
    summary,
)


def answers(gain: float, *, seed: int = 0, subjects: int = 14) -> Answers:
    """Draw twenty clips per subject; the whole clip is more accurate than each control by ``gain``."""
    rng = np.random.default_rng(seed)
    n = 20 * subjects
    right = {name: (rng.random(n) < 0.4 + gain * (name == WHOLE)).astype(float) for name in CONTROLS}
    peak = np.tile(np.repeat([0.2, 0.5, 0.8, np.nan], 5), subjects)
    names = [f"s{number // 20:02d}" for number in range(n)]
    by_frame = {"the model itself": np.full(3, 0.4), "linear classifier": np.full(3, 0.4)}
    return Answers(right, by_frame, names, peak, np.where(np.isnan(peak), np.nan, np.round(peak * 10)))


@pytest.mark.parametrize(
    ("course", "peak", "delay"),
    [([0.0, 0.1, 0.4, 0.8, 0.6], 0.8, 2), ([0.5, 0.4, 0.0], 0.5, 0), ([0.0, 0.0], nan, nan), (None, nan, nan)],
)
def test_peak_and_delay_by_hand(course, peak, delay):
    assert peak_and_delay(course) == pytest.approx((peak, delay), nan_ok=True)


def test_a_planted_gain_is_significant():
    gained = summary(answers(0.3))["against_whole_clip"]
    assert set(gained) == set(TESTED)
    assert all(row["p_holm"] < 0.05 and row["low"] > 0 for row in gained.values())
    assert all(row["p"] <= row["p_holm"] for row in gained.values())


def test_without_a_gain_false_alarms_are_rare():
    """One family of tests in twenty gives a false alarm; more than six of forty are very improbable."""
    families = [summary(answers(0.0, seed=seed))["against_whole_clip"] for seed in range(40)]
    assert sum(any(row["p_holm"] < 0.05 for row in family.values()) for family in families) <= 6


def test_accuracies_are_shares_of_clips_overall_and_in_each_bin():
    drawn = answers(0.2)
    report = summary(drawn)
    for name, right in drawn.right.items():
        assert report["accuracy"][name]["value"] == pytest.approx(right.mean())
    assert report["peak"]["n_without"] == np.isnan(drawn.peak).sum()
    bins = report["peak"]["bins"]
    assert [part["from"] for part in bins] == [0.2, 0.5, 0.8]
    for part in bins:
        rows = drawn.peak == part["from"]
        assert part["n_clips"] == rows.sum()
        assert part["n_subjects"] == 14
        assert part["accuracy"][CHOSEN]["value"] == pytest.approx(drawn.right[CHOSEN][rows].mean())


def test_without_intensity_there_are_no_bins_but_a_reason():
    drawn = answers(0.2)
    nothing = Answers(drawn.right, drawn.by_frame, drawn.subjects, drawn.peak * np.nan, drawn.delay * np.nan)
    peak = summary(nothing)["peak"]
    assert peak["bins"] is None
    assert "intensity" in peak["reason"]
