"""Fixtures with tiny batches and tasks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fer_id.labels import TARGET
from fer_id.models.build import ModelConfig, build_model
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.config import LossConfig, OptimConfig
from fer_id.types import ClipBatch


@pytest.fixture
def make_batch() -> Callable[..., ClipBatch]:
    """``make_batch(labels, length=2, seed=0)``: clips whose brightness tells their class."""

    def make(labels: list[int], *, length: int = 2, seed: int = 0, **changes: Any) -> ClipBatch:
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
        return {**batch, **changes}  # type: ignore[typeddict-item]

    return make


@pytest.fixture
def make_task() -> Callable[..., ClipClassification]:
    """``make_task(head="mean", lr=1e-2, ...)``: a model of a few thousand weights; keywords go where they belong."""

    def make(**changes: Any) -> ClipClassification:
        torch.manual_seed(0)
        loss_keys, task_keys = ("label_smoothing",), ("test_views", "resolution")
        loss = LossConfig(**{key: changes.pop(key) for key in loss_keys if key in changes})
        task = {key: changes.pop(key) for key in task_keys if key in changes}
        head = changes.pop("head", "mean")
        model = build_model(ModelConfig(head=head, hidden=8, widths=[4, 4, 8, 8], convs=[1, 1, 1, 1]), len(TARGET))
        return ClipClassification(model, TARGET, OptimConfig(**changes), loss, **task)

    return make
