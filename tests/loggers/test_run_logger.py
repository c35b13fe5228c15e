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
    *rows, tested = lines_of(tmp_path)
    assert tested == {"test/score": 0.5}
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["val/epoch"] for row in rows] == [0, 1, 2]
    assert [row["train/step"] for row in rows] == [0.5, 2.5, 4.5]
    assert not any(name.startswith("test/") for row in rows for name in row)
    assert RunDir(tmp_path).learning_curve()["epoch"].tolist() == [0, 1, 2]
    if callbacks:
        assert [row["lr"] for row in rows] == [0.25] * 3
        assert [row["step"] for row in rows] == [2, 4, 6]


class Own(pl.Callback):
    """Logs by the logger itself, in a batch, between batches, and after the last epoch under one that never was."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.logger.log_metrics({"own/start": 1.0})

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.logger.log_metrics({"own/batch": trainer.global_step / 2}, step=trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.logger.log_metrics({"own/end": 1.0, "epoch": trainer.current_epoch})

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.logger.log_metrics({"own/test": 1.0})


def test_numbers_given_to_the_logger_are_lines_of_the_present_epoch(tmp_path: Path) -> None:
    run, loader, model = RunDir(tmp_path), DataLoader(torch.ones(2, 1), batch_size=1), Regression()
    trainer = quiet_trainer(2, Own(), Record(), logger=RunLogger(run))
    assert trainer.logger.experiment is run
    trainer.fit(model, loader, loader)
    for _ in range(2):  # the second test replaces the numbers of the first
        trainer.test(model, loader, verbose=False)
    own = [line for line in lines_of(tmp_path) if any(name.startswith("own/") for name in line)]
    assert own == [
        {"epoch": 0, "step": 0, "own/start": 1.0},
        *({"epoch": step > 2, "step": step, "own/batch": step / 2} for step in (1, 2, 3, 4)),
        {"epoch": 1, "step": 4, "own/end": 1.0},
        {"test/score": 0.5, "own/test": 1.0},
    ]
    curve = run.learning_curve()
    assert curve["epoch"].tolist() == [0, 1]
    assert curve["own/batch"].tolist() == [1, 2]
    assert curve["train/step"].tolist() == [0.5, 2.5]
    assert not curve.filter(like="test/").size


def test_a_test_in_another_process_keeps_the_lines_of_the_training(tmp_path: Path) -> None:
    loader, model = DataLoader(torch.ones(2, 1), batch_size=1), Regression()
    for way in ("fit", "test"):
        trainer = quiet_trainer(2, Record(), logger=RunLogger(RunDir(tmp_path)))
        getattr(trainer, way)(model, loader)
    assert [row.get("epoch") for row in lines_of(tmp_path)] == [0, 1, None]
