"""Conversion of an image benchmark to an audited ClipStore, shared by all image datasets.

Samples are spooled to disk as they are read, so memory holds about 1 kB per image; then the duplicate audit groups
them, the splits are fixed, and the store is written.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_modules.config import SourceConfig
from fer_id.errors import DataError, Problems
from fer_id.evaluation.config import SPLITS
from fer_id.evaluation.duplicates import CORRELATION, RADIUS, Duplicates, find_duplicates, fingerprint
from fer_id.evaluation.duplicates_summary import summarise
from fer_id.evaluation.protocol import without_repeats
from fer_id.labels import get_space
from fer_id.progress import say, track
from fer_id.settings import setting
from fer_id.store.card import StoreCard
from fer_id.store.writer import ClipStoreWriter
from fer_id.types import CROP, LANDMARKS

VERSIONS = ("numpy", "pillow", "opencv-python-headless", "imagehash", "scipy")


@dataclass
class BenchmarkConfig(SourceConfig):
    """Settings of ``prepare`` shared by the image benchmarks."""

    validation_fraction: float = setting(
        0.1, above=0, below=1, help="share of training that becomes validation where none is published"
    )
    split_seed: int = setting(0, min=0, max=2**32 - 1, help="seed of that division")
    audit_radius: int = setting(
        RADIUS, min=0, max=64, help="bits of 64 by which two perceptual hashes may differ for a closer look"
    )
    audit_correlation: float = setting(
        CORRELATION, above=0, max=1, help="correlation from which two images are one photograph"
    )


class Sample(NamedTuple):
    """One image of a benchmark, as its reader yields it.

    Attributes:
        clip_id: unique name.
        split: published name of the split.
        label: class name, None where unlabelled.
        crop: uint8 (64, 64, 3), RGB.
        landmarks: float32 (68, 2) in crop pixels, or None.
        soft_label: K shares that sum to one, or None.
    """

    clip_id: str
    split: str
    label: str | None
    crop: NDArray[np.uint8]
    landmarks: NDArray[np.float32] | None = None
    soft_label: list[float] | None = None


@dataclass
class Benchmark:
    """Input of :func:`write_benchmark`.

    Attributes:
        samples: its images; read once.
        card: card of the store, without audit.
        roles: maps the published names of the splits that have images to train, validation and test.
        left_out: samples that a reader left out, by reason; filled in while ``samples`` are read.
        counts: number of images that the authors state, by published split; empty where they state none.
    """

    samples: Iterable[Sample]
    card: StoreCard
    roles: Callable[[set[str]], Mapping[str, str]]
    left_out: Counter[str] = field(default_factory=Counter)
    counts: Mapping[str, int] = field(default_factory=dict)


def write_benchmark(benchmark: Benchmark, out: Path, config: BenchmarkConfig, *, overwrite: bool = False) -> StoreCard:
    """Read, audit and split the samples, and write the store, whole or not at all.

    Returns:
        the card, with ``audit``: ``thresholds``; ``published`` (:func:`fer_id.evaluation.duplicates_summary.summarise`
        over the splits as published); ``prepared`` (images and classes per split, and what training drops by
        default); ``left_out``.

    Raises:
        DataError: bad input (every fault together), an empty split, a class without a training image, a full disk.
    """
    card = benchmark.card
    with (
        _disk(out),
        ClipStoreWriter(out, card, overwrite=overwrite) as writer,
        TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as draft,
    ):
        spool = Spool(Path(draft))
        prints = fingerprint(spool.fill(track(benchmark.samples, f"reading {card.source}")))
        duplicates = find_duplicates(prints, radius=config.audit_radius, correlation=config.audit_correlation)
        table = spool.table()
        if table.empty:
            raise DataError(f"{card.source}: no image to prepare in {config.source}{_counted(benchmark.left_out)}")
        _check_ids(table, card.source)
        # A group has the name of its first image, which is unique and can be looked up.
        first = np.unique(duplicates.group, return_index=True)[1]
        table["subject_id"] = table["clip_id"].to_numpy()[first[duplicates.group]]
        published = table["split"].tolist()
        _compare_counts(Counter(published), benchmark)
        roles = benchmark.roles(set(published))
        table["split"] = _final_splits(table, roles, config)
        _check_splits(table, card)
        card.audit = _audit(duplicates, table, published, benchmark.left_out, config)
        card.parameters |= {
            "images_with_landmarks": spool.with_landmarks,
            "validation": "as published" if "validation" in roles.values() else "split off training",
            "validation_fraction": config.validation_fraction,
            "split_seed": config.split_seed,
        }
        card.versions |= {name: version(name) for name in VERSIONS}
        columns = table.assign(source=card.source).to_dict("list")
        for *values, (crop, landmarks) in zip(*columns.values(), spool.read(), strict=True):
            writer.add_clip(dict(zip(map(str, columns), values, strict=True)), crop[None], landmarks[None])
    return card


class Spool:
    """Temporary store of samples: crops and landmarks on disk, their table in memory."""

    def __init__(self, folder: Path) -> None:
        self._crops, self._landmarks = folder / "crops", folder / "landmarks"
        self._rows: list[tuple[str, str, str | None, list[float] | None]] = []
        self.with_landmarks = 0

    def fill(self, samples: Iterable[Sample]) -> Iterator[NDArray[np.uint8]]:
        """Write each sample and yield its crop."""
        none = np.full((LANDMARKS, 2), np.nan, np.float32)
        with self._crops.open("wb") as crops, self._landmarks.open("wb") as landmarks:
            for sample in samples:
                crops.write(sample.crop.tobytes())
                landmarks.write((none if sample.landmarks is None else sample.landmarks.astype(np.float32)).tobytes())
                self.with_landmarks += sample.landmarks is not None and bool(np.isfinite(sample.landmarks).all())
                self._rows.append((sample.clip_id, sample.split, sample.label, sample.soft_label))
                yield sample.crop

    def table(self) -> pd.DataFrame:
        """Return one row per sample: clip_id, split (published), label, soft_label."""
        return pd.DataFrame(self._rows, columns=["clip_id", "split", "label", "soft_label"], dtype=object)

    def read(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        """Yield crop (64, 64, 3) and landmarks (68, 2) of each sample, in order."""
        with self._crops.open("rb") as crops, self._landmarks.open("rb") as landmarks:
            for _ in self._rows:
                crop = np.frombuffer(crops.read(CROP * CROP * 3), np.uint8).reshape(CROP, CROP, 3)
                yield crop, np.frombuffer(landmarks.read(LANDMARKS * 8), np.float32).reshape(LANDMARKS, 2)


def split_validation(table: pd.DataFrame, *, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Draw the training images that become validation: whole groups, class by class.

    Groups that also have test images, or images with different labels, are not drawn: training leaves them out, and
    validation has no use for them either.

    Args:
        table: columns ``split`` (train | test), ``label``, ``subject_id`` (the group).
        fraction: share of the groups of each class, in (0, 1).
        seed: seed of the draw.

    Returns:
        bool (N,), True for validation.

    Raises:
        DataError: a class with fewer than two groups cannot be divided.
    """
    tested = set(table.loc[table["split"] == "test", "subject_id"])
    train = table[(table["split"] == "train") & ~table["subject_id"].isin(tested) & table["label"].notna()]
    groups = train.groupby("subject_id", sort=False)["label"].agg(["first", "nunique"])
    drawn, rng, problems = list[str](), np.random.default_rng(seed), Problems("splitting validation off training")
    for name, members in groups[groups["nunique"] == 1].groupby("first"):
        if len(members) < 2:
            problems.add(f"class {name} has {len(members)} distinct image, expected at least 2: one for each side")
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        drawn += rng.permutation(members.index.to_numpy())[:count].tolist()
    problems.raise_if_any(DataError, "Give more images of these classes, or a validation split of your own.")
    return np.asarray(table["subject_id"].isin(drawn) & (table["split"] == "train"))


