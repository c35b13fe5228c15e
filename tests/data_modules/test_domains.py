"""Batches of two domains: equally many clips of each, and every clip of the cohort once per epoch."""

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_modules.dataset import DomainSampler

LENGTHS = st.lists(st.integers(1, 30), min_size=2, max_size=3)


@given(LENGTHS, st.integers(1, 12), st.integers(0, 5))
def test_each_batch_holds_as_many_of_each_part(lengths: list[int], size: int, epoch: int) -> None:
    sampler = DomainSampler(lengths, size, seed=3)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    assert {seen for _, seen in drawn} == {epoch}
    bounds = [sum(lengths[:part]) for part in range(len(lengths) + 1)]
    rows = [row for row, _ in drawn]
    for start in range(0, len(rows), sampler.batch):
        batch = rows[start : start + sampler.batch]
        inside = [sum(low <= row < high for row in batch) for low, high in pairwise(bounds)]
        assert inside == [min(size, lengths[0])] * len(lengths)


@given(LENGTHS, st.integers(1, 12))
def test_an_epoch_passes_once_over_the_first_part_and_evenly_over_the_others(lengths: list[int], size: int) -> None:
    rows = [row for row, _ in DomainSampler(lengths, size, seed=0)]
    counts = Counter(rows)
    first = [counts[row] for row in range(lengths[0])]
    assert max(first) == 1
    assert lengths[0] - sum(first) < min(size, lengths[0])  # the last few are left out
    passes = sum(first) / lengths[1]
    others = [counts[row] for row in range(lengths[0], lengths[0] + lengths[1])]
    assert set(others) <= {math.floor(passes), math.ceil(passes)}


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0)])
def test_seed_and_epoch_decide_the_order(seed: int, epoch: int) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = DomainSampler([20, 30], 4, seed=seed)
        sampler.set_epoch(epoch)
        return [row for row, _ in sampler]

    assert order(0, 0) == order(0, 0) != order(seed, epoch)
