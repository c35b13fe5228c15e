"""Parts of a tiny training on the CPU, and the record that it leaves."""

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from data_modules.base import FerDataModule
from data_modules.config import DataConfig
from fer_id.evaluation.config import ProtocolConfig
from fer_id.labels import TARGET
from fer_id.models.build import ModelConfig, build_model
from fer_id.preprocessing.augmentation import AugmentConfig
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.config import LossConfig, OptimConfig


def tiny_data(store: Path, *, augment: AugmentConfig | None = None, workers: int = 0, **protocol: Any) -> FerDataModule:
    config = DataConfig(store=[str(store)], num_workers=workers)
    return FerDataModule(config, ProtocolConfig("holdout", **protocol), augment=augment, batch_size=5, seed=3)


def tiny_task(*, schedule: str = "constant", **model: Any) -> ClipClassification:
    config = ModelConfig(widths=[4, 4, 8, 8], convs=[1, 1, 1, 1], **model)
    optim = OptimConfig(lr=0.01, schedule=schedule)
    return ClipClassification(build_model(config, len(TARGET)), TARGET, optim, LossConfig())


def quiet_trainer(epochs: int, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    """A Trainer on the CPU that draws and saves nothing and validates nothing beforehand, unless told otherwise."""
    quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    settings = {**quiet, "num_sanity_val_steps": 0, **settings}
    return pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[*callbacks], **settings)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
