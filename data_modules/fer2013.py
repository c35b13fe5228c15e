"""FER2013 (Goodfellow et al., 2013): 48x48 gray web faces, as Kaggle's CSV or as a folder of images.

With a votes file of FER+ (:mod:`data_modules.ferplus`) the images of the CSV get the labels of FER+ instead, or keep
their own beside the shares of the votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from data_modules import ferplus, folders
from data_modules.benchmark import Benchmark
from data_modules.pictures import PictureDataModule, StillsConfig
from data_modules.stills import Still
from data_modules.tables import Table
from fer_id.errors import ConfigError, DataError, Problems
from fer_id.labels import FER7, FERPLUS8
from fer_id.settings import setting

SIDE = 48
CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Class names, in the order of the numbers in column ``emotion``."""

WITH_VOTES = "fer2013_votes"
LABELS = ("fer2013", WITH_VOTES, "ferplus_majority", "ferplus_soft")
LABELS_HELP = (
    "fer2013: its seven classes; fer2013_votes: these, and for loss.votes the shares that FER+'s votes give them on "
    "images of Training; ferplus_majority: the class most voted for; ferplus_soft: shares of votes"
)
USAGES = ("Training", "PublicTest", "PrivateTest")
PUBLISHED = "Expected FER2013 as published on Kaggle: emotion,pixels,Usage, one row per image."


@dataclass
class FER2013Config(StillsConfig):
    """Settings of FER2013."""

    example: ClassVar[str] = "data.source=fer2013.csv"
    name: str = setting("fer2013", help="dataset, chosen by data=")
    labels: str = setting("fer2013", choices=LABELS, help=LABELS_HELP)
    votes: str | None = setting(None, help="fer2013new.csv, published with FER+; all labels but fer2013 need it")
    row_flags: str | None = setting(
        None, help="CSV that flags images whose votes are uncertain; the ferplus labels leave them out"
    )


@dataclass
class FERPlusConfig(FER2013Config):
    """Settings of FER2013's images with the labels of FER+."""

    example: ClassVar[str] = "data.source=fer2013.csv data.votes=fer2013new.csv"
    name: str = setting("ferplus", help="dataset, chosen by data=")
    labels: str = setting("ferplus_majority", choices=LABELS, help=LABELS_HELP)


class FER2013DataModule(PictureDataModule):
    """FER2013, a CSV (plain or gzipped) or ``train|test/<class>/<image>``: seven classes, or FER+'s eight.

    With the private test rows the official three splits are used; without them the public test is the test, and
    validation is split off training, as for folders, which have no validation.
    """

    dataset = "fer2013"
    settings = FER2013Config
    splits = dict(zip(USAGES, ("train", "validation", "test"), strict=True))
    counts = dict(zip(USAGES, (28_709, 3_589, 3_589), strict=True))
    licence = "unknown: pictures from the web, published for a contest without a licence"
    layout = "fer2013.csv (emotion,pixels,Usage), plain or gzipped, or folders train|test/<class>/<image>"
    colour = "gray"

    @classmethod
    def benchmark(cls, config: FER2013Config) -> Benchmark:
        """Return the images of the CSV or the folders, with the labels that ``config.labels`` chooses."""
        source = _checked_source(config)
        own, left_out = config.labels in ("fer2013", WITH_VOTES), Counter[str]()
        if source.is_dir():
            files = folders.list_images(source)
            folders.check_classes(files, FER7, source)
            stills = folders.stills(files, "fer2013")
        elif config.labels == WITH_VOTES:
            stills = ferplus.with_votes(read_csv(source), Path(config.votes or ""), "Training")
        elif own:
            stills = (still for _, still in read_csv(source))
        else:
            stills = _ferplus(source, config, left_out)
        card = cls.card(config)
        card.label_space, card.source = (FER7.name, "fer2013") if own else (FERPLUS8.name, "ferplus")
        card.parameters = {"labels": config.labels, "landmarks": config.landmarks}
        return Benchmark(stills, card, left_out)

    @classmethod
    def roles(cls, published: set[str]) -> dict[str, str]:
        """Return the splits: the three official ones; without the private test, the public test is the test."""
        if not published <= set(USAGES):
            return folders.FolderDataModule.roles(published)
        return dict(cls.splits) if "PrivateTest" in published else {"Training": "train", "PublicTest": "test"}


