"""Settings of the loss and the optimiser; apart from the task, so that reading them does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from fer_id.settings import setting


@dataclass
class OptimConfig:
    """How weights move. The defaults are the paper's Table 3."""

    name: str = setting("adam", choices=("adam", "adamw"), help="optimiser")
    lr: float = setting(1e-4, above=0, max=10, help="learning rate; the peak of a schedule")
    weight_decay: float = setting(0.0, min=0, max=1, help="on matrices and kernels only, not norms and biases")
    schedule: str = setting("constant", choices=("constant", "one_cycle"), help="rate over the steps")
    warmup: float = setting(0.2, min=0, below=1, help="share of the steps in which one_cycle rises")


@dataclass
class LossConfig:
    """Cross-entropy and what is done to its targets."""

    label_smoothing: float = setting(0.0, min=0, below=1, help="mass spread evenly over all classes")
    mixup: float = setting(0.0, min=0, max=10, help="Beta(mixup, mixup) draws how far clips are blended in pairs")
