"""Order of clips: batches of two domains with equally many clips of each, and the shares of several processes."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import pytorch_lightning as pl
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from data_modules.dataset import REPEATED, Balance, DomainSampler, EpochSampler, SharedSampler

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


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 5), st.integers(0, 3), st.integers(0, 9))
def test_the_shares_of_a_batch_are_the_batch(length: int, share: int, processes: int, epoch: int, seed: int) -> None:
    batch = share * processes
    whole = EpochSampler(length, seed=seed, shuffle=True)
    whole.set_epoch(epoch)
    order = list(whole)
    dealt = []
    for rank in range(processes):
        sampler = SharedSampler(length, batch, rank=rank, processes=processes, seed=seed)
        sampler.set_epoch(epoch)
        dealt.append(list(sampler))
        assert len(dealt[-1]) == len(sampler)
    for start in range(0, length // batch * batch, batch):
        at = start // batch * share
        assert [row for rank in dealt for row in rank[at : at + share]] == order[start : start + batch]
    assert sum(map(len, dealt)) == length // batch * batch
    assert len(set().union(*dealt)) == length // batch * batch


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 5), st.booleans())
def test_a_balanced_epoch_draws_each_class_in_its_share(label: list[int], x: float, epoch: int, shuffle: bool) -> None:
    classes = np.array(label)
    sampler = EpochSampler(len(label), seed=1, shuffle=shuffle, balance=Balance(classes, x))
    sampler.set_epoch(epoch)
    items = list(sampler)
    assert len(items) == len(sampler) == len(set(items)) == len(label)  # repetitions have epochs of their own
    assert {seen % REPEATED for _, seen in items} == {epoch}
    drawn, sizes = Counter(row for row, _ in items), Counter(label)
    whole = sum(size ** (1 - x) for name, size in sizes.items() if name >= 0)
    for name, size in sizes.items():
        times = [drawn[row] for row in np.flatnonzero(classes == name)]
        share = (len(label) - sizes[-1]) * size ** (1 - x) / whole if name >= 0 else size
        assert abs(sum(times) - share) <= 1
        assert max(times) - min(times) <= 1  # every clip once before any is repeated


def test_balance_of_the_square_root_by_hand() -> None:
    """16, 4 and 1 clips: 4 : 2 : 1 of 21 draws; a clip that is drawn again comes with another augmentation."""
    sampler = EpochSampler(21, seed=0, shuffle=True, balance=Balance(np.repeat([0, 1, 2], [16, 4, 1]), 0.5))
    items = list(sampler)
    assert [sum(low <= row < high for row, _ in items) for low, high in pairwise([0, 16, 20, 21])] == [12, 6, 3]
    assert sorted(seen for row, seen in items if row == 20) == [0, REPEATED, 2 * REPEATED]
    assert items == list(sampler)
    sampler.set_epoch(1)
    assert [row for row, _ in items] != [row for row, _ in sampler]


def test_devices_share_balanced_batches() -> None:
    balance = Balance(np.repeat([0, 1], [9, 3]), 1.0)
    whole = list(EpochSampler(12, seed=0, shuffle=True, balance=balance))
    halves = [list(SharedSampler(12, 4, rank=rank, processes=2, seed=0, balance=balance)) for rank in range(2)]
    assert [row for start in (0, 2, 4) for half in halves for row in half[start : start + 2]] == whole


def test_lightning_leaves_the_shares_in_their_place() -> None:
    """``Trainer(devices=2)`` of somebody's own, with Lightning's default ``use_distributed_sampler=True``."""
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    replaces = trainer._data_connector._requires_distributed_sampler
    shared = SharedSampler(8, 4, rank=0, processes=2, seed=0)
    assert not replaces(DataLoader(range(8), sampler=shared))
    assert replaces(DataLoader(range(8), sampler=EpochSampler(8, seed=0, shuffle=False)))
