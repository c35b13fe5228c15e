"""Small benchmarks in their published layouts, generated from smooth noise; no two pictures are alike."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Row = tuple[int, NDArray[np.uint8], str]
FER7_CODES = range(7)


def smooth(seed: int, side: int = 48) -> NDArray[np.uint8]:
    """Return a gray picture with the coarse structure of a photograph; a function of its seed."""
    coarse = np.random.default_rng(seed).normal(size=(7, 7))
    large = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(255 * (large - large.min()) / np.ptp(large), np.uint8)


@pytest.fixture
def picture() -> Callable[..., NDArray[np.uint8]]:
    return smooth


@pytest.fixture
def fer_rows() -> Callable[..., list[Row]]:
    """``fer_rows(training=10, public=2, private=0)``: rows with these numbers of images per class and usage."""

    def make(training: int = 10, public: int = 2, private: int = 0) -> list[Row]:
        usages = ["Training"] * training + ["PublicTest"] * public + ["PrivateTest"] * private
        pairs = [(usage, code) for usage in usages for code in FER7_CODES]
        return [(code, smooth(seed), usage) for seed, (usage, code) in enumerate(pairs)]

    return make


@pytest.fixture
def fer_csv(tmp_path: Path) -> Callable[[Sequence[Row]], Path]:
    """Write rows as Kaggle's CSV."""

    def write(rows: Sequence[Row]) -> Path:
        lines = [f"{code},{' '.join(map(str, image.ravel()))},{usage}" for code, image, usage in rows]
        path = tmp_path / "fer2013.csv"
        path.write_text("\n".join(["emotion,pixels,Usage", *lines, ""]))
        return path

    return write


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """``image_folder({"train": 6, "test": 2}, classes)``: folders with these numbers of pictures per class."""

    def write(splits: dict[str, int], classes: Sequence[str], name: str = "pictures") -> Path:
        seed = 0
        for split, count in splits.items():
            for label in classes:
                folder = tmp_path / name / split / label
                folder.mkdir(parents=True)
                for number in range(count):
                    Image.fromarray(smooth(seed, 80)).save(folder / f"{number}.png")
                    seed += 1
        return tmp_path / name

    return write
