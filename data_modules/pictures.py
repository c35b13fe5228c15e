"""Base of the data modules of still-image benchmarks without subject ids: sharded by split, near-duplicates grouped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_modules.base import FerDataModule
from data_modules.benchmark import Benchmark, BenchmarkConfig, write_benchmark
from data_modules.reader_checks import read_records, require_facts
from data_modules.stills import Still, StillsConfig, to_samples
from fer_id.preprocessing.alignment import crop_geometry
from fer_id.store.card import StoreCard


class PictureDataModule(FerDataModule):
    """Data module of a benchmark of pictures without subject ids.

    A subclass gives ``dataset``, ``label_space``, ``splits`` (train and test at least; a missing validation is split
    off training) and :meth:`read`. Its store is made as that of FER2013: a shard for each split, ``subject_id`` the
    group of near-identical pictures, the leakage audit and the counts of what was left out in the card.

    Attributes:
        colour: ``rgb`` or ``gray``, what the pictures are.
    """

    settings: ClassVar[type[BenchmarkConfig]] = StillsConfig
    colour: ClassVar[str] = "rgb"

    @classmethod
    def read(cls, source: Path, left_out: Counter[str]) -> Iterator[Still]:
        """Yield the pictures as published, in a fixed order.

        Args:
            source: ``data.source``, which exists.
            left_out: count here what is not yielded, by reason: ``left_out["no face"] += 1``.

        Raises:
            DataError: faulty raw data: the file, what was expected.
        """
        raise NotImplementedError(f"{cls.__qualname__} has no method read")

    @classmethod
    def benchmark(cls, config: Any) -> Benchmark:
        """Return pictures, card and splits; overridden where classes or splits depend on the settings."""
        source, left_out = require_facts(cls, config.source, ("train", "test")), Counter[str]()
        stills = read_records(cls, cls.read, source, left_out, Still, _faults)
        return Benchmark(to_samples(stills, config), cls.card(config), cls.roles, left_out, cls.counts)

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
            geometry=crop_geometry(aligned=config.landmarks != "none", colour=cls.colour),
            parameters={"landmarks": config.landmarks},
            landmarks_from=config.landmarks_from,
        )

    @classmethod
    def prepare(cls, config: BenchmarkConfig, out: Path, *, overwrite: bool = False) -> StoreCard:
        """Read, align, audit and split the pictures, and write the store, whole or not at all.

        Raises:
            ConfigError: settings that do not fit together, or missing facts.
            DataError: bad input, all faults together; see :func:`data_modules.benchmark.write_benchmark`.
        """
        return write_benchmark(cls.benchmark(config), out, config, overwrite=overwrite)


def _faults(still: Any) -> Iterator[str]:
    """Yield the fault of a picture's array."""
    image = still.image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        yield f"image is {found}, expected uint8 (H, W, 3), RGB"
