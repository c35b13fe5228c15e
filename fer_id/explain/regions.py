"""Facial regions from 68 landmarks: soft masks that follow the face and divide every pixel of a crop among regions.

The regions are those in which the action units of an emotion show; the rest of the crop is the hairline, where the
paper saw attribution leak, and the background. The hairline follows from the landmarks by the canon of facial thirds:
it is as far above the brows as the base of the nose is below them (Farkas et al., 1985, Plast Reconstr Surg
75(3):328-338, who also measured how widely people differ from it), so it is an estimate, not a detection of hair.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.types import CROP

Floats = NDArray[np.float32]

REGIONS = (
    *("brows", "eyes", "nose", "nasolabial folds", "mouth"),
    *("chin and jaw", "cheeks", "forehead", "hairline", "background"),
)
OUTSIDE = ("hairline", "background")
"""Regions outside the face; see ``fer_id.explain.shares.off_face_attribution``."""

UNIT_REGIONS: dict[int, tuple[str, ...]] = {
    1: ("brows", "forehead"),
    2: ("brows", "forehead"),
    4: ("brows",),
    5: ("eyes",),
    6: ("eyes", "cheeks"),
    7: ("eyes",),
    9: ("nose", "nasolabial folds"),
    12: ("mouth", "nasolabial folds"),
    14: ("mouth",),
    15: ("mouth", "chin and jaw"),
    16: ("mouth", "chin and jaw"),
    20: ("mouth",),
    23: ("mouth",),
    26: ("mouth", "chin and jaw"),
}
"""Action unit -> regions of the face that it changes: Ekman, Friesen and Hager, *Facial Action Coding System*, 2002."""

EMOTION_UNITS: dict[str, tuple[int, ...]] = {
    "happy": (6, 12),
    "sad": (1, 4, 15),
    "surprise": (1, 2, 5, 26),
    "fear": (1, 2, 4, 5, 7, 20, 26),
    "angry": (4, 5, 7, 23),
    "disgust": (9, 15, 16),
    "contempt": (12, 14),
}
"""Action units of the emotions: Friesen and Ekman, *EMFACS-7*, 1983. They describe adults without disabilities, so
attribution elsewhere is no proof of a faulty model."""

_SCALE = 2  # masks are painted this much larger and averaged down, for soft edges
_SOFT = 0.8  # standard deviation in pixels: landmarks are no more exact
_SHIFT = 4  # fractional bits of OpenCV's coordinates


def expected(emotion: str) -> tuple[str, ...]:
    """Return the regions in which the emotion shows by FACS, in the order of ``REGIONS``; none for neutral."""
    regions = {region for unit in EMOTION_UNITS.get(emotion, ()) for region in UNIT_REGIONS[unit]}
    return tuple(region for region in REGIONS if region in regions)


def region_masks(landmarks: NDArray[np.floating]) -> Floats:
    """Return the share of every pixel that belongs to each region.

    Args:
        landmarks: (N, 68, 2) in crop pixels; points may lie outside the crop.

    Returns:
        (N, 10, 64, 64) in [0, 1], summing to 1 over the regions; all NaN for a frame with a NaN landmark.
    """
    masks = np.full((len(landmarks), len(REGIONS), CROP, CROP), np.nan, np.float32)
    for points, mask in zip(landmarks, masks, strict=True):
        if np.isfinite(points).all():
            mask[:] = _soft(_painted(points.astype(np.float64)))
    return masks


def face_masks(landmarks: NDArray[np.floating]) -> Floats:
    """Return the share of every pixel that is face, from the jaw to the forehead: training may be confined to it.

    Args:
        landmarks: (N, 68, 2) in crop pixels.

    Returns:
        (N, 64, 64) in [0, 1]; all 1 for a frame with a NaN landmark, whose face is not located.
    """
    masks = np.ones((len(landmarks), CROP, CROP), np.float32)
    for points, mask in zip(landmarks, masks, strict=True):
        if np.isfinite(points).all():
            large = np.zeros((CROP * _SCALE, CROP * _SCALE), np.uint8)
            _fill(large, _face(points.astype(np.float64)), "background")  # any index but 0
            small = cv2.resize((large > 0).astype(np.float32), (CROP, CROP), interpolation=cv2.INTER_AREA)
            mask[:] = cv2.GaussianBlur(small, (0, 0), _SOFT, borderType=cv2.BORDER_REPLICATE)
    return masks


def _soft(labels: NDArray[np.uint8]) -> Floats:
    hot = (labels[..., None] == np.arange(len(REGIONS))).astype(np.float32)
    small = cv2.resize(hot, (CROP, CROP), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), _SOFT, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft / soft.sum(axis=2, keepdims=True), np.float32).transpose(2, 0, 1)


def _painted(points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the region index of every pixel of a larger crop, uint8 (128, 128); later regions cover earlier ones."""
    across, down = _axes(points)
    eyes = np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0)])
    unit = max(1.0, float(np.linalg.norm(eyes[1] - eyes[0])))
    brow_line = float((points[17:27] @ down).mean())
    mouth_line = float((points[[48, 54]] @ down).mean())
    third = _third(points, down)
    labels = np.full((CROP * _SCALE, CROP * _SCALE), _index("background"), np.uint8)
    rows, columns = np.mgrid[: CROP * _SCALE, : CROP * _SCALE]
    height = ((columns + 0.5) / _SCALE - 0.5) * down[0] + ((rows + 0.5) / _SCALE - 0.5) * down[1]

    _fill(labels, _crown(points, across, down, brow_line - 1.25 * third, 1.12), "hairline")
    inside = np.zeros_like(labels)
    _fill(inside, _face(points), "background")  # any index but 0
    for name, area in (
        ("cheeks", height > brow_line),
        ("chin and jaw", height > mouth_line),
        ("forehead", height <= brow_line),
    ):
        labels[(inside > 0) & area] = _index(name)

    for wing, corner in ((31, 48), (35, 54)):
        outward = across * (0.12 * unit) * (-1 if wing == 31 else 1)
        fold = [points[wing] + outward / 2, points[corner] + outward, points[corner] + outward + down * (0.12 * unit)]
        _line(labels, np.stack(fold), 0.20 * unit, "nasolabial folds")
    _blob(labels, np.concatenate([points[27:36], points[[39, 42]]]), 0.08 * unit, "nose")
    for eye, brow in (((36, 42), (17, 22)), ((42, 48), (22, 27))):
        _blob(labels, points[slice(*eye)], 0.16 * unit, "eyes")
        _line(labels, points[slice(*brow)], 0.22 * unit, "brows")
    _line(labels, points[[21, 22]], 0.22 * unit, "brows")  # frown lines lie between the brows
    _blob(labels, points[48:60], 0.10 * unit, "mouth")
    return labels


