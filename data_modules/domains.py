"""Dataset and sampler of batches with clips of two domains, cohort and pretraining data, for domain alignment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from data_modules.dataset import ClipDataset, EpochSampler
from fer_id.types import ClipItem


class Part(NamedTuple):
    """Clips of one domain, ``SOURCE`` or ``COHORT``."""

    clips: ClipDataset
    domain: int


class DomainDataset(Dataset[ClipItem]):
    """Concatenation of several parts; an item has the ``domain`` of its part."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self.longest = max(part.clips.longest for part in self.parts)
        self._ends = list(accumulate(len(part.clips) for part in self.parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: tuple[int, int]) -> ClipItem:
        index, epoch = key
        number = bisect_right(self._ends, index)
        part, first = self.parts[number], self._ends[number - 1] if number else 0
        return {**part.clips[index - first, epoch], "domain": part.domain}


class DomainSampler(EpochSampler):
    """Batches with equally many clips of each part; an epoch is one pass over the first, without its remainder.

    The other parts are repeated as often as needed, in a new order each time.

    Args:
        lengths: clips in each part.
        batch_size: clips of each part in a batch, at most the length of the first part.
        seed: seed of the orders.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int) -> None:
        super().__init__(sum(lengths), seed=seed, shuffle=True)
        self.lengths, self.block = list(lengths), min(batch_size, lengths[0])

    @property
    def batch(self) -> int:
        """Clips in a batch, all parts together."""
        return self.block * len(self.lengths)

    def __len__(self) -> int:
        return self.lengths[0] // self.block * self.batch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        needed = self.lengths[0] // self.block * self.block
        starts = [0, *accumulate(self.lengths)]
        drawn = [start + self._order(part, needed) for part, start in enumerate(starts[:-1])]
        rows = np.stack([order.reshape(-1, self.block) for order in drawn], axis=1)
        return iter([(int(row), self.epoch) for row in rows.ravel()])

    def _order(self, part: int, needed: int) -> np.ndarray[Any, Any]:
        rng, length = np.random.default_rng([self.seed, self.epoch, part]), self.lengths[part]
        passes = [rng.permutation(length) for _ in range(-(-needed // length))]
        return np.concatenate(passes)[:needed]
