"""Images sorted as ``split/class/image``, such as FER2013 or RAF-DB re-packed as folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data_modules.benchmark import Benchmark
from data_modules.pictures import PictureDataModule, StillsConfig
from data_modules.stills import Still
from fer_id.errors import ConfigError, DataError, Problems, cut
from fer_id.labels import SPACES, LabelSpace, get_space
from fer_id.preprocessing.alignment import crop_geometry
from fer_id.settings import setting

SPLITS = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"val": "validation", "valid": "validation", "validation": "validation"},
}
"""Folder names (lower case) and their splits."""

ALIASES = {
    **{"anger": "angry", "disgusted": "disgust", "fearful": "fear", "afraid": "fear"},
    **{"happiness": "happy", "sadness": "sad", "surprised": "surprise"},
}
"""Other words for the class names of :mod:`fer_id.labels`."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
LAYOUT = "train/<class>/<image>, test/<class>/<image> and, if there is one, validation/<class>/<image>"


@dataclass
class FolderConfig(StillsConfig):
    """Settings of an image folder."""

    name: str = setting("folder", help="dataset, chosen by data=")
    label_space: str | None = setting(None, help="label space of the class folders; empty: inferred from their names")
    colour: str = setting("rgb", choices=("rgb", "gray"), help="what the images are, for the card")


class ImageFile(NamedTuple):
    """One image file: its split and class as named in :mod:`fer_id.labels`."""

    path: Path
    split: str
    label: str


class FolderDataModule(PictureDataModule):
    """Images sorted as ``split/class/image``, in the smallest label space that has the names of the class folders."""

    dataset = "folder"
    settings = FolderConfig
    layout = LAYOUT

    @classmethod
    def benchmark(cls, config: FolderConfig) -> Benchmark:
        """Return the images of all folders; ConfigError without source, or for an unknown label space."""
        if config.source is None:
            raise ConfigError("data.source is empty; say data.source=FOLDER with train/<class>/<image>")
        root = Path(config.source)
        files = list_images(root)
        space = get_space(config.label_space) if config.label_space else infer_space({file.label for file in files})
        check_classes(files, space, root)
        card = cls.card(config)
        card.label_space, card.source = space.name, root.resolve().name
        card.geometry = crop_geometry(aligned=config.landmarks != "none", colour=config.colour)
        return Benchmark(stills(files, "image"), card, Counter())

    @classmethod
    def roles(cls, published: set[str]) -> dict[str, str]:
        """Return split -> split; without a test split validation is the test, and one is split off training."""
        return {name: name for name in published} if "test" in published else {"train": "train", "validation": "test"}


def list_images(root: Path) -> list[ImageFile]:
    """Return every image below ``root``, in the order of the paths.

    DataError: unknown split folders, files that are no images, folders without images, names that are no text, or that
    stand twice in one split and class; all of them together.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Expected {LAYOUT}.")
    problems, files = Problems(str(root)), dict[tuple[str, str, str], ImageFile]()
    for folder in _visible(root):
        split = SPLITS.get(folder.name.lower())
        if split is None or not folder.is_dir():
            problems.add(f"{folder.name}: expected one of {', '.join(SPLITS)}")
            continue
        for class_folder in _visible(folder):
            label = ALIASES.get(class_folder.name.lower(), class_folder.name.lower())
            paths = _visible(class_folder) if class_folder.is_dir() else []
            for path in paths or [class_folder]:
                place = path.relative_to(root)
                if not paths or path.suffix.lower() not in SUFFIXES:
                    problems.add(f"{place}: no image; expected {', '.join(sorted(SUFFIXES))}")
                    continue
                if not str(place).isprintable():
                    problems.add(f"{cut(place)}: the name is no printable text; rename the file or folder")
                file = files.setdefault((split, label, path.name), ImageFile(path, split, label))
                if file.path != path:
                    other = file.path.relative_to(root)
                    has = f"the class {label} has an image of that name already, {other}"
                    problems.add(f"{place}: {has}; rename one of them")
    problems.raise_if_any(DataError, f"Expected {LAYOUT}.")
    if not files:
        raise DataError(f"{root}: no images. Expected {LAYOUT}.")
    return list(files.values())


def _visible(folder: Path) -> list[Path]:
    """Return the sorted contents of a folder, without the hidden files of operating systems."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "Thumbs.db")


def infer_space(names: set[str]) -> LabelSpace:
    """Return the smallest label space with all these names; of two with the same names, the first in ``SPACES``.

    DataError lists the names that no space has.
    """
    fitting = [space for space in SPACES.values() if names <= set(space.names)]
    if fitting:
        return min(fitting, key=len)
    known = {name for space in SPACES.values() for name in space.names}
    listed = ", ".join(cut(name) for name in (sorted(names - known) or sorted(names))[:20])
    if any(name.isdecimal() for name in names):
        raise DataError(
            f"classes {listed}: numbers mean something else in every benchmark; rename the folders "
            f"to what they show ({', '.join(sorted(known))})"
        )
    spaces = "; ".join(f"{space.name} ({', '.join(space.names)})" for space in SPACES.values())
    raise DataError(f"classes {listed}: no label space has them. Known: {spaces}")


def check_classes(files: list[ImageFile], space: LabelSpace, root: Path) -> None:
    """Raise DataError, which lists every class folder that is no class of the label space, if there is one."""
    problems = Problems(str(root))
    for folder in dict.fromkeys(file.path.parent for file in files if file.label not in space.names):
        number = ", and numbers mean something else in every benchmark" if folder.name.isdecimal() else ""
        problems.add(f"{folder.relative_to(root)}: no class of {space.name}{number}")
    problems.raise_if_any(DataError, f"Known classes: {', '.join(space.names)}.")


def stills(files: list[ImageFile], prefix: str) -> Iterator[Still]:
    """Yield the images; clip ids are ``<prefix>-<split>-<class>-<file name>``."""
    for path, split, label in files:
        yield Still(f"{prefix}-{split}-{label}-{path.name}", split, label, path)
