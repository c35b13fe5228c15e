"""Thin-plate splines against scipy's, and their effect on pictures."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RBFInterpolator

from fer_id.simulation.warping import ANCHORS, STIFFNESS, backward_maps, folded
from fer_id.types import CROP

NODES = (np.arange(16) + 0.5) * 4 - 0.5


def some_points(seed: int, count: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).uniform(8, 56, (count, 2))


def test_the_spline_equals_scipys() -> None:
    source = some_points(0)
    target = source + np.random.default_rng(1).normal(0, 1.5, source.shape)
    knots = np.concatenate([target, ANCHORS]) / CROP
    shift = np.concatenate([source - target, np.zeros_like(ANCHORS)])
    # Their kernel is r^2 log r, half of ours, so their smoothing is half of ours too.
    theirs = RBFInterpolator(knots, shift, smoothing=STIFFNESS / 2, kernel="thin_plate_spline", degree=1)
    nodes = np.stack(np.meshgrid(NODES, NODES), axis=-1)
    expected = theirs(nodes.reshape(-1, 2) / CROP).reshape(16, 16, 2)
    maps = backward_maps(source[None], target[None])[0, 0]
    between = cv2.resize(expected.astype(np.float32), (CROP, CROP), interpolation=cv2.INTER_LINEAR)
    pixels = np.stack(np.meshgrid(np.arange(CROP), np.arange(CROP)), axis=-1)
    np.testing.assert_allclose(maps - pixels, between, atol=1e-3)


def test_no_pixel_moves_where_no_point_does() -> None:
    points = some_points(2)
    pixels = np.stack(np.meshgrid(np.arange(CROP), np.arange(CROP)), axis=-1)
    np.testing.assert_allclose(backward_maps(points[None], points[None])[0, 0], pixels, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), size=st.floats(0, 2))
def test_a_pixel_at_a_target_point_comes_from_its_source_point(seed: int, size: float) -> None:
    axis = np.linspace(10, 54, 5)  # a lattice: differences between points closer than the grid are lost
    source = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    target = source + size * np.random.default_rng(seed).uniform(-1, 1, source.shape)
    maps = backward_maps(source[None], target[None])[0, 0]
    x, y = np.float32(target[:, 0]), np.float32(target[:, 1])
    origin = cv2.remap(maps, x, y, cv2.INTER_LINEAR).reshape(-1, 2)
    assert np.abs(origin - source).max() < 0.4 * size + 0.01


def test_the_background_stays() -> None:
    source = some_points(3)
    maps = backward_maps(source[None], source[None] + 2.0)[0, 0]
    assert np.abs(maps[0, 0]).max() < 1.2  # a corner, while the face moves by two pixels


@pytest.mark.parametrize(("flipped", "expected"), [(False, 0.0), (True, 0.1)])
def test_a_face_turned_inside_out_is_folded(flipped: bool, expected: float) -> None:
    axis = np.linspace(16, 48, 4)
    source = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    target = np.stack([64 - source[:, 0], source[:, 1]], axis=1) if flipped else source * 0.97
    share = folded(backward_maps(source[None], target[None])[0])[0]
    assert share >= expected if flipped else share == 0
