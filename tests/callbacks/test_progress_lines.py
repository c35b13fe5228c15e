"""Progress of a Trainer as lines, on a clock of the test's own: what each line says, and when one is due."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from fer_id.callbacks.progress_lines import ProgressLines
from tests.callbacks.conftest import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*number of training batches")


class Clock:
    """Seconds that pass only in the steps of :class:`Model`."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Model(pl.LightningModule):
    """A training step takes 10 seconds, a validation step 5, a prediction 40."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.weight = clock, torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.clock.now += 10
        return self.weight.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.clock.now += 5

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> torch.Tensor:
        self.clock.now += 40
        return self.weight

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(batches: int) -> Any:
    """Batches of 2 clips of 3 frames."""
    items = [{"valid": torch.ones(2, 3, dtype=torch.bool)}] * batches
    return torch.utils.data.DataLoader(items, batch_size=None, collate_fn=dict)  # type: ignore[arg-type]


def made(every_s: float) -> tuple[list[str], Clock, ProgressLines]:
    written, clock = list[str](), Clock()
    return written, clock, ProgressLines("drawn/conv4/folds/a", every_s=every_s, clock=clock, write=written.append)


def test_a_line_at_the_start_after_each_interval_and_at_the_end_of_each_epoch() -> None:
    """Epochs of four batches of 10 s and two validation batches of 5 s: 50 s each, 6 pictures in 10 s."""
    written, clock, lines = made(every_s=30)
    quiet_trainer(2, lines, logger=False).fit(Model(clock), loader(4), loader(2))
    assert written == [
        "drawn/conv4/folds/a: training to epoch 2, 4 batches each",
        "drawn/conv4/folds/a: epoch 1/2, batch 3/4, 0.6 pictures/s, 50 s left",  # 3 of 8 batches in 30 s
        "drawn/conv4/folds/a: epoch 1/2 done in 50 s, 0.6 pictures/s, 50 s left",
        "drawn/conv4/folds/a: epoch 2/2, batch 3/4, 0.6 pictures/s, 11 s left",  # 7 of 8 batches in 80 s
        "drawn/conv4/folds/a: epoch 2/2 done in 50 s, 0.6 pictures/s, 0.0 s left",
    ]


def test_a_long_validation_and_a_long_prediction_say_where_they_are() -> None:
    written, clock, lines = made(every_s=35)
    model = Model(clock)
    quiet_trainer(1, lines, logger=False).fit(model, loader(1), loader(8))
    assert written[1:-1] == ["drawn/conv4/folds/a: inner validation, batch 5/8"]
    written.clear()
    quiet_trainer(1, lines, logger=False).predict(model, [loader(1), loader(2)])
    assert written == [
        "drawn/conv4/folds/a: predicting 3 batches",
        *(f"drawn/conv4/folds/a: predicting, batch {number}/3" for number in (1, 2, 3)),
    ]


def test_a_resumed_training_counts_its_own_time(tmp_path: Any) -> None:
    written, clock, lines = made(every_s=1000)
    first = quiet_trainer(1, lines, logger=False)
    first.fit(Model(clock), loader(2))
    first.save_checkpoint(tmp_path / "last.ckpt")
    written.clear()
    quiet_trainer(3, lines, logger=False).fit(
        Model(clock), loader(2), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert written == [
        "drawn/conv4/folds/a: training from epoch 2 to epoch 3, 2 batches each",
        "drawn/conv4/folds/a: epoch 2/3 done in 20 s, 0.6 pictures/s, 20 s left",
        "drawn/conv4/folds/a: epoch 3/3 done in 20 s, 0.6 pictures/s, 0.0 s left",
    ]
