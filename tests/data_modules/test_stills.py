"""Decoding of pictures of every mode."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from data_modules.stills import BACKGROUND, read_image, to_rgb

from .conftest import smooth

GRAY = smooth(3)
COLOURS = np.stack([smooth(1), smooth(2), GRAY], axis=2)
ALPHA = np.full(GRAY.shape, 255, np.uint8)
ALPHA[:, :20] = 0


def rgb(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(gray[..., None], 3, axis=2)


@pytest.mark.parametrize("name", ["gray.png", "gray.webp"])
def test_gray_becomes_rgb(tmp_path: Path, name: str) -> None:
    Image.fromarray(GRAY).save(tmp_path / name, lossless=True)
    assert (read_image(tmp_path / name) == rgb(GRAY)).all()


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_sixteen_bits_are_scaled(mode: str) -> None:
    levels = GRAY.astype(np.uint16) * 257
    raw = {"I;16": "<u2", "I;16B": ">u2", "I": np.int32, "F": np.float32}[mode]
    picture = Image.frombytes(mode, GRAY.shape[::-1], levels.astype(raw).tobytes())
    assert (to_rgb(picture) == rgb(GRAY)).all()


@given(level=st.integers(0, 65535))
def test_any_level_is_within_half_a_step(level: int) -> None:
    value = int(to_rgb(Image.fromarray(np.array([[level]], np.uint16)))[0, 0, 0])
    assert abs(value - level / 257) <= 0.5


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_of_sixteen_bits_is_its_twin_of_eight(tmp_path: Path, channels: int) -> None:
    """The file is written by OpenCV, which the reader does not use."""
    picture = {1: GRAY, 3: COLOURS, 4: np.dstack([COLOURS, np.full_like(GRAY, 255)])}[channels]
    cv2.imwrite(str(tmp_path / "a16.png"), picture.astype(np.uint16) * 257)
    expected = rgb(GRAY) if channels == 1 else picture[..., 2::-1]
    assert np.abs(read_image(tmp_path / "a16.png").astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", ["rgba.png", "la.png", "palette.png", "rgba.webp"])
def test_transparent_pixels_lie_on_middle_gray(tmp_path: Path, name: str) -> None:
    base = rgb(GRAY) if name == "la.png" else COLOURS
    picture = Image.fromarray(np.dstack([base, ALPHA]))
    picture = {"la.png": picture.convert("LA"), "palette.png": picture.quantize(256)}.get(name, picture)
    picture.save(tmp_path / name, lossless=True)
    image = read_image(tmp_path / name)
    assert (image[:, :20] == BACKGROUND).all()
    assert np.abs(image[:, 20:].astype(int) - base[:, 20:]).mean() < (8 if name == "palette.png" else 1)


def test_a_gray_level_that_marks_transparency_does_so_in_sixteen_bits_too(tmp_path: Path) -> None:
    levels = GRAY.astype(np.uint16) * 257
    Image.fromarray(levels).save(tmp_path / "keyed.png", transparency=int(levels[5, 7]))
    image = read_image(tmp_path / "keyed.png")
    assert image[5, 7].tolist() == [BACKGROUND] * 3
    assert (image[GRAY[5, 7] != GRAY] == rgb(GRAY)[GRAY[5, 7] != GRAY]).all()


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, np.rot90),
        (7, lambda a: np.rot90(a.swapaxes(0, 1), 2)),
        (8, lambda a: np.rot90(a, -1)),
    ],
)
def test_exif_turns_and_mirrors(tmp_path: Path, orientation: int, turn: Any) -> None:
    """``turn`` maps the displayed picture to the stored one; all but 6 and 8 are their own inverses."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turn(COLOURS))).save(tmp_path / "turned.png", exif=exif)
    assert (read_image(tmp_path / "turned.png") == COLOURS).all()


@pytest.mark.parametrize(("mode", "most"), [("CMYK", 1), ("YCbCr", 2), ("RGB", 0), ("HSV", 2)])
def test_other_modes_are_converted(mode: str, most: float) -> None:
    picture = Image.fromarray(COLOURS).convert(mode)
    assert np.abs(to_rgb(picture).astype(int) - COLOURS).mean() <= most
