"""Facial regions: every pixel divided once, regions where anatomy has them, and masks that move with the face."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_id.explain.regions import EMOTION_UNITS, OUTSIDE, REGIONS, UNIT_REGIONS, expected, face_masks, region_masks
from fer_id.labels import SPACES
from fer_id.simulation.drawn.clip_store import SyntheticConfig, draw_clip
from fer_id.types import FLIP_68

EMOTIONS = sorted({name for space in SPACES.values() for name in space.names})
angles = st.floats(-180, 180)
tilts = st.floats(-30, 30)
shifts = st.tuples(st.floats(-25, 25), st.floats(-25, 25))


@cache
def face(subject: int = 0, emotion: str = "neutral") -> np.ndarray:
    """Landmarks of a drawn child in a crop."""
    config = SyntheticConfig(subjects=3, clips_per_emotion=1, frames=2)
    return draw_clip(config.subject(subject), emotion, 0, config)[1].landmarks[0].astype(np.float64)


def turned(points: np.ndarray, degrees: float = 0, scale: float = 1, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Return the points turned, scaled and shifted about the middle of the crop."""
    a = np.deg2rad(degrees)
    return (points - 31.5) @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) * scale + 31.5 + shift


def masks_of(points: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(REGIONS, region_masks(points[None])[0], strict=True))


def at(mask: np.ndarray, point: np.ndarray) -> float:
    column, row = np.rint(point).astype(int)
    return float(mask[row, column])


