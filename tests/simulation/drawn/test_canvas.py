"""Canvas operations against known areas and positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline

from fer_id.simulation.drawn.canvas import Canvas, smooth

CAMERA = np.array([[10.0, 0, 32], [0, 10.0, 32]])
SQUARE = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
WHITE = (255.0, 255.0, 255.0)


def canvas() -> Canvas:
    return Canvas((64, 64), CAMERA)


def test_smooth_is_the_catmull_rom_spline_of_scipy() -> None:
    points = np.random.default_rng(0).normal(size=(6, 2))
    ours = smooth(points, closed=True, steps=5)
    around = np.concatenate([points, points[:1]])
    slopes = (np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)) / 2
    theirs = CubicHermiteSpline(np.arange(7), around, np.concatenate([slopes, slopes[:1]]))(np.arange(30) / 5)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_an_open_curve_keeps_its_ends() -> None:
    points = np.array([[0.0, 0], [1, 2], [3, 1]])
    curve = smooth(points, closed=False, steps=4)
    np.testing.assert_allclose(curve[[0, 4, 8]], points)


def test_fill_covers_the_area_of_the_polygon() -> None:
    c = canvas()
    c.fill(SQUARE, WHITE)
    assert c.pixels[..., 0].sum() / 255 == pytest.approx(21 * 21, rel=0.06)  # 20 pixels and half an edge each side
    assert c.pixels[32, 32].tolist() == [255, 255, 255]


def test_a_blurred_mask_keeps_the_area() -> None:
    """Within the half pixel by which OpenCV's polygons are larger: one of a coarser grid where the blur is wide."""
    c = canvas()
    assert c.mask(SQUARE, 0.3).sum() == pytest.approx(c.mask(SQUARE).sum(), rel=0.15)
    assert c.mask(SQUARE, 0.3)[32, 32] > 0.95


def test_glow_is_strongest_in_the_middle_and_ends_at_its_radii() -> None:
    c = canvas()
    c.glow(np.array([0.0, 0.0]), (1.0, 0.5), WHITE, 1.0)
    assert c.pixels[32, 32, 0] == 255
    assert c.pixels[32, 38, 0] > c.pixels[38, 32, 0] == 0  # wider than high
    assert c.pixels[:, [20, 44]].max() == 0


def test_paste_leaves_what_lies_outside_the_outline() -> None:
    c = canvas()
    patch = c.inside(SQUARE)
    assert patch is not None
    patch.pixels[:] = 200
    c.paste(patch, SQUARE)
    assert c.pixels[32, 32, 0] == 200
    assert c.pixels[20, 20, 0] == 0


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.01, 20))
def test_painting_outside_the_picture_does_not_fail(x: float, y: float, size: float) -> None:
    c = canvas()
    shape = SQUARE * size + [x, y]
    c.fill(shape, WHITE)
    c.soft_fill(shape, WHITE, 0.1)
    c.line(shape, WHITE, 0.05)
    c.disc(np.array([x, y]), size, WHITE)
    c.glow(np.array([x, y]), (size, size), WHITE, 0.5)
    assert c.pixels.shape == (64, 64, 3)