class FERPlusDataModule(FER2013DataModule):
    """FER2013's images with the votes of ten annotators, ``data.votes=fer2013new.csv``: eight classes."""

    dataset = "ferplus"
    settings = FERPlusConfig
    licence = f"labels: MIT; pictures, FER2013's: {FER2013DataModule.licence}"


def _checked_source(config: FER2013Config) -> Path:
    problems, source = Problems(f"data={config.name}"), Path(config.source or "")
    if not config.source:
        problems.add("data.source is empty; say data.source=fer2013.csv (or .csv.gz, or a folder of images)")
    if config.labels != "fer2013" and not config.votes:
        problems.add(f"data.labels={config.labels} needs data.votes=fer2013new.csv")
    if config.labels != "fer2013" and config.source and source.is_dir():
        problems.add(
            f"data.labels={config.labels} needs FER2013's CSV, whose rows the votes follow; {source} is a folder"
        )
    problems.raise_if_any(ConfigError)
    return source


def _ferplus(source: Path, config: FER2013Config, left_out: Counter[str]) -> Iterator[Still]:
    """Yield the CSV's images with FER+ labels; the vote shares too for ``data.labels=ferplus_soft``."""
    uncertain = ferplus.read_uncertain(Path(config.row_flags)) if config.row_flags else set[int]()
    soft = config.labels == "ferplus_soft"
    rule = ferplus.distribution if soft else ferplus.majority
    votes = Path(config.votes or "")
    for still in ferplus.relabelled(read_csv(source), votes, rule, left_out, uncertain=uncertain):
        yield still if soft else still._replace(soft_label=None)


def read_csv(path: Path) -> Iterator[tuple[int, Still]]:
    """Yield number (from 0, header not counted) and image of every row; at the end DataError lists every bad row."""
    table = Table(path, ("emotion", "pixels", "Usage"))
    codes = [str(code) for code in range(len(CODES))]
    for number, row in table.rows(PUBLISHED):
        emotion, usage = row["emotion"].strip(), row["Usage"].strip()
        if emotion not in codes:
            table.add(number, "emotion", f"expected a number from 0 to {codes[-1]}", row["emotion"])
        if usage not in USAGES:
            table.add(number, "Usage", f"expected one of {', '.join(USAGES)}", row["Usage"])
        try:
            image = np.repeat(parse_pixels(row["pixels"])[..., None], 3, axis=2)
        except DataError as problem:
            table.problems.add(f"row {number} (line {number + 2}), column pixels: {problem}")
        if not table.problems:
            yield number, Still(f"fer2013-{number:06d}", usage, CODES[int(emotion)], image)


def parse_pixels(text: str) -> NDArray[np.uint8]:
    """Parse ``"70 80 82 ..."``, whole numbers from 0 to 255, to uint8 (48, 48); DataError for another text."""
    strange = text.encode("ascii", "replace").translate(None, b"0123456789 ")
    if strange or not text.strip():
        content = repr(strange.decode()[:20]) if strange else "nothing"
        raise DataError(f"expected {SIDE * SIDE} whole numbers from 0 to 255, found {content}")
    values = np.fromstring(text, dtype=np.int64, sep=" ")
    if len(values) != SIDE * SIDE:
        raise DataError(f"{len(values)} values, expected {SIDE * SIDE}")
    if values.max() > 255 or values.min() < 0:
        raise DataError(f"value {values.max()}, expected 0 to 255")
    return values.astype(np.uint8).reshape(SIDE, SIDE)