def _face(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outline of the face without hair."""
    across, down = _axes(points)
    top = float((points[17:27] @ down).mean()) - 0.85 * _third(points, down)
    return np.concatenate([points[:17], _crown(points, across, down, top, 1.0)])


def _third(points: NDArray[np.float64], down: NDArray[np.float64]) -> float:
    """Return the distance from brows to base of the nose in pixels, at least 0.3 of the distance between the eyes."""
    eyes = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    return max(0.3 * float(np.linalg.norm(eyes)), float(points[33] @ down) - float((points[17:27] @ down).mean()), 1.0)


def _axes(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit vectors of the face: from its right eye to its left eye, and down."""
    across = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    across = across / max(1e-6, float(np.linalg.norm(across)))
    return across, np.array([-across[1], across[0]])


def _crown(
    points: NDArray[np.float64], across: NDArray[np.float64], down: NDArray[np.float64], top: float, wider: float
) -> NDArray[np.float64]:
    """Return half an ellipse from the left temple over the head to the right one, its highest point at ``top``."""
    middle = (points[0] + points[16]) / 2
    radius = wider * float(np.linalg.norm(points[16] - points[0])) / 2
    rise = max(1.0, float(middle @ down) - top)
    angle = np.linspace(0, np.pi, 24)[:, None]
    return np.asarray(middle + radius * np.cos(angle) * across - rise * np.sin(angle) * down, np.float64)


def _index(name: str) -> int:
    return REGIONS.index(name)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Convert crop pixels to OpenCV's fixed-point pixels of the larger crop."""
    return np.asarray(np.rint(((points + 0.5) * _SCALE - 0.5).clip(-1e4, 1e4) * 2**_SHIFT), np.int32)


def _fill(labels: NDArray[np.uint8], outline: NDArray[np.float64], name: str) -> None:
    cv2.fillPoly(labels, [_fixed(outline)], _index(name), shift=_SHIFT)


def _line(labels: NDArray[np.uint8], points: NDArray[np.float64], width: float, name: str) -> None:
    thickness = max(1, round(width * _SCALE))
    cv2.polylines(labels, [_fixed(points)], False, _index(name), thickness=thickness, shift=_SHIFT)


def _blob(labels: NDArray[np.uint8], points: NDArray[np.float64], margin: float, name: str) -> None:
    """Fill the convex hull of the points and a margin around it."""
    hull = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
    _fill(labels, hull, name)
    _line(labels, np.concatenate([hull, hull[:1]]), 2 * margin, name)
