"""Alignment puts the eyes at their fixed positions, and moves pixels and landmarks together."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.errors import DataError
from fer_id.preprocessing.alignment import EYES_64, align, eye_centres, eye_similarity, move_points, warp


def face_in_crop() -> np.ndarray:
    """68 points, arbitrary but for the eye centres, which are at EYES_64."""
    points = np.random.default_rng(3).uniform(8, 56, (68, 2))
    for eye, centre in zip((slice(36, 42), slice(42, 48)), EYES_64, strict=True):
        points[eye] += np.array(centre) - points[eye].mean(axis=0)
    return points


def similarity(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    """Crop pixels to image pixels."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


def blob_image(height: int, width: int, points: np.ndarray, sigma: float) -> np.ndarray:
    """White Gaussian dots on black."""
    y, x = np.mgrid[:height, :width]
    image = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for px, py in points)
    return np.repeat((255 * np.clip(image, 0, 1)).astype(np.uint8)[..., None], 3, axis=2)


def blob_near(image: np.ndarray, point: np.ndarray, radius: int) -> np.ndarray:
    """The centre of the brightness around a point."""
    x0, y0 = np.round(point).astype(int) - radius
    part = image[max(y0, 0) : y0 + 2 * radius + 1, max(x0, 0) : x0 + 2 * radius + 1, 0].astype(float)
    y, x = np.mgrid[: part.shape[0], : part.shape[1]]
    return np.array([(part * x).sum(), (part * y).sum()]) / part.sum() + [max(x0, 0), max(y0, 0)]


@given(angle=st.floats(-3.1, 3.1), scale=st.floats(0.3, 40), x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_a_known_similarity_is_recovered(angle, scale, x, y):
    crop_to_image = similarity(angle, scale, x, y)
    matrix = eye_similarity(move_points(crop_to_image, face_in_crop()))
    # Points are float32: at 1000 pixels from the origin they are known to 0.00006 pixels.
    np.testing.assert_allclose(matrix, cv2.invertAffineTransform(crop_to_image), atol=0.01)


def test_the_similarity_equals_opencvs_estimate():
    points = move_points(similarity(0.3, 5.0, 200, 90), face_in_crop())
    theirs, _ = cv2.estimateAffinePartial2D(eye_centres(points), np.array(EYES_64), method=cv2.LMEDS)
    np.testing.assert_allclose(eye_similarity(points), theirs, atol=1e-4)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_eyes_land_at_their_places(size):
    points = move_points(similarity(-0.4, 3.0, 150, 80), face_in_crop())
    crop, moved = align(np.zeros((400, 300, 3), np.uint8), points, size)
    assert crop.shape == (size, size, 3)
    assert moved.dtype == np.float32
    np.testing.assert_allclose((eye_centres(moved) + 0.5) * 64 / size - 0.5, EYES_64, atol=1e-3)


@given(angle=st.floats(-0.8, 0.8), scale=st.floats(0.4, 8), x=st.floats(-0.5, 0.5), y=st.floats(-0.5, 0.5))
def test_the_picture_follows_the_points(angle, scale, x, y):
    """Dots drawn at landmarks of an image are found at the aligned landmarks, enlarged or shrunk."""
    face = face_in_crop()
    drawn = {30: (32.0, 38.0), 48: (22.0, 48.0), 54: (43.0, 49.0)}
    face[list(drawn)] = list(drawn.values())
    middle = 50 * scale
    centred = similarity(angle, scale, 0, 0)
    centred[:, 2] = [middle + x, middle + y] - centred[:, :2] @ [32, 32]
    points = move_points(centred, face)
    image = blob_image(int(2 * middle), int(2 * middle), points[list(drawn)], sigma=1.5 * scale)
    crop, moved = align(image, points)
    for index in drawn:
        np.testing.assert_allclose(blob_near(crop, moved[index], 5), moved[index], atol=0.15)


def test_a_large_face_is_averaged_not_sampled():
    """A fine checkerboard must come out gray; picking single pixels would show a coarse false pattern."""
    image = np.repeat(((np.indices((1200, 1200)).sum(axis=0) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    matrix = eye_similarity(move_points(similarity(0.05, 15.3, 90, 110), face_in_crop()))
    sampled = cv2.warpAffine(image, matrix, (64, 64))
    assert sampled.std() > 20
    assert warp(image, matrix).std() < 3


def test_a_face_at_the_edge_repeats_the_border():
    image = np.full((80, 80, 3), 7, np.uint8)
    crop, _ = align(image, move_points(similarity(0, 1, -40, 30), face_in_crop()))
    assert (crop == 7).all()


def test_far_outside_of_a_large_image_does_not_fail():
    crop, _ = align(np.full((300, 300, 3), 9, np.uint8), move_points(similarity(0, 4, 5000, -900), face_in_crop()))
    assert (crop == 9).all()


@pytest.mark.parametrize("landmarks", [None, np.full((68, 2), np.nan)])
def test_without_landmarks_the_image_is_resized(landmarks):
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8), None, 2)
    crop, moved = align(image, landmarks)
    np.testing.assert_allclose(crop.astype(int), cv2.resize(image, (64, 64), interpolation=cv2.INTER_CUBIC), atol=3)
    assert moved.shape == (68, 2)
    assert np.isnan(moved).all()


@pytest.mark.parametrize(("height", "width"), [(100, 50), (50, 100), (301, 200)])
def test_without_landmarks_proportions_are_kept(height, width):
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) < min(height, width) / 3
    crop, _ = align(np.repeat((disc * 255).astype(np.uint8)[..., None], 3, axis=2), None)
    columns, rows = (crop[..., 0] > 127).any(axis=0).sum(), (crop[..., 0] > 127).any(axis=1).sum()
    assert columns == rows
    assert rows == pytest.approx(64 * 2 / 3 * min(height, width) / max(height, width), abs=1.5)


def test_points_other_than_the_eyes_may_be_missing():
    points = move_points(similarity(0, 2, 10, 10), face_in_crop())
    points[:17] = np.nan
    _, moved = align(np.zeros((200, 200, 3), np.uint8), points)
    assert np.isnan(moved[:17]).all()
    assert np.isfinite(moved[17:]).all()


def test_degenerate_landmarks_are_refused():
    image, points = np.zeros((90, 90, 3), np.uint8), face_in_crop()
    one_nan, coinciding = points.copy(), points.copy()
    one_nan[40, 1] = np.nan
    coinciding[36:42] = coinciding[42:48]
    with pytest.raises(DataError, match="not finite"):
        align(image, one_nan)
    with pytest.raises(DataError, match=r"0\.00 pixels apart"):
        align(image, coinciding)
    with pytest.raises(DataError, match=r"\(5, 2\); expected \(68, 2\)"):
        align(image, points[:5])


@pytest.mark.parametrize(
    "image",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)],
)
def test_only_rgb_images_are_taken(image):
    with pytest.raises(DataError, match=r"expected \(H, W, 3\) of uint8"):
        align(image, None)
