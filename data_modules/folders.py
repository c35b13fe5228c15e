"""Folders of images: sorted as ``split/class/image``, such as FER2013 re-packed, or with ids in their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from data_modules.benchmark import Benchmark
from data_modules.named_files import ALIASES, SPLITS, NamesConfig, read_names
from data_modules.patterns import compile_pattern
from data_modules.pictures import PictureDataModule, StillsConfig
from data_modules.stills import Still
from fer_id.errors import ConfigError, DataError, Problems, cut
from fer_id.labels import SPACES, LabelSpace, get_space
from fer_id.preprocessing.alignment import crop_geometry
from fer_id.settings import Clash, setting
from fer_id.store.card import StoreCard

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
LAYOUT = "train/<class>/<image>, test/<class>/<image> and, if there is one, validation/<class>/<image>"


@dataclass
class FolderConfig(NamesConfig, StillsConfig):
    """Settings of an image folder; without ``pattern`` its images are sorted as split/class/image."""

    example: ClassVar[str] = "data.source=FOLDER 'data.pattern=**/{subject}-{label}.jpg'"
    name: str = setting("folder", help="dataset, chosen by data=")
    colour: str = setting("rgb", choices=("rgb", "gray"), help="what the images are, for the card")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of the pattern, and of one that names nothing to divide the pictures by."""
        yield from (clashes := list(super().clashes()))
        if self.pattern and not clashes and not {"subject", "split"} & compile_pattern(self.pattern).groupindex.keys():
            yield Clash(("pattern",), "has neither {subject} nor {split}, so nothing divides the pictures")


class ImageFile(NamedTuple):
    """One image file: its split and class as named in :mod:`fer_id.labels`."""

    path: Path
    split: str
    label: str


class FolderDataModule(PictureDataModule):
    """Images sorted as ``split/class/image``, or whose names hold label, subject, split and groups (``pattern``).

    Without ``label_space`` the store has the smallest one with all classes.
    """

    dataset = "folder"
    settings = FolderConfig
    layout = LAYOUT

    @classmethod
    def benchmark(cls, config: FolderConfig) -> Benchmark:
        """Return the images of all folders; ConfigError without source, or for an unknown label space."""
        if config.pattern:
            return cls._named(config)
        if config.source is None:
            raise ConfigError("data.source is empty; say data.source=FOLDER with train/<class>/<image>")
        root = Path(config.source)
        files = list_images(root)
        space = get_space(config.label_space) if config.label_space else infer_space({file.label for file in files})
        check_classes(files, space, root)
        return Benchmark(stills(files, "image"), cls._card(config, space, []), Counter())

    @classmethod
    def _named(cls, config: FolderConfig) -> Benchmark:
        """Return the images whose names match ``config.pattern``, with the facts in their names."""
        left_out = Counter[str]()
        files, space, groups = read_names(config.source, config, SUFFIXES, left_out)
        stills = (
            Still(clip_id, split, label, path, subject_id=subject, groups=groups)
            for path, clip_id, label, subject, split, groups in files
        )
        return Benchmark(stills, cls._card(config, space, groups), left_out)

    @classmethod
    def _card(cls, config: FolderConfig, space: LabelSpace, groups: list[str]) -> StoreCard:
        card = cls.card(config)
        card.label_space, card.groups = space.name, groups
        card.source = config.title or Path(str(config.source)).resolve().name
        card.geometry = crop_geometry(aligned=config.landmarks != "none", colour=config.colour, size=config.crop)
        card.parameters |= config.facts
        return card

    @classmethod
    def roles(cls, published: set[str]) -> dict[str, str]:
        """Return split -> split; without a test split validation is the test, and one is split off training. Without
        any split (``all``) a protocol divides the subjects."""
        if published == {"all"}:
            return {}
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