def _final_splits(table: pd.DataFrame, roles: Mapping[str, str], config: BenchmarkConfig) -> pd.Series:
    """Return train, validation or test of each image; validation is split off training where none is published."""
    splits = table["split"].map(roles)
    if "validation" not in set(splits) and {"train", "test"} <= set(splits):
        chosen = split_validation(
            table.assign(split=splits), fraction=config.validation_fraction, seed=config.split_seed
        )
        splits[chosen] = "validation"
    return splits


def _counted(left_out: Counter[str]) -> str:
    return "" if not left_out else "; left out: " + ", ".join(f"{count} {reason}" for reason, count in left_out.items())


def _compare_counts(images: Counter[str], benchmark: Benchmark) -> None:
    """Say where a split has another number of images than its authors state."""
    for split, stated in benchmark.counts.items():
        if split in images and images[split] != stated and not benchmark.left_out:
            say(f"{benchmark.card.source}: {images[split]:,} images in {split}, and {stated:,} are published")


def _check_ids(table: pd.DataFrame, source: str) -> None:
    problems = Problems(source)
    for name, count in table["clip_id"].value_counts().items():
        if count == 1:
            break
        problems.add(f"image {name} stands {count} times")
    problems.raise_if_any(DataError, "Every image needs a name of its own.")


def _check_splits(table: pd.DataFrame, card: StoreCard) -> None:
    problems = Problems(card.source)
    for split in SPLITS:
        if not (table["split"] == split).any():
            problems.add(f"split {split} is empty")
    present = {split: set(table.loc[table["split"] == split, "label"]) for split in SPLITS}
    for name in get_space(card.label_space).names:
        if name not in present["train"]:
            problems.add(f"class {name} has no training image")
        card.notes += [f"no {name} in {split}" for split in SPLITS[1:] if name not in present[split]]
    problems.raise_if_any(
        DataError, f"Expected images of all of {', '.join(get_space(card.label_space).names)}, in every split."
    )


def _audit(
    duplicates: Duplicates, table: pd.DataFrame, published: list[str], left_out: Counter[str], config: BenchmarkConfig
) -> dict[str, Any]:
    rows = {split: np.flatnonzero(table["split"] == split) for split in SPLITS}
    _, dropped = without_repeats(table, rows["train"], np.concatenate([rows["validation"], rows["test"]]))
    return {
        "thresholds": {"hash": "phash 64 bit", "radius": config.audit_radius, "correlation": config.audit_correlation},
        "published": summarise(duplicates, table["clip_id"].tolist(), published, table["label"].tolist()),
        "prepared": {
            "images": {split: len(of) for split, of in rows.items()},
            "classes": {split: table["label"].iloc[of].value_counts().to_dict() for split, of in rows.items()},
            "training_drops_by_default": dropped,
        },
        "left_out": dict(left_out),
    }


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """Raise DataError for a full or read-only disk; the drafts have been removed by then."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise DataError(
            f"{out}: cannot be written ({problem.strerror}); nothing was left behind. A store takes about 13 kB "
            "an image, and as much again beside it while it is made"
        ) from problem
