"""RunLogger in Trainers with and without the callback that completes its lines."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from fer_id.callbacks.record import Record
from fer_id.loggers.run_logger import RunLogger
from fer_id.runs.run_dir import RunDir
from tests.callbacks.conftest import lines_of, quiet_trainer


class Regression(pl.LightningModule):
    """Anybody's module: its numbers are known beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("train/step", float(self.global_step), on_step=False, on_epoch=True, batch_size=1)
        return self.layer(batch).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/epoch", float(self.current_epoch), batch_size=1)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/score", 0.5, batch_size=1)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.25)


@pytest.mark.parametrize("callbacks", [[], [Record()]], ids=["alone", "with Record"])
def test_each_epoch_is_one_line_with_its_numbers(tmp_path: Path, callbacks: list[pl.Callback]) -> None:
    trainer = quiet_trainer(3, *callbacks, logger=RunLogger(RunDir(tmp_path)), num_sanity_val_steps=2)
    loader = DataLoader(torch.ones(2, 1), batch_size=1)  # two steps an epoch
    model = Regression()
    trainer.fit(model, loader, loader)
    trainer.test(model, loader, verbose=False)
    rows = lines_of(tmp_path)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["val/epoch"] for row in rows] == [0, 1, 2]
    assert [row["train/step"] for row in rows] == [0.5, 2.5, 4.5]
    assert not any(name.startswith("test/") for row in rows for name in row)
    if callbacks:
        assert [row["lr"] for row in rows] == [0.25] * 3
        assert [row["step"] for row in rows] == [2, 4, 6]
