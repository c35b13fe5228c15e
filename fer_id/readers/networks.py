"""Readers with a temporal head: one of :mod:`fer_id.models.heads` and a linear layer, trained on cached features."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fer_id.models.build import HEAD_CLASSES
from fer_id.readers.config import UPDATES
from fer_id.tasks.features import Features

HIDDEN, BATCH, RATE, DECAY, DROPOUT = 64, 128, 8e-3, 1e-2, 0.2
"""Units of the head, clips in a step, peak of the one-cycle rate, weight decay, dropout of the clip's vector."""


@dataclass(frozen=True)
class Lesson:
    """Features of training and inner-validation clips, on principal components, that a reader is fitted on.

    ``apex`` (N,) is the frame of each training clip in which its expression is strongest. Only training clips have
    it: no reader sees the true intensity of a clip that it judges.
    """

    train: Features
    validation: Features
    apex: Tensor
    classes: int
    updates: int = UPDATES


class _Network(nn.Module):
    """Head and linear layer: features (B, T, D), valid (B, T) -> logits (B, K)."""

    def __init__(self, head: str, features: int, classes: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(DROPOUT)
        self.head = HEAD_CLASSES[head](features, HIDDEN, DROPOUT)
        self.classifier = nn.Linear(self.head.dim, classes)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        return self.classifier(self.drop(self.head(features, valid)))  # type: ignore[no-any-return]


def balanced_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean over classes of the mean cross-entropy over the clips of a class."""
    return nn.functional.cross_entropy(logits, label, weight=class_weights(label, logits.shape[1]).to(logits.dtype))


def class_weights(label: Tensor, classes: int) -> Tensor:
    """Return the weight (K,) of a clip of each class, by which all present classes weigh alike; 0 for an absent one."""
    counts = torch.bincount(label, minlength=classes).double()
    weights = torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
    return weights * len(label) / (counts > 0).sum()


def fit_network(head: str, lesson: Lesson, seed: int) -> Callable[[Features], Tensor]:
    """Train a head with its classifier, see :func:`trained_network`, and return clips -> logits."""
    network = trained_network(head, lesson, seed)
    return lambda clips: _logits(network, clips)


def trained_network(head: str, lesson: Lesson, seed: int) -> nn.Module:
    """Train a head with its classifier and return it at the epoch of the lowest balanced loss on inner validation.

    Deterministic in the seed on one thread.
    """
    train, validation, generator = lesson.train, lesson.validation, torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Network(head, train.values.shape[2], lesson.classes)
        steps = -(-len(train.label) // BATCH)
        passes = -(-lesson.updates // steps)
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=passes * steps)
        weight = class_weights(train.label, lesson.classes).float()
        best, lowest = copy.deepcopy(network.state_dict()), float("inf")
        for _ in range(passes):
            network.train()
            for rows in torch.split(torch.randperm(len(train.label), generator=generator), BATCH):
                logits = network(train.values[rows], train.valid[rows])
                loss = nn.functional.cross_entropy(logits, train.label[rows], weight=weight, reduction="none").mean()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
            network.eval()
            score = float(balanced_loss(_logits(network, validation), validation.label))
            if score < lowest:
                best, lowest = copy.deepcopy(network.state_dict()), score
    network.load_state_dict(best)
    return network


def _logits(network: nn.Module, clips: Features) -> Tensor:
    with torch.inference_mode():
        parts = zip(torch.split(clips.values, 2048), torch.split(clips.valid, 2048), strict=True)
        return torch.cat([network(*part) for part in parts])
