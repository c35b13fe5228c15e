"""Conversion of pictures to an audited ClipStore, shared by all image datasets.

Samples are spooled to disk as they are read, so memory holds about 1 kB per image; then the duplicate audit groups
them, the splits are fixed, and the store is written.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_modules.config import DividedConfig
from data_modules.reader_checks import say_left_out, say_other_counts
from data_modules.stills import Still
from fer_id.errors import DataError, Problems
from fer_id.evaluation.config import SPLITS
from fer_id.evaluation.duplicates import CORRELATION, RADIUS, Duplicates, Fingerprints, find_duplicates, fingerprint
from fer_id.evaluation.duplicates_summary import summarise
from fer_id.evaluation.protocol import without_repeats
from fer_id.labels import get_space
from fer_id.preprocessing.alignment import align
from fer_id.progress import say, track
from fer_id.reporting.audit import reasons_words
from fer_id.reporting.words import counted
from fer_id.settings import setting
from fer_id.store.card import StoreCard
from fer_id.store.writer import ClipStoreWriter
from fer_id.types import AFFECT, CROP, LANDMARKS

VERSIONS = ("numpy", "pillow", "opencv-python-headless", "imagehash", "scipy")

MOST_NAMED = 5
"""Groups of duplicates that ``prepare`` names."""


@dataclass
class BenchmarkConfig(DividedConfig):
    """Settings of ``prepare`` shared by the image benchmarks."""

    audit_radius: int = setting(
        RADIUS, min=0, max=64, help="bits of 64 by which two perceptual hashes may differ for a closer look"
    )
    audit_correlation: float = setting(
        CORRELATION, above=0, max=1, help="correlation from which two images are one photograph"
    )
    crop: int = setting(
        CROP, min=32, max=CROP, help="side of the crops in pixels; 48 is FER2013's own, and half the work of 64"
    )


class Sample(NamedTuple):
    """A picture with its crop, uint8 (S, S, 3), RGB, and landmarks, float32 (68, 2) in crop pixels or NaN."""

    still: Still
    crop: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


@dataclass
class Benchmark:
    """Pictures of a dataset, read once; the card of its store, without audit; and what its reader leaves out.

    ``left_out`` (by reason) is filled in while ``stills`` are read.
    """

    stills: Iterable[Still]
    card: StoreCard
    left_out: Counter[str]


def write_benchmark(
    samples: Iterable[Sample],
    benchmark: Benchmark,
    out: Path,
    config: BenchmarkConfig,
    *,
    roles: Callable[[set[str]], Mapping[str, str]],
    counts: Mapping[str, int],
    overwrite: bool,
) -> StoreCard:
    """Read, audit and split the samples, and write the store, whole or not at all.

    ``samples`` are the crops of ``benchmark.stills``. ``roles`` maps the published names of the splits that have images
    to train, validation and test; ``counts`` are the images that the authors state, by published split.
    DataError: bad input (every fault together), an empty split, a class without a training image, a full disk.
    """
    card, left_out = benchmark.card, benchmark.left_out
    with (
        _disk(out),
        ClipStoreWriter(out, card, overwrite=overwrite) as writer,
        TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as draft,
    ):
        spool = Spool(Path(draft), card.crop)
        prints = fingerprint(spool.fill(track(samples, f"reading {card.source}")))
        table = spool.table()
        if table.empty:
            words = f"; left out: {reasons_words(left_out)}" if left_out else ""
            raise DataError(f"{card.source}: no image to prepare in {config.source}{words}")
        _check_ids(table, card.source)
        duplicates = _group(table, prints, config, card)
        if not left_out:
            say_other_counts(card.source, Counter(table["published"]), counts, "images in {}")
        splits = roles(set(table["published"]))
        table["split"] = final_splits(table, splits, config, by_person=card.shard_by == "subject_id")
        if splits:
            _check_splits(table, card)
        card.audit = _audit(table, duplicates, config, benchmark)
        made = "split off training" if splits else "none: a protocol divides the subjects"
        card.parameters |= {
            "images_with_landmarks": spool.with_landmarks,
            "validation": "as published" if "validation" in splits.values() else made,
            "validation_fraction": config.validation_fraction,
            "split_seed": config.split_seed,
        }
        card.versions |= {name: version(name) for name in VERSIONS}
        rows = table.drop(columns="published").assign(source=card.source).to_dict("records")
        for row, (crop, landmarks) in zip(rows, spool.read(), strict=True):
            writer.add_clip({str(name): value for name, value in row.items()}, crop[None], landmarks[None])
    say_left_out(card.source, left_out)
    _name_duplicates(table, duplicates, card.source)
    return card


def _group(table: pd.DataFrame, prints: Fingerprints, config: BenchmarkConfig, card: StoreCard) -> Duplicates:
    """Group equal and near-identical pictures: of different persons, or where nobody is named of all.

    Without persons, a group becomes the ``subject_id`` of its pictures. Sets ``card.shard_by``.
    """
    by_person = bool(table["subject_id"].notna().all())
    card.shard_by = "subject_id" if by_person else "split"
    between = table["subject_id"].tolist() if by_person else None
    radius, correlation = config.audit_radius, config.audit_correlation
    duplicates = find_duplicates(prints, between=between, radius=radius, correlation=correlation)
    if not by_person:  # a group has the name of its first image, which is unique and can be looked up
        first = np.unique(duplicates.group, return_index=True)[1]
        table["subject_id"] = table["clip_id"].to_numpy()[first[duplicates.group]]
    return duplicates


def _audit(
    table: pd.DataFrame, duplicates: Duplicates, config: BenchmarkConfig, benchmark: Benchmark
) -> dict[str, object]:
    """Return the card's audit.

    ``thresholds``; ``published`` (:func:`fer_id.evaluation.duplicates_summary.summarise` over the splits as published;
    near-identical pictures of one person are not looked for); ``prepared`` (images and classes per split, and, where
    nobody is named, what training drops by default); ``left_out``; ``alike`` (subjects who share pictures) where
    subjects are known.
    """
    rows = {split: np.flatnonzero(table["split"] == split) for split in SPLITS}
    prepared: dict[str, object] = {
        "images": {split: len(of) for split, of in rows.items()},
        "classes": {split: table["label"].iloc[of].value_counts().to_dict() for split, of in rows.items()},
    }
    thresholds = {"hash": "phash 64 bit", "radius": config.audit_radius, "correlation": config.audit_correlation}
    audit: dict[str, object] = {
        "thresholds": thresholds,
        "published": summarise(duplicates, *(table[name].tolist() for name in ("clip_id", "published", "label"))),
        "prepared": prepared,
        "left_out": dict(benchmark.left_out),
    }
    if benchmark.card.shard_by == "subject_id":
        audit["alike"] = shared_pictures(table, duplicates)
    else:
        _, dropped = without_repeats(table, rows["train"], np.concatenate([rows["validation"], rows["test"]]))
        prepared["training_drops_by_default"] = dropped
    return audit


class Spool:
    """Temporary store of samples: crops of a side and landmarks on disk, their table in memory."""

    def __init__(self, folder: Path, side: int) -> None:
        self._crops, self._landmarks, self._side = folder / "crops", folder / "landmarks", side
        self._rows: list[dict[str, object]] = []
        self.with_landmarks = 0

    def fill(self, samples: Iterable[Sample]) -> Iterator[NDArray[np.uint8]]:
        """Write each sample and yield its crop in the size of the audit, whose thresholds then mean the same at every
        side: a store of FER2013's own 48 pixels has the groups and the splits of one of 64."""
        with self._crops.open("wb") as crops, self._landmarks.open("wb") as landmarks:
            for still, crop, points in samples:
                crops.write(crop.tobytes())
                landmarks.write(points.tobytes())
                self.with_landmarks += bool(np.isfinite(points).all())
                row = {name: getattr(still, name) for name in ("clip_id", "label", "soft_label", "subject_id", *AFFECT)}
                self._rows.append({**row, "published": still.split or "all", **still.groups})
                yield crop if self._side == CROP else align(crop, None)[0]

    def table(self) -> pd.DataFrame:
        """Return one row per sample; ``published`` is the published name of its split, ``all`` without."""
        return pd.DataFrame(self._rows, dtype=object)

    def read(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        """Yield crop (S, S, 3) and landmarks (68, 2) of each sample, in order."""
        crops = np.memmap(self._crops, np.uint8, "r").reshape(-1, self._side, self._side, 3)
        yield from zip(crops, np.memmap(self._landmarks, np.float32, "r").reshape(-1, LANDMARKS, 2), strict=True)


def final_splits(table: pd.DataFrame, roles: Mapping[str, str], config: DividedConfig, *, by_person: bool) -> pd.Series:
    """Return train, validation, test or None of each image; an unpublished validation is split off training.

    Drawn by seed is a share of the persons, or, where nobody is named, of the groups of near-identical images of each
    class. Those that also have test images are not drawn, nor are groups with different labels: training leaves them
    out, and validation has no use for them either.

    ``table`` has ``published``, ``label`` and ``subject_id`` (``by_person``: a person, else a group); ``roles`` maps
    published names to splits. DataError: a single person, or a class with fewer than two groups, cannot be divided.
    """
    splits = pd.Series([roles.get(name) for name in table["published"]], dtype=object)
    if "validation" in set(splits) or not {"train", "test"} <= set(splits):
        return splits
    tested = set(table.loc[splits == "test", "subject_id"])
    train = table[(splits == "train") & ~table["subject_id"].isin(tested) & table["label"].notna()]
    groups = train.groupby("subject_id", sort=False)["label"].agg(["first", "nunique"])
    strata = [("", groups)] if by_person else groups[groups["nunique"] == 1].groupby("first")
    drawn, rng = list[str](), np.random.default_rng(config.split_seed)
    problems = Problems("splitting validation off training")
    for name, members in strata:
        if len(members) < 2:
            what = "training has {} subject" if by_person else f"class {name} has {{}} distinct image"
            problems.add(f"{what.format(len(members))}, expected at least 2: one for each side")
        count = min(max(1, round(config.validation_fraction * len(members))), len(members) - 1)
        drawn += rng.permutation(members.index.to_numpy())[:count].tolist()
    more = "subjects" if by_person else "images of these classes"
    problems.raise_if_any(DataError, f"Give more {more}, or a validation split of your own.")
    splits[table["subject_id"].isin(drawn) & (splits == "train")] = "validation"
    return splits


def shared_pictures(table: pd.DataFrame, duplicates: Duplicates) -> dict[str, int]:
    """Return ``"a & b"`` -> number of groups of duplicates with pictures of both persons, most first."""
    shared = table["subject_id"].groupby(duplicates.group).unique()
    pairs = Counter(pair for group in shared for pair in combinations(sorted(group), 2))
    return {f"{first} & {second}": count for (first, second), count in pairs.most_common()}


def _name_duplicates(table: pd.DataFrame, duplicates: Duplicates, source: str) -> None:
    """Name some groups of equal or near-identical pictures, first those across splits; count all."""
    groups = table.groupby(duplicates.group)[["clip_id", "published"]].agg(list)
    groups = groups[groups["clip_id"].map(len) > 1]
    apart = groups["published"].map(lambda names: len(set(names)) > 1)
    if groups.empty:
        return
    ordered = [*groups.loc[apart, "clip_id"], *groups.loc[~apart, "clip_id"]]
    named = "; ".join(" = ".join(names[:2]) for names in ordered[:MOST_NAMED])
    more = f"; and {len(ordered) - MOST_NAMED:,} more" if len(ordered) > MOST_NAMED else ""
    images = (
        f"{counted(sum(map(len, ordered)), 'image')} in {counted(len(ordered), 'group')} are equal or near-identical"
    )
    say(f"{source}: {images}, {apart.sum():,} of these groups across published splits: {named}{more}")


def _check_ids(table: pd.DataFrame, source: str) -> None:
    problems, named = Problems(source), table["subject_id"].notna()
    for name, count in table["clip_id"].value_counts().items():
        if count == 1:
            break
        problems.add(f"image {name} stands {count} times")
    problems.raise_if_any(DataError, "Every image needs a name of its own.")
    if 0 < (missing := int((~named).sum())) < len(table):
        listed = ", ".join(table.loc[~named, "clip_id"].iloc[:MOST_NAMED])
        raise DataError(f"{source}: {missing} of {len(table)} images without a subject_id ({listed}); give all or none")


def _check_splits(table: pd.DataFrame, card: StoreCard) -> None:
    problems, names = Problems(card.source), get_space(card.label_space).names
    present = {split: set(table.loc[table["split"] == split, "label"]) for split in SPLITS}
    for split in SPLITS:
        if not present[split]:
            problems.add(f"split {split} is empty")
    for name in names:
        if name not in present["train"]:
            problems.add(f"class {name} has no training image")
        card.notes += [f"no {name} in {split}" for split in SPLITS[1:] if name not in present[split]]
    problems.raise_if_any(DataError, f"Expected images of all of {', '.join(names)}, in every split.")


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
