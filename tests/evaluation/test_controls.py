"""Controls of whole clips: a clip that was made weak or late lands in its bin, and the tests tell what was put in."""

import numpy as np
import pytest

from fer_id.evaluation.controls import (
    CHOSEN,
    CONTROLS,
    MEAN,
    SHUFFLED,
    TESTED,
    WHOLE,
    Answers,
    peak_and_delay,
    pooled,
    summary,
)


def answers(gain: float, *, seed: int = 0, subjects: int = 14) -> Answers:
    """Twenty clips of each subject; the whole clip is right so much more often than any control."""
    rng = np.random.default_rng(seed)
    n = 20 * subjects
    right = {name: (rng.random(n) < 0.4 + gain * (name == WHOLE)).astype(float) for name in CONTROLS}
    peak = np.tile(np.repeat([0.2, 0.5, 0.8, np.nan], 5), subjects)
    names = [f"s{number // 20:02d}" for number in range(n)]
    by_frame = {"the model itself": np.full(3, 0.4), "linear classifier": np.full(3, 0.4)}
    return Answers(right, by_frame, names, peak, np.where(np.isnan(peak), np.nan, np.round(peak * 10)))


@pytest.mark.parametrize(
    ("course", "peak", "delay"),
    [([0.0, 0.1, 0.4, 0.8, 0.6], 0.8, 2), ([0.5, 0.4, 0.0], 0.5, 0), ([0.0, 0.0], None, None), (None, None, None)],
)
def test_peak_and_delay_by_hand(course, peak, delay):
    found = peak_and_delay(course)
    if peak is None:
        assert np.isnan(found).all()
    else:
        assert found == (peak, delay)


def test_a_real_gain_is_found():
    gained = summary(answers(0.3))["against_whole_clip"]
    assert set(gained) == set(TESTED)
    assert all(row["p_holm"] < 0.05 and row["low"] > 0 for row in gained.values())
    assert all(row["p"] <= row["p_holm"] for row in gained.values())


def test_where_there_is_no_gain_one_is_seldom_found():
    """One family of tests in twenty gives a false alarm; of forty more than six would be a rare bad day."""
    families = [summary(answers(0.0, seed=seed))["against_whole_clip"] for seed in range(40)]
    assert sum(any(row["p_holm"] < 0.05 for row in family.values()) for family in families) <= 6


def test_accuracies_are_shares_of_clips_and_bins_hold_what_was_put_there():
    given = answers(0.2)
    found = summary(given)
    for name, right in given.right.items():
        assert found["accuracy"][name]["value"] == pytest.approx(right.mean())
    assert found["peak"]["n_without"] == np.isnan(given.peak).sum()
    bins = found["peak"]["bins"]
    assert [one["from"] for one in bins] == [0.2, 0.5, 0.8]
    for one in bins:
        rows = given.peak == one["from"]
        assert one["n_clips"] == rows.sum()
        assert one["n_subjects"] == 14
        assert one["accuracy"][CHOSEN]["value"] == pytest.approx(given.right[CHOSEN][rows].mean())


def test_without_intensity_there_are_no_bins_but_a_reason():
    given = answers(0.2)
    nothing = Answers(given.right, given.by_frame, given.subjects, given.peak * np.nan, given.delay * np.nan)
    found = summary(nothing)["peak"]
    assert found["bins"] is None
    assert "intensity" in found["reason"]


def test_several_trainings_are_averaged_before_they_are_tested():
    runs = [summary(answers(0.2, seed=seed)) for seed in range(3)]
    found = pooled(runs)
    for name in (WHOLE, MEAN, SHUFFLED):
        mean = np.mean([one["accuracy"][name]["value"] for one in runs])
        assert found["accuracy"][name]["value"] == pytest.approx(mean)
    row = found["against_whole_clip"][MEAN]
    assert row["difference"] == pytest.approx(found["accuracy"][WHOLE]["value"] - found["accuracy"][MEAN]["value"])
    assert pooled(runs[:1])["against_whole_clip"] == runs[0]["against_whole_clip"]
    assert found["peak"]["bins"][0]["accuracy"][WHOLE]["low"] is None
