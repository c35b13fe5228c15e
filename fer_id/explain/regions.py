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
Points = NDArray[np.float64]

REGIONS = (
    *("brows", "eyes", "nose", "nasolabial folds", "mouth"),
    *("chin and jaw", "cheeks", "forehead", "hairline", "background"),
)
OUTSIDE = ("hairline", "background")  # regions outside the face; see ``fer_id.explain.shares.off_face_attribution``

UNIT_REGIONS: dict[int, tuple[str, ...]] = {
    **dict.fromkeys((1, 2), ("brows", "forehead")),
    4: ("brows",),
    **dict.fromkeys((5, 7), ("eyes",)),
    6: ("eyes", "cheeks"),
    9: ("nose", "nasolabial folds"),
    12: ("mouth", "nasolabial folds"),
    **dict.fromkeys((14, 20, 23), ("mouth",)),
    **dict.fromkeys((15, 16, 26), ("mouth", "chin and jaw")),
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


def region_masks(landmarks: NDArray[np.floating], size: int = CROP) -> Floats:
    """Return the share of every pixel that belongs to each region, (N, 10, S, S), summing to 1 over the regions.

    ``landmarks`` (N, 68, 2) are in pixels of a crop of side ``size``, also outside the crop; a frame with a NaN
    landmark is all NaN.
    """
    masks = np.full((len(landmarks), len(REGIONS), size, size), np.nan, np.float32)
    for points, mask in zip(landmarks, masks, strict=True):
        if np.isfinite(points).all():
            hot = (_painted(_Face(points), size)[..., None] == np.arange(len(REGIONS))).astype(np.float32)
            soft = _averaged(hot, size)
            mask[:] = (soft / soft.sum(axis=2, keepdims=True)).transpose(2, 0, 1)
    return masks


def face_masks(landmarks: NDArray[np.floating], size: int = CROP) -> Floats:
    """Return the share of every pixel that is face, (N, S, S), from the jaw to the forehead.

    Training may be confined to it. A frame with a NaN landmark is all 1, as its face is not located.
    """
    masks = np.ones((len(landmarks), size, size), np.float32)
    for points, mask in zip(landmarks, masks, strict=True):
        if np.isfinite(points).all():
            mask[:] = _averaged(_Face(points).area(size).astype(np.float32), size)
    return masks


def _averaged(large: Floats, size: int) -> Floats:
    """Average a larger crop down to the crop, (2 S, 2 S, ...) -> (S, S, ...), with soft edges."""
    small = cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), _SOFT, borderType=cv2.BORDER_REPLICATE), np.float32)


class _Face:
    """Landmarks (68, 2) in crop pixels, with the unit vectors and the lengths of the face."""

    def __init__(self, landmarks: NDArray[np.floating]) -> None:
        self.points = points = landmarks.astype(np.float64)
        eyes = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
        apart = float(np.linalg.norm(eyes))
        self.unit = max(1.0, apart)
        self.across = eyes / max(1e-6, apart)  # from its right eye to its left eye
        self.down = np.array([-self.across[1], self.across[0]])
        self.brow_line = float((points[17:27] @ self.down).mean())
        # From the brows to the base of the nose, at least 0.3 of the distance between the eyes.
        self.third = max(0.3 * apart, float(points[33] @ self.down) - self.brow_line, 1.0)

    def crown(self, thirds: float, wider: float) -> Points:
        """Return half an ellipse from the left temple over the head to the right one, ``thirds`` above the brows."""
        middle = (self.points[0] + self.points[16]) / 2
        radius = wider * float(np.linalg.norm(self.points[16] - self.points[0])) / 2
        rise = max(1.0, float(middle @ self.down) - (self.brow_line - thirds * self.third))
        angle = np.linspace(0, np.pi, 24)[:, None]
        return np.asarray(middle + radius * np.cos(angle) * self.across - rise * np.sin(angle) * self.down)

    def area(self, size: int) -> NDArray[np.bool_]:
        """Return where a larger crop shows face without hair, (2 S, 2 S)."""
        large = np.zeros((size * _SCALE, size * _SCALE), np.uint8)
        _fill(large, np.concatenate([self.points[:17], self.crown(0.85, 1.0)]), "background")  # any index but 0
        return large > 0


def _painted(face: _Face, size: int) -> NDArray[np.uint8]:
    """Return the region index of every pixel of a larger crop, uint8 (2 S, 2 S); later regions cover earlier ones."""
    points, unit, across, down = face.points, face.unit, face.across, face.down
    mouth_line = float((points[[48, 54]] @ down).mean())
    labels = np.full((size * _SCALE, size * _SCALE), REGIONS.index("background"), np.uint8)
    rows, columns = np.mgrid[: size * _SCALE, : size * _SCALE]
    height = ((columns + 0.5) / _SCALE - 0.5) * down[0] + ((rows + 0.5) / _SCALE - 0.5) * down[1]

    _fill(labels, face.crown(1.25, 1.12), "hairline")
    inside, below_brows = face.area(size), height > face.brow_line
    areas = {"cheeks": below_brows, "chin and jaw": height > mouth_line, "forehead": ~below_brows}
    for name, area in areas.items():
        labels[inside & area] = REGIONS.index(name)

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


def _fixed(points: Points) -> NDArray[np.int32]:
    """Convert crop pixels to OpenCV's fixed-point pixels of the larger crop."""
    return np.asarray(np.rint(((points + 0.5) * _SCALE - 0.5).clip(-1e4, 1e4) * 2**_SHIFT), np.int32)


def _fill(labels: NDArray[np.uint8], outline: Points, name: str) -> None:
    cv2.fillPoly(labels, [_fixed(outline)], REGIONS.index(name), shift=_SHIFT)


def _line(labels: NDArray[np.uint8], points: Points, width: float, name: str) -> None:
    thickness = max(1, round(width * _SCALE))
    cv2.polylines(labels, [_fixed(points)], False, REGIONS.index(name), thickness=thickness, shift=_SHIFT)


def _blob(labels: NDArray[np.uint8], points: Points, margin: float, name: str) -> None:
    """Fill the convex hull of the points and a margin around it."""
    hull = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
    _fill(labels, hull, name)
    _line(labels, np.concatenate([hull, hull[:1]]), 2 * margin, name)
