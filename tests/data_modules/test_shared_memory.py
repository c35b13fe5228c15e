"""Shared memory of loader processes: refusal before the training, an error during it, and no endless waiting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.base import FerDataModule
from data_modules.config import DataConfig
from data_modules.dataset import Collate, batch_bytes
from experiments.interrupts import MachineError, interruptible
from fer_id.errors import ConfigError
from fer_id.evaluation.config import ProtocolConfig
from fer_id.shared_memory import SharedMemory

Make = Callable[..., FerDataModule]


@pytest.fixture
def opened(tiny_store: Callable[..., Path]) -> Callable[[int], FerDataModule]:
    store = tiny_store()

    def make(workers: int) -> FerDataModule:
        config = DataConfig(store=[str(store)], num_workers=workers)
        return FerDataModule(config, ProtocolConfig(name="holdout"), augment=None, batch_size=4, seed=0)

    return make


def test_batch_bytes_are_the_size_of_the_batch(opened: Make) -> None:
    data = opened(0)
    batch = next(iter(data.train_dataloader()))
    tensors = sum(value.nbytes for value in batch.values() if isinstance(value, torch.Tensor))
    assert batch_bytes(4, 3) == tensors


@pytest.mark.parametrize(("free", "outcome"), [(0.9, "refused"), (1.5, "warned"), (4.1, "silent")])
def test_a_batch_that_does_not_fit_is_refused_before_anything_is_trained(
    opened: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free: float, outcome: str
) -> None:
    memory = SharedMemory(int(free * batch_bytes(4, 3)), 2**26)
    monkeypatch.setattr("data_modules.base.shared_memory", lambda: memory)
    opened(0).require_shared_memory()
    data = opened(2)
    if outcome == "refused":
        with pytest.raises(ConfigError, match=r"/dev/shm\) has 135 kB free of 64 MB, and a batch takes 150 kB: .*"):
            data.require_shared_memory()
        with pytest.raises(ConfigError, match=r"data\.num_workers=2: shared memory .* or say data\.num_workers=0"):
            data.val_dataloader()
        return
    data.require_shared_memory()
    assert ("may need 602 kB" in capsys.readouterr().err) is (outcome == "warned")


def test_a_process_that_cannot_hand_over_a_batch_ends_the_loading(
    opened: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full shared memory during a training; torch alone would print the error and wait for ever."""
    monkeypatch.setattr(Collate, "__call__", lambda self, items: Unsendable())
    words = r"lost or hangs .*shared memory \(/dev/shm has .*data\.num_workers=0"
    with pytest.raises(MachineError, match=words), interruptible():
        next(iter(opened(1).train_dataloader()))


class Unsendable:
    """Object whose pickling fails like that of a batch in full shared memory."""

    def __reduce__(self) -> Any:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def test_a_process_that_hangs_ends_the_loading(opened: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr("data_modules.base.PATIENCE_S", 1)
    monkeypatch.setattr(Collate, "__call__", lambda self, items: time.sleep(30))
    with pytest.raises(MachineError, match="timed out after 1 seconds"), interruptible():
        next(iter(opened(1).train_dataloader()))
