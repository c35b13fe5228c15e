"""Shares of batches of several processes."""

import pytorch_lightning as pl
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from data_modules.dataset import EpochSampler, SharedSampler


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


def test_lightning_leaves_the_shares_in_their_place() -> None:
    """``Trainer(devices=2)`` of somebody's own, with Lightning's default ``use_distributed_sampler=True``."""
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    replaces = trainer._data_connector._requires_distributed_sampler
    shared = SharedSampler(8, 4, rank=0, processes=2, seed=0)
    assert not replaces(DataLoader(range(8), sampler=shared))
    assert replaces(DataLoader(range(8), sampler=EpochSampler(8, seed=0, shuffle=False)))