def middles(points: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Points that lie in the middle of their region, by anatomy."""
    eyes = [points[36:42].mean(axis=0), points[42:48].mean(axis=0)]
    across, down = 0.06 * (eyes[1] - eyes[0]), points[8] - points[27]
    return {
        "mouth": [points[48:68].mean(axis=0)],
        "eyes": eyes,
        "nose": [points[30]],
        "brows": [points[19], points[24]],
        "chin and jaw": [points[8] - 0.1 * down],
        "cheeks": [(points[2] + points[31]) / 2, (points[14] + points[35]) / 2],
        "nasolabial folds": [(points[31] + points[48]) / 2 - across, (points[35] + points[54]) / 2 + across],
        "forehead": [(points[19] + points[24]) / 2 - 0.15 * down],
    }


@settings(max_examples=25)
@given(st.integers(0, 2), angles, st.floats(0.2, 3), shifts)
def test_every_pixel_is_divided_once(subject: int, degrees: float, scale: float, shift: tuple[float, float]) -> None:
    masks = region_masks(turned(face(subject), degrees, scale, shift)[None])
    assert masks.shape == (1, len(REGIONS), 64, 64)
    assert 0 <= masks.min() <= masks.max() <= 1
    np.testing.assert_allclose(masks.sum(axis=1), 1, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 2), tilts, st.floats(0.85, 1), st.tuples(st.floats(-3, 3), st.floats(-3, 3)))
def test_the_middle_of_each_part_belongs_to_its_region(
    subject: int, degrees: float, scale: float, shift: tuple[float, float]
) -> None:
    points = turned(face(subject), degrees, scale, shift)
    masks = masks_of(points)
    for name, places in middles(points).items():
        for place in places:
            assert at(masks[name], place) > 0.5, name


@pytest.mark.parametrize("subject", range(3))
def test_the_tip_of_the_chin_is_chin_and_nothing_but_background_is_below(subject: int) -> None:
    points = turned(face(subject), scale=0.9)
    masks = masks_of(points)
    assert at(masks["chin and jaw"], points[8] - [0, 1]) > 0.5
    assert at(masks["background"], points[8] + [0, 2]) > 0.5
    for corner in ((0, 0), (0, 63), (63, 0), (63, 63)):
        assert masks["background"][corner] > 0.5


def test_every_region_has_a_place_of_some_size_in_every_drawn_face() -> None:
    for emotion in ("neutral", "happy", "sad", "angry", "fear"):
        for name, mask in masks_of(face(1, emotion)).items():
            assert 0.01 < mask.mean() < 0.5, name


def test_an_open_mouth_is_a_larger_mouth() -> None:
    points = face()
    opened = points.copy()
    opened[[56, 57, 58, 65, 66, 67]] += [0, 5]
    assert masks_of(opened)["mouth"].sum() > 1.3 * masks_of(points)["mouth"].sum()


@pytest.mark.parametrize("subject", range(3))
def test_the_hairline_is_as_far_above_the_brows_as_the_base_of_the_nose_is_below_them(subject: int) -> None:
    points = turned(face(subject), scale=0.6, shift=(0, 6))
    brows = points[17:27, 1].mean()
    third = points[33, 1] - brows
    column = masks_of(points)["hairline"][:, round(points[27, 0])]
    middle = (column * np.arange(64)).sum() / column.sum()
    assert (brows - middle) / third == pytest.approx(1, abs=0.15)


@settings(max_examples=25)
@given(st.integers(0, 2), st.integers(-12, 12), st.integers(-12, 12))
def test_masks_move_with_the_landmarks(subject: int, dx: int, dy: int) -> None:
    points = turned(face(subject), scale=0.8)
    inner = slice(4 + max(abs(dx), abs(dy)), 60 - max(abs(dx), abs(dy)))
    for masks_of_all in (region_masks, face_masks):
        before, after = masks_of_all(np.stack([points, points + [dx, dy]]))
        moved = np.roll(after, (-dy, -dx), axis=(-2, -1))
        np.testing.assert_allclose(moved[..., inner, inner], before[..., inner, inner], atol=1e-4)


@given(st.integers(0, 2), tilts)
def test_a_mirrored_face_has_mirrored_regions(subject: int, degrees: float) -> None:
    points = turned(face(subject), degrees)
    mirrored = points[list(FLIP_68)] * [-1, 1] + [63, 0]
    difference = region_masks(mirrored[None])[0, :, :, ::-1] - region_masks(points[None])[0]
    assert np.abs(difference).mean() < 0.005  # a line of pixels at an edge falls to one side


@given(st.integers(0, 2), st.sampled_from([90, 180, 270]))
def test_a_quarter_turn_of_the_face_turns_the_regions(subject: int, degrees: int) -> None:
    points = face(subject)
    back = np.rot90(region_masks(turned(points, degrees)[None])[0], degrees // 90, axes=(1, 2))
    assert np.abs(back - region_masks(points[None])[0]).mean() < 0.005


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_frame_with_an_unknown_landmark_has_no_regions_and_no_known_face(broken: float) -> None:
    points = np.stack([face()] * 3)
    points[1, 40, 0] = broken
    masks, faces = region_masks(points), face_masks(points)
    assert np.isnan(masks[1]).all()
    assert np.isfinite(masks[[0, 2]]).all()
    assert (faces[1] == 1).all()
    assert faces[0].min() == 0


def test_landmarks_that_all_fall_on_one_point_break_nothing() -> None:
    masks = region_masks(np.full((1, 68, 2), 32.0))
    np.testing.assert_allclose(masks.sum(axis=1), 1, atol=1e-5)


def test_no_clip_has_no_masks() -> None:
    assert region_masks(np.zeros((0, 68, 2))).shape == (0, len(REGIONS), 64, 64)
    assert face_masks(np.zeros((0, 68, 2))).shape == (0, 64, 64)


@given(st.integers(0, 2), tilts, st.floats(0.7, 1))
def test_a_face_is_what_is_neither_hair_nor_background(subject: int, degrees: float, scale: float) -> None:
    points = turned(face(subject), degrees, scale)
    mask, masks = face_masks(points[None])[0], masks_of(points)
    assert 0 <= mask.min() <= mask.max() <= 1
    assert np.abs(mask - (1 - sum(masks[name] for name in OUTSIDE))).mean() < 0.01
    for places in middles(points).values():
        for place in places:
            assert at(mask, place) > 0.8


def test_the_corners_of_a_crop_are_no_face() -> None:
    mask = face_masks(face()[None])[0]
    assert mask[[0, 0, 63, 63], [0, 63, 0, 63]].tolist() == [0, 0, 0, 0]
    assert mask[20:50, 20:44].min() > 1 - 1e-6


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_expected_regions_lie_in_the_face(emotion: str) -> None:
    regions = expected(emotion)
    assert set(regions) <= set(REGIONS) - set(OUTSIDE)
    assert list(regions) == sorted(regions, key=REGIONS.index)
    assert bool(regions) == (emotion != "neutral")


def test_a_smile_is_expected_at_the_mouth_and_the_eyes_and_anger_at_the_brows() -> None:
    assert expected("happy") == ("eyes", "nasolabial folds", "mouth", "cheeks")
    assert {"brows", "eyes", "mouth"} == set(expected("angry"))
    assert expected("no emotion at all") == ()


def test_the_regions_of_every_action_unit_exist() -> None:
    assert {unit for units in EMOTION_UNITS.values() for unit in units} <= UNIT_REGIONS.keys()
    assert {name for names in UNIT_REGIONS.values() for name in names} <= set(REGIONS) - set(OUTSIDE)
