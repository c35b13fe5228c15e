"""Shares of regions against loops and sums by hand; group gaps against scipy's permutation test."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fer_id.explain.regions import OUTSIDE, REGIONS
from fer_id.explain.shares import (
    AREA,
    NO_ATTRIBUTION,
    NO_LANDMARKS,
    SHARE,
    group_gap,
    off_face_attribution,
    ratio,
    region_shares,
)

seeds = st.integers(0, 2**20)


def some_masks(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Random parts of every pixel, (frames, 10, 64, 64); coarse, to be quick."""
    parts = rng.dirichlet(np.full(len(REGIONS), 0.3), size=(frames, 8, 8)).transpose(0, 3, 1, 2)
    return parts.repeat(8, axis=2).repeat(8, axis=3)


def row_of(shares: np.ndarray, areas: np.ndarray) -> dict[str, float]:
    columns = [f"{start}{name}" for start in (SHARE, AREA) for name in REGIONS]
    return dict(zip(columns, [*shares, *areas], strict=True))


def some_clips(rng: np.random.Generator, subjects: int, clips: int = 3, strength: float = 0.5) -> pd.DataFrame:
    """Shares and areas that sum to one, and two groups of subjects of which one leaks more."""
    rows = []
    for subject in range(subjects):
        group = subject % 2
        for _ in range(clips):
            areas = rng.dirichlet(np.full(len(REGIONS), 20.0))
            shares = areas * rng.lognormal(0, 0.3, len(REGIONS))
            shares[-2:] *= 1 + strength * group
            shares /= shares.sum()
            rows.append({"subject_id": f"s{subject:02d}", "group": "ab"[group], **row_of(shares, areas)})
    return pd.DataFrame(rows)


