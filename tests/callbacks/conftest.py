"""Parts of a tiny training on the CPU, the record that it leaves, and a validation without a training."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl
import torch

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


def validate(
    callback: pl.Callback, clips: Sequence[str], truth: Sequence[int], predicted: Sequence[int], trainer: Any = None
) -> tuple[dict[str, float], bool]:
    """One validation in batches of three; what was logged, and to all loggers?"""
    logged, everywhere = dict[str, float](), list[bool]()

    def log_dict(numbers: dict[str, float], logger: bool, batch_size: int) -> None:
        logged.update(numbers)
        everywhere.append(logger)

    module: Any = SimpleNamespace(log_dict=log_dict, labels=TARGET)
    trainer = trainer or SimpleNamespace(loggers=[], datamodule=None, sanity_checking=False, testing=False)
    callback.setup(trainer, module, "fit")
    callback.on_validation_epoch_start(trainer, module)
    for start in range(0, len(clips), 3):
        rows = slice(start, start + 3)
        batch = {"clip_id": [*clips[rows]], "label": torch.tensor(truth[rows])}
        batch["valid"] = torch.ones(len(clips[rows]), 2, dtype=torch.bool)
        logits = torch.nn.functional.one_hot(torch.tensor(predicted[rows]), len(TARGET)).float()
        callback.on_validation_batch_end(trainer, module, {"logits": logits}, batch, start // 3)
    callback.on_validation_epoch_end(trainer, module)
    return logged, everywhere[-1]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
