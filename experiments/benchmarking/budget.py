"""Budget of a benchmark: what preparation, features and readers cost, and what is left for encoders.

Multiply-adds compare between machines, seconds do not. Seconds of a model follow from its multiply-adds and from its
activations: layers that compute little on many numbers (depthwise convolutions, norms) wait for memory (Radosavovic et
al., 2020, "Designing network design spaces"). A backward pass is counted as two forward passes. Work that is no
arithmetic (decoding, landmarks, warping) is counted by its estimated seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.training.budget import PASSES
from fer_id.errors import ConfigError
from fer_id.models.build import ModelCost
from fer_id.models.config import ModelConfig
from fer_id.readers.config import SEEDED
from fer_id.types import CROP

RATE = 3e10
"""Multiply-adds of conv4 a second of two cores without bf16 arithmetic, by which a budget becomes minutes."""

ARITHMETIC, ACTIVATION = 4.8e10, 100
"""Multiply-adds a second of arithmetic alone, and how many take as long as an activation: a fit to five encoders."""

STILL_S, CLIP_S, REST_S = 0.010, 1 / 163, 0.002
"""Seconds of two cores: a still from the CSV to its landmarks, a clip of ten frames, a still brought to rest."""

FIT_S, NETWORK_S = 1.0, 2.0
"""Seconds of one core: the fit of a linear reader on 5,000 clips, and of a network, whatever their number."""


@dataclass(frozen=True)
class Cost:
    """A part of the benchmark: its name, its multiply-adds, and seconds of two cores without bf16 arithmetic."""

    what: str
    multiply_adds: float
    seconds: float

    @classmethod
    def of_seconds(cls, what: str, seconds: float) -> Cost:
        """Return the cost of work that is counted by its seconds."""
        return cls(what, RATE * seconds, seconds)

    @classmethod
    def of_frames(cls, what: str, model: ModelCost, frames: float) -> Cost:
        """Return the cost of so many forward passes of a frame."""
        return cls(what, frames * model.frame, frames * frame_seconds(model))

    @property
    def amounts(self) -> tuple[float, float]:
        """Multiply-adds and minutes."""
        return self.multiply_adds, self.seconds / 60


def frame_seconds(model: ModelCost) -> float:
    """Return the seconds of the forward pass of a frame."""
    return (model.frame + ACTIVATION * model.activations) / ARITHMETIC


@dataclass(frozen=True)
class Passes:
    """Training of an encoder on stills: ``stills`` at most in each of ``epochs`` passes; None: all there are."""

    stills: int | None
    epochs: int


def preparation(stills: int, clips: int) -> list[Cost]:
    """Return the cost of making the two stores from the published table of so many stills."""
    return [Cost.of_seconds("stills and landmarks", stills * STILL_S), of_simulation(stills, clips)]


def of_simulation(stills: int, clips: int) -> Cost:
    """Return the cost of choosing among so many stills, and of simulating so many clips of ten frames."""
    return Cost.of_seconds("simulated clips", stills * REST_S + clips * CLIP_S)


def of_features(model: ModelCost, clips: int, frames: int) -> Cost:
    """Return the cost of encoding clips once."""
    return Cost.of_frames(f"features of {clips:,} clips by {model.name}", model, clips * frames)


def of_readers(readers: Sequence[str], seeds: int, clips: Sequence[int]) -> Cost:
    """Return the cost of fitting the readers on the training clips of each encoder, two side by side."""
    networks = sum(name in SEEDED for name in readers)
    seconds = [networks * NETWORK_S * seeds + (len(readers) - networks) * FIT_S * size / 5_000 for size in clips]
    return Cost.of_seconds(f"fits of {len(readers)} readers", sum(seconds) / 2)


def of_low_resource(readers: Sequence[str], children: Sequence[int]) -> Cost:
    """Return the cost of leaving each of so many children out once, in cohorts of several sizes, two side by side."""
    networks = sum(name in SEEDED for name in readers)
    return Cost.of_seconds(f"{sum(children)} times a child left out", networks * NETWORK_S * sum(children) / 2)


def of_training(what: str, model: ModelCost, learned: float, judged: float) -> Cost:
    """Return the cost of so many frames in training, and as many as ``judged`` without a backward pass."""
    return Cost.of_frames(what, model, PASSES * learned + judged)


def shares(budget: float, spent: Sequence[Cost], encoders: Sequence[str], reference: str) -> dict[str, float]:
    """Divide the seconds that are left: half to the reference, which every contrast is about, the rest evenly.

    Raise ConfigError where nothing is left.
    """
    left = budget / RATE - sum(cost.seconds for cost in spent)
    if left <= 0:
        parts = "; ".join(f"{cost.what} {cost.seconds / 60:.1f}" for cost in spent)
        raise ConfigError(
            f"budget={budget:.1e}, {budget / RATE / 60:.1f} minutes, is spent before any encoder learns: {parts}. "
            "Raise it, take fewer encoders or fewer clips (others_at_most, finetune.at_most), or say budget=null and "
            "pretrain.max_epochs"
        )
    others = max(1, len(encoders) - 1)
    own = left / 2 if len(encoders) > 1 else left
    return {name: own if name == reference else (left - own) / others for name in encoders}


def passes(
    seconds: float, config: ModelConfig, stills: int, judged: int, resolution: Sequence[tuple[float, int]]
) -> tuple[Passes, Cost]:
    """Return how often an encoder sees the training ``stills`` in its seconds, after it has ``judged`` so many of inner
    validation and test, and what that costs; a growing ``resolution`` makes pictures cheaper."""
    model, any_size = _cost(config)
    ends = [*(share for share, _ in resolution[1:]), 1.0]
    smaller = sum((end - share) * (side / CROP) ** 2 for (share, side), end in zip(resolution, ends, strict=False))
    before = resolution[0][0] if resolution else 1.0
    size = before + smaller if any_size else 1.0
    pictures = max(1, int((seconds / frame_seconds(model) - judged) / (PASSES * size)))
    epochs = max(1, -(-pictures // stills))
    plan = Passes(max(1, pictures // epochs), epochs)
    return plan, of_training(f"{config.name} on stills", model, pictures * size, judged)


def table(costs: Sequence[Cost], plans: Mapping[str, Passes]) -> list[str]:
    """Return the budget as lines of text."""
    total = Cost("all", sum(cost.multiply_adds for cost in costs), sum(cost.seconds for cost in costs))
    lines = [f"  {cost.what:<44}{cost.multiply_adds:10.1e}{cost.seconds / 60:8.1f} min" for cost in (*costs, total)]
    head = "budget in multiply-adds, and minutes of two cores without bf16 arithmetic"
    seen = "; ".join(f"{name}: {plan.epochs} x {plan.stills or 'all'} stills" for name, plan in plans.items())
    return [head, *lines, *([seen] if seen else [])]


def _cost(config: ModelConfig) -> tuple[ModelCost, bool]:
    """Return the cost of a model, and whether its encoder takes smaller pictures."""
    import torch

    from fer_id.models.build import build_model, model_cost

    with torch.device("meta"):
        any_size = build_model(config, 2).encoder.any_size
    return model_cost(config), any_size