def sums(table: pd.DataFrame, regions: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    share, area = (sum(table[f"{start}{name}"].to_numpy() for name in regions) for start in (SHARE, AREA))
    return share, area


@given(seeds, st.integers(1, 5))
def test_a_map_without_preference_gives_ratio_one(seed: int, frames: int) -> None:
    rng = np.random.default_rng(seed)
    maps = np.broadcast_to(rng.exponential(size=(frames, 1, 1)), (frames, 64, 64))
    masks = some_masks(rng, frames)
    masks[1:][rng.random(frames - 1) < 0.3] = np.nan
    shares, areas, reason = region_shares(maps, masks)
    assert reason is None
    np.testing.assert_allclose(shares, areas, rtol=1e-9)
    assert shares.sum() == pytest.approx(1)


@given(seeds, st.integers(1, 4))
def test_shares_and_areas_equal_a_loop_over_the_frames(seed: int, frames: int) -> None:
    rng = np.random.default_rng(seed)
    maps, masks = rng.exponential(size=(frames, 64, 64)) * rng.random((frames, 1, 1)), some_masks(rng, frames)
    shares, areas, _ = region_shares(maps.astype(np.float32), masks.astype(np.float32))
    on_each, by_chance = np.zeros(len(REGIONS)), np.zeros(len(REGIONS))
    for values, mask in zip(maps, masks, strict=True):
        for region, part in enumerate(mask):
            on_each[region] += (values * part).sum()
            by_chance[region] += values.sum() * part.mean()
    np.testing.assert_allclose(shares, on_each / maps.sum(), rtol=1e-4)
    np.testing.assert_allclose(areas, by_chance / maps.sum(), rtol=1e-4)


def test_a_frame_of_unknown_regions_counts_for_nothing() -> None:
    rng = np.random.default_rng(0)
    maps, masks = rng.random((3, 64, 64)), some_masks(rng, 3)
    masks[1] = np.nan
    with_it, without = region_shares(maps, masks), region_shares(maps[[0, 2]], masks[[0, 2]])
    np.testing.assert_array_equal(with_it[0], without[0])
    np.testing.assert_array_equal(with_it[1], without[1])


def test_a_frame_without_attribution_does_not_count_its_area() -> None:
    rng = np.random.default_rng(1)
    maps, masks = rng.random((2, 64, 64)), some_masks(rng, 2)
    maps[1] = 0
    np.testing.assert_allclose(region_shares(maps, masks)[1], masks[0].mean(axis=(1, 2)))


def test_scale_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    maps, masks = rng.random((2, 64, 64)).astype(np.float32), some_masks(rng, 2)
    shares = region_shares(maps, masks)[0]
    for factor in (1e-20, 1e20):
        np.testing.assert_allclose(region_shares(maps * np.float32(factor), masks)[0], shares, rtol=1e-5)


@pytest.mark.parametrize(
    ("maps", "known", "reason"),
    [(1.0, False, NO_LANDMARKS), (0.0, True, NO_ATTRIBUTION), (np.nan, True, NO_ATTRIBUTION)],
)
def test_undefined_shares_are_nan_with_the_reason(maps: float, known: bool, reason: str) -> None:
    masks = some_masks(np.random.default_rng(0), 2) if known else np.full((2, len(REGIONS), 64, 64), np.nan)
    shares, areas, why = region_shares(np.full((2, 64, 64), maps), masks)
    assert why == reason
    assert shares.shape == areas.shape == (len(REGIONS),)
    assert np.isnan([shares, areas]).all()


def test_attribution_on_the_background_alone_leaks_as_much_as_can_be() -> None:
    labels = np.full((64, 64), REGIONS.index("cheeks"))
    labels[:, 48:] = REGIONS.index("background")
    labels[:8, :48] = REGIONS.index("hairline")
    masks = (labels == np.arange(len(REGIONS))[:, None, None]).astype(np.float32)[None]
    shares, areas, _ = region_shares(masks[:, -1] * 0.7, masks)
    outside = (64 * 16 + 8 * 48) / 64**2
    assert off_face_attribution(pd.DataFrame([row_of(shares, areas)])).tolist() == pytest.approx([1 / outside])


def test_off_face_attribution_is_nan_without_shares_and_without_anything_outside() -> None:
    table = some_clips(np.random.default_rng(0), 3, clips=1)
    columns = [f"{start}{name}" for start in (SHARE, AREA) for name in OUTSIDE]
    table.loc[1, [name for name in table if name.startswith((SHARE, AREA))]] = np.nan
    table.loc[2, columns] = 0.0
    assert off_face_attribution(table).isna().tolist() == [False, True, True]


@pytest.mark.parametrize("regions", [("mouth",), OUTSIDE, REGIONS])
def test_a_ratio_is_one_sum_over_the_other_with_a_jackknife_over_subjects(regions: tuple[str, ...]) -> None:
    table = some_clips(np.random.default_rng(3), 6)
    share, area = sums(table, regions)
    value, interval = ratio(table, regions)
    assert value == pytest.approx(share.sum() / area.sum())
    if regions == REGIONS:
        assert (interval.low, interval.high) == (None, None)  # one everywhere
        return
    subjects = table["subject_id"].to_numpy()
    without = np.array([share[subjects != s].sum() / area[subjects != s].sum() for s in np.unique(subjects)])
    half = stats.t.ppf(0.975, 5) * np.sqrt(5 / 6 * ((without - without.mean()) ** 2).sum())
    assert (interval.low, interval.high) == pytest.approx((value - half, value + half))
    assert interval.n_subjects == 6


@pytest.mark.parametrize("subjects", [6, 45])
def test_copies_of_clips_narrow_no_interval_and_no_p(subjects: int) -> None:
    table = some_clips(np.random.default_rng(4), subjects, strength=0.1)
    copies = pd.concat([table] * 10, ignore_index=True)
    (once, first), (ten_times, second) = (ratio(each, OUTSIDE) for each in (table, copies))
    assert ten_times == pytest.approx(once)
    assert (second.low, second.high) == pytest.approx((first.low, first.high))
    assert group_gap(copies, "group", OUTSIDE) == pytest.approx(group_gap(table, "group", OUTSIDE))


def test_clips_without_shares_are_left_out_of_a_ratio() -> None:
    table = some_clips(np.random.default_rng(5), 4)
    holes = table.copy()
    holes.loc[[0, 4], [name for name in table if name.startswith((SHARE, AREA))]] = np.nan
    value, interval = ratio(holes, ("eyes",))
    assert (value, interval) == ratio(table.drop(index=[0, 4]), ("eyes",))
    nothing, interval = ratio(holes.loc[[0, 4]], ("eyes",))
    assert np.isnan(nothing)
    assert interval.low is None
    assert interval.reason == "defined for no clip"


@pytest.mark.parametrize(("strength", "subjects"), [(0.0, 8), (0.1, 9), (0.3, 10)])
def test_the_p_of_two_groups_is_that_of_a_permutation_test(strength: float, subjects: int) -> None:
    table = some_clips(np.random.default_rng(6), subjects, strength=strength)
    share, area = sums(table, OUTSIDE)
    sums_by_subject = pd.DataFrame({"s": table["subject_id"], "g": table["group"], "share": share, "area": area})
    sums_by_subject = sums_by_subject.groupby("s").agg({"g": "first", "share": "sum", "area": "sum"})
    above, below = sums_by_subject["share"].to_numpy(), sums_by_subject["area"].to_numpy()

    def difference(first: np.ndarray, second: np.ndarray) -> float:
        first, second = first.astype(int), second.astype(int)
        return abs(above[first].sum() / below[first].sum() - above[second].sum() / below[second].sum())

    groups = [np.flatnonzero(sums_by_subject["g"] == name) for name in "ab"]
    options = {"permutation_type": "independent", "vectorized": False, "alternative": "greater"}
    exact = stats.permutation_test(groups, difference, **options)
    gap, p = group_gap(table, "group", OUTSIDE)
    assert gap == pytest.approx(exact.statistic)
    assert abs(p - exact.pvalue) < 4 * np.sqrt(exact.pvalue * (1 - exact.pvalue) / 2000) + 1 / 2000


def test_the_gap_of_three_groups_is_between_the_extremes() -> None:
    table = some_clips(np.random.default_rng(7), 9)
    table["group"] = [int(name[1:]) % 3 for name in table["subject_id"]]
    share, area = sums(table, ("nose",))
    values = [share[table["group"] == g].sum() / area[table["group"] == g].sum() for g in range(3)]
    gap, p = group_gap(table, "group", ("nose",))
    assert gap == pytest.approx(max(values) - min(values))
    assert 0 < p <= 1
    assert group_gap(table.sample(frac=1, random_state=0), "group", ("nose",)) == pytest.approx((gap, p))


def test_two_groups_far_apart_have_a_small_p() -> None:
    gap, p = group_gap(some_clips(np.random.default_rng(8), 20, strength=3.0), "group", OUTSIDE)
    assert gap > 1
    assert p == 1 / 2000


def test_no_p_where_groups_cannot_be_permuted() -> None:
    table = some_clips(np.random.default_rng(9), 6)
    crossed = table.assign(group=["a", "b", "a"] * 6)
    alone = table.assign(group=np.where(table["subject_id"] == "s00", "a", "b"))
    for rows in (crossed, alone):
        gap, p = group_gap(rows, "group", OUTSIDE)
        assert gap > 0
        assert np.isnan(p)
    for group in ("a", None):
        assert np.isnan(group_gap(table.assign(group=group), "group", OUTSIDE)).all()


def test_clips_of_no_group_and_clips_without_shares_change_no_gap() -> None:
    table = some_clips(np.random.default_rng(10), 8)
    extra = some_clips(np.random.default_rng(11), 8, strength=9.0)
    unknown = extra.assign(group=None)
    undefined = extra.copy()
    undefined[[name for name in extra if name.startswith((SHARE, AREA))]] = np.nan
    assert group_gap(pd.concat([table, unknown, undefined]), "group", OUTSIDE) == group_gap(table, "group", OUTSIDE)


def test_a_group_that_shows_no_such_region_has_neither_gap_nor_p() -> None:
    table = some_clips(np.random.default_rng(12), 8)
    columns = [f"{start}{name}" for start in (SHARE, AREA) for name in OUTSIDE]
    table.loc[table["group"] == "a", columns] = 0.0
    assert np.isnan(group_gap(table, "group", OUTSIDE)).all()
