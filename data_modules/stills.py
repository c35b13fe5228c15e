"""Decoding of single images (from files that may be damaged or hostile), their landmarks and crops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from data_modules.benchmark import BenchmarkConfig, Sample
from fer_id.errors import DataError
from fer_id.inputs import MB, opened
from fer_id.preprocessing.alignment import align
from fer_id.preprocessing.landmarks import MESH_MAPPING, landmarks_of_stills
from fer_id.settings import setting

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""Formats that are decoded; Pillow would hand others to rarely used decoders, or to programs."""

MOST_PIXELS = 50_000_000
"""Pixels of a camera's largest picture; a small file with more in its header is a decompression bomb."""

BACKGROUND = 128
"""Gray level behind transparent pixels."""


@dataclass
class StillsConfig(BenchmarkConfig):
    """Settings of benchmarks that are published without landmarks."""

    landmarks: str = setting(
        "none",
        choices=("none", "mediapipe"),
        help="none: crops as published; mediapipe: find 68 points and align the eyes",
    )
    workers: int = setting(1, min=1, max=256, help="processes that look for landmarks")
    face_landmarker: str | None = setting(None, help="file of MediaPipe's model, face_landmarker.task")

    @property
    def landmarks_from(self) -> str:
        """Origin of the landmarks, for the card."""
        return MESH_MAPPING if self.landmarks == "mediapipe" else "none"


MOST_PICTURE = 256 * MB


class Still(NamedTuple):
    """An image as published.

    Attributes:
        clip_id, split, label: as in :class:`data_modules.benchmark.Sample`.
        image: uint8 (H, W, 3), RGB.
        soft_label: shares of the classes, or None.
    """

    clip_id: str
    split: str
    label: str
    image: NDArray[np.uint8]
    soft_label: list[float] | None = None


def to_samples(stills: Iterable[Still], config: StillsConfig) -> Iterator[Sample]:
    """Yield the stills as crops, in their order, with landmarks and aligned eyes where ``config.landmarks`` is set.

    A still without a detected face keeps its published crop, without landmarks: the benchmark says it shows a face.
    """
    if config.landmarks == "none":
        for still in stills:
            yield _sample(still, None)
        return
    stills, ahead = tee(stills)
    detected = landmarks_of_stills((still.image for still in ahead), config.workers, config.face_landmarker)
    for still, points in zip(stills, detected, strict=True):
        yield _sample(still, None if np.isnan(points).any() else points)


def _sample(still: Still, points: NDArray[np.float32] | None) -> Sample:
    crop, landmarks = align(still.image, points)
    return Sample(
        still.clip_id, still.split, still.label, crop, None if points is None else landmarks, still.soft_label
    )


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode a picture as a viewer displays it, see :func:`to_rgb`; uint8 (H, W, 3), RGB.

    Raises:
        DataError: missing, not a picture, truncated, of another format, or too large (by its header, before anything
            is decoded).
    """
    try:
        with opened(path, DataError, most=MOST_PICTURE) as file, Image.open(file, formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise DataError(f"{path}: {width}x{height} pixels, expected at most {MOST_PIXELS:,} in all")
            return to_rgb(picture)
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a picture ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError as problem:
        raise DataError(f"{path}: absurdly large ({problem})") from None
    except (OSError, SyntaxError, ValueError, EOFError) as problem:
        raise DataError(f"{path}: cannot be decoded ({problem})") from None


def to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    """Convert a picture of any mode to uint8 (H, W, 3), RGB.

    Turned and mirrored by its EXIF orientation; 16 bits per channel are scaled to 8; palettes and CMYK are converted;
    transparent pixels lie on :data:`BACKGROUND`.
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bits(picture)
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("RGB"), np.uint8)
    layer = picture.convert("RGBA")
    paper = Image.new("RGBA", layer.size, (BACKGROUND,) * 3)
    return np.asarray(Image.alpha_composite(paper, layer).convert("RGB"), np.uint8)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale a gray picture of 16 bits (modes I;16, I, F) to 8; the gray level that marks transparency stays so."""
    levels = np.asarray(picture, np.float64)
    gray = Image.fromarray(np.clip(levels / 257 + 0.5, 0, 255).astype(np.uint8))
    if (level := picture.info.get("transparency")) is not None:
        gray.putalpha(Image.fromarray(np.where(levels == level, 0, 255).astype(np.uint8)))
    return gray
