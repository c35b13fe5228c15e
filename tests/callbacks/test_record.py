"""The record of a training, and a resumed training that goes on as if nothing had happened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from fer_id.callbacks.record import EpochSeed, Record
from fer_id.loggers.run_logger import RunLogger
from fer_id.preprocessing.augmentation import AugmentConfig
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.classification import ClipClassification
from tests.callbacks.conftest import lines_of, quiet_trainer, tiny_data, tiny_task


class PowerCut(RuntimeError):
    """What ends a training in the middle."""


class Watch(pl.Callback):
    """Notes the clips of every step; cuts the power in the middle of an epoch where asked."""

    def __init__(self, cut_in_epoch: int | None) -> None:
        self.cut, self.seen = cut_in_epoch, list[tuple[int, list[str], float]]()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == self.cut and batch_idx == 1:
            raise PowerCut
        self.seen.append((trainer.current_epoch, batch["clip_id"], float(batch["frames"].double().sum())))


def train(
    folder: Path,
    store: Path,
    *,
    epochs: int = 4,
    cut: int | None = None,
    schedule: str = "constant",
    workers: int = 0,
    more: pl.Callback | None = None,
) -> tuple[ClipClassification, Watch]:
    """Trains in ``folder``, from its last checkpoint where there is one."""
    folder.mkdir(exist_ok=True)
    pl.seed_everything(3, verbose=False)
    data = tiny_data(store, augment=AugmentConfig(), workers=workers)
    task = tiny_task(head="mean", dropout=0.5, schedule=schedule)
    last = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    watch = Watch(cut)
    callbacks = [*([] if more is None else [more]), Record(), EpochSeed(3), watch, last]
    trainer = quiet_trainer(epochs, *callbacks, logger=RunLogger(RunDir(folder)), enable_checkpointing=True)
    begun = folder / "last.ckpt"
    trainer.fit(task, data, ckpt_path=begun if begun.is_file() else None, weights_only=True)
    return task, watch


pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


@pytest.fixture
def store(tiny_store: Callable[..., Path]) -> Path:
    return tiny_store(subjects=4, clips=1, length=2)


def test_one_line_for_each_epoch_with_every_number(tmp_path: Path, store: Path) -> None:
    train(tmp_path / "run", store, epochs=2)
    first, second = lines_of(tmp_path / "run")
    assert list(first)[:4] == ["epoch", "step", "seconds", "lr"]
    assert {"train/loss", "train/accuracy", "val/loss", "val/macro_f1", "val/accuracy"} <= set(first)
    assert (first["epoch"], second["epoch"]) == (0, 1)
    assert (first["step"], second["step"]) == (2, 4)
    assert 0 < first["seconds"] < second["seconds"]


def test_a_run_cut_off_and_resumed_equals_one_that_never_stopped(tmp_path: Path, store: Path) -> None:
    straight, watched = train(tmp_path / "straight", store, schedule="one_cycle")
    with pytest.raises(PowerCut):
        train(tmp_path / "resumed", store, schedule="one_cycle", workers=1, cut=2)
    before = lines_of(tmp_path / "resumed")
    resumed, watched_again = train(tmp_path / "resumed", store, schedule="one_cycle", workers=1)

    assert watched_again.seen == [step for step in watched.seen if step[0] >= 2]
    for (name, one), two in zip(straight.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}")
    record, record_again = lines_of(tmp_path / "straight"), lines_of(tmp_path / "resumed")
    assert [row["epoch"] for row in record_again] == [0, 1, 2, 3]
    assert record_again[:2] == before  # the lines of the first start stay as they were
    for row, again in zip(record, record_again, strict=True):
        assert {**row, "seconds": None} == {**again, "seconds": None}
    seconds = [row["seconds"] for row in record_again]
    assert seconds == sorted(seconds)


def test_lines_past_the_checkpoint_and_cut_lines_are_dropped(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "run"
    train(folder, store, epochs=2)
    kept = (folder / "metrics.jsonl").read_text()
    with (folder / "metrics.jsonl").open("a") as out:
        out.write('{"epoch": 2, "train/loss": 9.0}\n{"epoch": 3, "train/lo')
    train(folder, store, epochs=3)
    assert (folder / "metrics.jsonl").read_text().startswith(kept)
    assert [row["epoch"] for row in lines_of(folder)] == [0, 1, 2]
    assert lines_of(folder)[2]["train/loss"] != 9.0


def test_a_training_from_the_start_drops_an_old_record(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text('{"epoch": 0}\n{"epoch": 1}\n')
    train(folder, store, epochs=1)
    assert [row["epoch"] for row in lines_of(folder)] == [0]
    assert len(lines_of(folder)[0]) > 1


class Own(pl.Callback):
    """Gives the logger a number at each step."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.logger.log_metrics({"train/own": 1.0}, step=trainer.global_step)


def test_a_resumed_run_has_every_line_of_a_callback_once(tmp_path: Path, store: Path) -> None:
    with pytest.raises(PowerCut):
        train(tmp_path / "run", store, epochs=3, cut=1, more=Own())
    train(tmp_path / "run", store, epochs=3, more=Own())
    steps = [(line["epoch"], line["step"]) for line in lines_of(tmp_path / "run") if "train/own" in line]
    assert steps == [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)]
    assert RunDir(tmp_path / "run").learning_curve()["epoch"].tolist() == [0, 1, 2]


class Sometimes(pl.Callback):
    """Logs a number in the first epoch alone."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            pl_module.log("val/sometimes", 1.0)


def test_a_line_has_no_number_of_an_earlier_epoch(tmp_path: Path, store: Path) -> None:
    """Lightning keeps each number until it is logged again."""
    train(tmp_path / "run", store, epochs=3, more=Sometimes())
    assert ["val/sometimes" in line for line in lines_of(tmp_path / "run")] == [True, False, False]
    assert all("val/loss" in line for line in lines_of(tmp_path / "run"))
