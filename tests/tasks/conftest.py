"""Tiny batches, models, tasks and trainings."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from fer_id.labels import TARGET
from fer_id.models.build import ModelConfig, build_model
from fer_id.models.network import ClipClassifier
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.config import LossConfig, OptimConfig
from fer_id.types import ClipBatch


def small_model(head: str = "lstm", *, affect: bool = False) -> ClipClassifier:
    """A model of a few thousand weights."""
    torch.manual_seed(0)
    return build_model(
        ModelConfig(head=head, hidden=8, widths=[4, 4, 8, 8], convs=[1, 1, 1, 1], affect=affect), len(TARGET)
    )


def fit(task: ClipClassification, *loaders: Any, epochs: int, callbacks: Sequence[pl.Callback] = ()) -> pl.Trainer:
    """Train without writing anything; the loaders (training, and validation if any) are lists of batches."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", num_sanity_val_steps=0, callbacks=[*callbacks], **quiet)
    trainer.fit(task, *(DataLoader(batches, batch_size=None, collate_fn=dict) for batches in loaders))
    return trainer


def make_batch(labels: list[int], *, length: int = 2, seed: int = 0, **changes: Any) -> ClipBatch:
    """Clips whose brightness tells their class."""
    draws = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(labels), length, 3, 64, 64, generator=draws)
    batch: ClipBatch = {
        "frames": 0.3 * noise + 0.14 * torch.tensor(labels).clamp(min=0).view(-1, 1, 1, 1, 1),
        "valid": torch.ones(len(labels), length, dtype=torch.bool),
        "landmarks": 64 * torch.rand(len(labels), length, 68, 2, generator=draws),
        "label": torch.tensor(labels),
        "clip_id": [f"clip{number}" for number in range(len(labels))],
        "subject_id": [f"child{number}" for number in range(len(labels))],
    }
    return {**batch, **changes}


def make_task(
    head: str = "mean",
    label_smoothing: float = 0.0,
    task: Any = None,
    votes: float = 1.0,
    votes_head: float = 0.0,
    *,
    affect: bool = False,
    **optim: Any,
) -> ClipClassification:
    """A task of a small model; ``task`` has keywords of ``ClipClassification``, the others are of ``LossConfig`` and
    ``OptimConfig``."""
    loss = LossConfig(label_smoothing, votes, votes_head)
    return ClipClassification(small_model(head, affect=affect), TARGET, OptimConfig(**optim), loss, **(task or {}))
