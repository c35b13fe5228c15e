"""Face alignment: crops by a similarity transform that maps the eye centres to fixed positions."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from fer_id.errors import DataError
from fer_id.types import CROP, LANDMARKS

EYES_64: tuple[tuple[float, float], tuple[float, float]] = ((20.0, 24.0), (44.0, 24.0))
"""Centres (x, y) of the eye on the left and on the right *of the image* in a 64x64 crop, in pixels, pixel centres at
whole numbers. This is FER2013's geometry (its median eyes, scaled to 64: (19.3, 24.6) and (43.2, 24.5)), so aligned
and unaligned faces have the same size; a frontal face fills the crop, its chin near the lower edge."""

_MIN_EYE_DISTANCE = 1.0  # pixels; below it the angle of the line between the eyes is noise
_SHARP_ENOUGH = 0.8  # a shrink weaker than this needs no area filter: cubic interpolation reads all the pixels


class CropGeometry(TypedDict, total=False):
    """Entry ``geometry`` of a store's card: eye positions (None: as published), ``rgb`` or ``gray`` (stored as RGB with
    three equal channels), and the side of the crops in pixels, absent where it is :data:`fer_id.types.CROP`."""

    eyes: list[list[float]] | None
    colour: str
    size: int


def crop_geometry(*, aligned: bool, colour: str, size: int = CROP) -> CropGeometry:
    """Return the geometry of crops of side ``size``, aligned with the eyes at :func:`eye_places` or as published."""
    geometry: CropGeometry = {"eyes": eye_places(size).tolist() if aligned else None, "colour": colour}
    if size != CROP:
        geometry["size"] = size
    return geometry


def eye_places(size: int = CROP) -> NDArray[np.float64]:
    """Return :data:`EYES_64` in a crop of side ``size``, (2, 2). A pixel is a square around its centre, so scaling a
    picture scales about (-0.5, -0.5)."""
    return (np.asarray(EYES_64) + 0.5) * (size / CROP) - 0.5


def check_image(image: NDArray[Any]) -> None:
    """Raise :class:`DataError` unless the array is a non-empty uint8 (H, W, 3) image."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise DataError(f"image has shape {image.shape} of {image.dtype}; expected (H, W, 3) of uint8, RGB, not empty")


def eye_centres(landmarks68: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the eye centres, the means of iBUG points 36-41 and 42-47: float64 (2, 2), rows image-left and image-right
    eye (of an upright face), columns x and y; of several faces (..., 68, 2) those of each, (..., 2, 2)."""
    points = np.asarray(landmarks68, dtype=np.float64)
    if points.shape[-2:] != (LANDMARKS, 2):
        raise DataError(f"landmarks have shape {points.shape}; expected ({LANDMARKS}, 2): x, y in pixels")
    return np.stack([points[..., 36:42, :].mean(axis=-2), points[..., 42:48, :].mean(axis=-2)], axis=-2)


def eye_similarity(landmarks68: NDArray[np.floating], size: int = CROP) -> NDArray[np.float64]:
    """Compute the similarity (rotation, scale, shift), float64 (2, 3), from image pixels to those of a crop of side
    ``size``, that maps the eye centres of ``landmarks68`` (iBUG order) to :func:`eye_places`; of several
    faces (..., 68, 2) that of each, (..., 2, 3).

    Two points determine a similarity: in complex numbers, ``z -> a z + b`` with ``a`` the ratio of the two eye-to-eye
    vectors. Raise DataError where an eye point is NaN or infinite, or the eye centres are less than a pixel apart; data
    preparation counts such a face as not found.
    """
    eyes = eye_centres(landmarks68)
    if not np.isfinite(eyes).all():
        raise DataError("eye landmarks (iBUG points 36-47) are not finite; pass landmarks=None for a face without any")
    places = (each[..., 0] + 1j * each[..., 1] for each in (eyes, eye_places(size)))
    (left, right), (to_left, to_right) = (np.moveaxis(pair, -1, 0) for pair in places)
    apart = float(np.abs(right - left).min())
    if apart < _MIN_EYE_DISTANCE:
        raise DataError(f"eye centres are {apart:.2f} pixels apart; expected at least {_MIN_EYE_DISTANCE:g}")
    a = (to_right - to_left) / (right - left)
    b = to_left - a * left
    rows = [np.stack(row, axis=-1) for row in ((a.real, -a.imag, b.real), (a.imag, a.real, b.imag))]
    return np.stack(rows, axis=-2)


def move_points(matrix: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return points (..., N, 2) transformed by an affine matrix (..., 2, 3); NaN stays NaN."""
    moved = points @ matrix[..., :2].swapaxes(-1, -2) + matrix[..., None, :, 2]
    return np.asarray(moved, np.float32)


def align(
    image: NDArray[np.uint8], landmarks: NDArray[np.floating] | None, size: int = CROP
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crop the face of an RGB image (H, W, 3) with its eyes at :func:`eye_places`; return the crop and its landmarks.

    Landmarks, (68, 2) in image pixels, become crop pixels, float32; other points than the eyes may be NaN and stay NaN.
    With None or all NaN, without a detected face, the whole image is resized (made square by repeating its border, so
    that it keeps its proportions), with NaN landmarks. Raise DataError for no RGB image, or as :func:`eye_similarity`.
    """
    check_image(image)
    if landmarks is None or np.isnan(landmarks).all():
        height, width = image.shape[:2]
        scale = size / max(height, width)  # the whole image, centred
        shift = [(size - 1) / 2 - scale * (width - 1) / 2, (size - 1) / 2 - scale * (height - 1) / 2]
        crop = warp(image, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), size)
        return crop, np.full((LANDMARKS, 2), np.nan, dtype=np.float32)
    matrix = eye_similarity(landmarks, size)
    return warp(image, matrix, size), move_points(matrix, landmarks)


def warp(image: NDArray[np.uint8], matrix: NDArray[np.floating], size: int = CROP) -> NDArray[np.uint8]:
    """Return the square crop of an image under a similarity (2, 3); pixels outside the image repeat its border.

    Interpolation alone would skip pixels of a face much larger than its crop and alias, so such a face is first shrunk
    to its size in the crop by averaging over areas.
    """
    import cv2

    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < _SHARP_ENOUGH:
        image, matrix = _shrink(image, matrix, size, scale)
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, dtype=np.uint8)


def _shrink(
    image: NDArray[np.uint8], matrix: NDArray[np.floating], size: int, scale: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the part of an image inside the crop, shrunk by ``scale``, and the matrix from that part to the crop."""
    import cv2

    height, width = image.shape[:2]
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - 0.5
    seen = move_points(np.asarray(cv2.invertAffineTransform(np.asarray(matrix, dtype=np.float64)), np.float64), corners)
    margin = 4 / scale  # what cubic interpolation reads beyond the edge
    x0, y0 = np.clip(np.floor(seen.min(axis=0) - margin), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(seen.max(axis=0) + margin), [x0 + 1, y0 + 1], [width, height]).astype(int)
    small_w, small_h = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    small = cv2.resize(image[y0:y1, x0:x1], (small_w, small_h), interpolation=cv2.INTER_AREA)
    # Rounding to whole pixels makes the two factors differ slightly; the matrix back to the image accounts for it.
    fx, fy = (x1 - x0) / small_w, (y1 - y0) / small_h
    back = np.array([[fx, 0, x0 + (fx - 1) / 2], [0, fy, y0 + (fy - 1) / 2], [0, 0, 1]])
    return np.asarray(small, dtype=np.uint8), np.asarray(matrix, dtype=np.float64) @ back
