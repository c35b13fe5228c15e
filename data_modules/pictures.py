"""Base of the data modules of still pictures, of people who are known or of a benchmark that names nobody."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_modules.base import FerDataModule
from data_modules.benchmark import Benchmark, BenchmarkConfig, Sample, write_benchmark
from data_modules.reader_checks import group_faults, licence_notes, read_records, require_facts, subject_faults
from data_modules.stills import Still, read_image
from fer_id.errors import DataError, Problems
from fer_id.preprocessing.alignment import align, crop_geometry
from fer_id.preprocessing.landmarks import MESH_MAPPING, landmarks_of_stills
from fer_id.settings import setting
from fer_id.store.card import StoreCard

T = TypeVar("T")

MOST_MISSING = 10
"""Missing pictures that a message lists."""


@dataclass
class StillsConfig(BenchmarkConfig):
    """Settings of benchmarks that are published without landmarks."""

    landmarks: str = setting(
        "none",
        choices=("none", "mediapipe"),
        help="none: crops as published; mediapipe: find 68 points and align the eyes",
    )
    workers: int = setting(1, min=1, max=256, help="processes that look for landmarks")
    face_landmarker: str | None = setting(
        None,
        help="file of MediaPipe's model, face_landmarker.task; null: $FER_ID_FACE_LANDMARKER, else fetched once (4 MB)",
    )

    @property
    def landmarks_from(self) -> str:
        """Origin of the landmarks, for the card."""
        return MESH_MAPPING if self.landmarks == "mediapipe" else "none"


class PictureDataModule(FerDataModule):
    """Data module of a dataset of pictures.

    A subclass gives ``dataset``, ``label_space``, ``splits`` and ``read``, which yields :class:`Still`. A missing
    validation is split off training. The card holds the leakage audit and the counts of what was left out.

    Where the stills have a ``subject_id``, the store has a shard for each person, no split made here separates a
    person's pictures, and ``splits`` may be empty. Subjects that share a picture are named in the card, and folds that
    separate them are refused. The people count as real: what may leave the machine is decided as for a cohort.

    Otherwise ``splits`` has train and test at least, and the store has a shard for each split; ``subject_id`` is the
    group of near-identical pictures.
    """

    settings: ClassVar[type[BenchmarkConfig]] = StillsConfig
    colour: ClassVar[str] = "rgb"  # or "gray": what the pictures are
    group_columns: ClassVar[tuple[str, ...]] = ()  # names of the columns of :attr:`Still.groups`

    @classmethod
    def benchmark(cls, config: Any) -> Benchmark:
        """Return pictures, card and counts; overridden where classes or layout depend on the settings."""
        source = require_facts(cls, config.source, ("train", "test") if cls.splits else ())
        left_out = Counter[str]()
        return Benchmark(
            read_records(cls, Still, source, left_out, partial(_faults, groups=cls.group_columns)),
            cls.card(config),
            left_out,
        )

    @classmethod
    def roles(cls, published: set[str]) -> dict[str, str]:
        """Return published name -> split for the splits that have pictures."""
        return {name: split for name, split in cls.splits.items() if name in published}

    @classmethod
    def card(cls, config: Any) -> StoreCard:
        """Return the card of the store, without audit."""
        return StoreCard(
            provenance="real",
            label_space=cls.label_space,
            shard_by="split",
            source=cls.dataset,
            geometry=crop_geometry(aligned=config.landmarks != "none", colour=cls.colour, size=config.crop),
            parameters={"landmarks": config.landmarks},
            landmarks_from=config.landmarks_from,
            groups=list(cls.group_columns),
        )

    @classmethod
    def prepare(cls, config: BenchmarkConfig, out: Path, *, overwrite: bool = False) -> StoreCard:
        """Read, align, audit and split the pictures, and write the store, whole or not at all.

        Raises:
            ConfigError: settings that do not fit together, or missing facts.
            DataError: bad input, all faults together; see :func:`data_modules.benchmark.write_benchmark`.
        """
        made = cls.benchmark(config)
        made.card.notes += licence_notes(cls, made.card)
        samples = to_samples(made.stills, config, made.left_out)
        return write_benchmark(samples, made, out, config, roles=cls.roles, counts=cls.counts, overwrite=overwrite)


def to_samples(stills: Iterable[Still], config: Any, left_out: Counter[str]) -> Iterator[Sample]:
    """Yield the stills as crops, in their order, aligned by their landmarks: as published, or found by MediaPipe.

    A still without a detected face keeps its published crop, without landmarks: the benchmark says it shows a face.
    DataError, at the end: every picture without a crop; where ``config.unreadable`` is ``leave_out``, they are counted
    in ``left_out`` instead.
    """
    unreadable = getattr(config, "unreadable", "")
    if config.landmarks != "mediapipe":
        aligned = partial(_aligned, size=config.crop)
        yield from _whole(stills, aligned, left_out, unreadable)
        return
    pictures, ahead = tee(_whole(stills, lambda still: (still, _decoded(still)), left_out, unreadable))
    detected = landmarks_of_stills((image for _, image in ahead), config.workers, config.face_landmarker)
    for (still, image), points in zip(pictures, detected, strict=True):
        yield Sample(still, *align(image, None if np.isnan(points).any() else points, config.crop))


def _whole(stills: Iterable[Still], step: Callable[[Still], T], left_out: Counter[str], unreadable: str) -> Iterator[T]:
    """Yield the result of ``step`` for every still; refuse, or leave out and count, those that it fails on."""
    problems, missing = Problems("pictures"), 0
    for still in stills:
        try:
            result = step(still)
        except DataError as problem:
            left_out["unreadable"] += 1
            gone = isinstance(still.image, Path) and not os.path.lexists(still.image)
            missing += gone
            if not gone or missing <= MOST_MISSING:
                problems.add(f"{still.clip_id}: {problem}", kind="missing" if gone else "unreadable")
            continue
        if not problems or unreadable == "leave_out":
            yield result
    if missing > MOST_MISSING:
        problems.add(f"{missing - MOST_MISSING:,} more pictures are missing, {missing:,} in all")
    if unreadable != "leave_out":
        mend = ", or say data.unreadable=leave_out to go without them" if unreadable else " or take them out"
        problems.raise_if_any(DataError, f"Replace these pictures{mend}.")


def _aligned(still: Still, size: int) -> Sample:
    return Sample(still, *align(_decoded(still), still.landmarks, size))


def _decoded(still: Still) -> NDArray[np.uint8]:
    return read_image(still.image) if isinstance(still.image, Path) else still.image


def _faults(still: Still, groups: tuple[str, ...]) -> Iterator[str]:
    """Yield the faults of a picture's array, groups and subject."""
    image: object = still.image
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            yield f"image is {image.dtype} {image.shape}, expected uint8 (H, W, 3), RGB"
    elif not isinstance(image, Path):
        yield f"image is {type(image).__name__}, expected uint8 (H, W, 3), RGB, or the Path of a file"
    yield from group_faults(still.groups, groups)
    if still.subject_id is not None:
        yield from subject_faults(still.subject_id)
    elif still.split is None:
        yield "subject_id is None, expected a person, as no split is published"
