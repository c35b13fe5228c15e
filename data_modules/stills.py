"""Pictures of faces as a dataset publishes them, and their decoding from files that may be damaged or hostile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fer_id.errors import DataError
from fer_id.inputs import MB, opened

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""Formats that are decoded; Pillow would hand others to rarely used decoders, or to programs."""

MOST_PIXELS = 50_000_000
"""Pixels of a camera's largest picture; a small file with more in its header is a decompression bomb."""

MOST_PICTURE = 256 * MB
BACKGROUND = 128
"""Gray level behind transparent pixels."""


class Still(NamedTuple):
    """A picture as published.

    Attributes:
        clip_id: unique name.
        split: published name of the split, a key of ``splits``; None where none is published.
        label: class name, None where unlabelled.
        image: the file, or its content, uint8 (H, W, 3), RGB.
        soft_label: K shares of the classes that sum to one, or None.
        subject_id: the person, names a file; None for all pictures of a benchmark that names nobody.
        landmarks: published points, float32 (68, 2) in pixels of the picture, or None.
        groups: value of each group column of the class, such as ``{"gender": "female"}``, None where unknown; the class
            names them.
        valence, arousal: from -1 to 1, None where not annotated.
    """

    clip_id: str
    split: str | None
    label: str | None
    image: NDArray[np.uint8] | Path
    soft_label: list[float] | None = None
    subject_id: str | None = None
    landmarks: NDArray[np.float32] | None = None
    groups: Mapping[str, str | None] = {}
    valence: float | None = None
    arousal: float | None = None


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode a picture as a viewer displays it, see :func:`to_rgb`; uint8 (H, W, 3), RGB.

    DataError: missing, not a picture, truncated, of another format, or too large (by its header, before it is decoded).
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
