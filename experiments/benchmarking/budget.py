"""Budget of a benchmark in multiply-adds: what preparation, features and readers cost, and what is left for encoders.

Multiply-adds compare between machines, seconds do not; work that is no arithmetic (decoding, landmarks, warping) is
counted by its estimated seconds on two cores at :data:`RATE`. A backward pass is counted as two forward passes.
Depthwise convolutions (EfficientNet) reach about a third of that rate, so they take longer than their minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer_id.errors import ConfigError
from fer_id.models.config import ModelConfig
from fer_id.readers.config import SEEDED
from fer_id.types import CROP

RATE = 3e10
"""Multiply-adds a second of two cores without bf16 arithmetic."""

STILL_S, CLIP_S, REST_S = 0.010, 1 / 163, 0.002
"""Seconds of two cores: a still from the CSV to its landmarks, a clip of ten frames, a still brought to rest."""

FIT_S, NETWORK_S = 1.0, 2.5
"""Seconds of one core: the fit of a linear reader on 5,000 clips, and of a network, whatever their number."""


@dataclass(frozen=True)
class Cost:
    """A part of the benchmark: its name and its multiply-adds."""

    what: str
    multiply_adds: float

    @property
    def minutes(self) -> float:
        """Minutes of two cores at :data:`RATE`."""
        return self.multiply_adds / RATE / 60

    @property
    def amounts(self) -> tuple[float, float]:
        """Multiply-adds and minutes."""
        return self.multiply_adds, self.minutes


@dataclass(frozen=True)
class Passes:
    """Training of an encoder on stills: ``stills`` at most in each of ``epochs`` passes; None: all there are."""

    stills: int | None
    epochs: int


def preparation(stills: int, clips: int) -> list[Cost]:
    """Return the cost of making the two stores from the published table of so many stills."""
    return [Cost("stills and landmarks", RATE * stills * STILL_S), of_simulation(stills, clips)]


def of_simulation(stills: int, clips: int) -> Cost:
    """Return the cost of choosing among so many stills, and of simulating so many clips of ten frames."""
    return Cost("simulated clips", RATE * (stills * REST_S + clips * CLIP_S))


def of_features(name: str, frame: int, clips: int, frames: int) -> Cost:
    """Return the cost of encoding clips once."""
    return Cost(f"features of {clips:,} clips by {name}", float(frame) * frames * clips)


def of_readers(readers: Sequence[str], seeds: int, clips: Sequence[int]) -> Cost:
    """Return the cost of fitting the readers on the training clips of each encoder, two side by side."""
    networks = sum(name in SEEDED for name in readers)
    seconds = [networks * NETWORK_S * seeds + (len(readers) - networks) * FIT_S * size / 5_000 for size in clips]
    return Cost(f"fits of {len(readers)} readers", RATE * sum(seconds) / 2)


def of_low_resource(readers: Sequence[str], children: Sequence[int]) -> Cost:
    """Return the cost of leaving each of so many children out once, in cohorts of several sizes, two side by side."""
    networks = sum(name in SEEDED for name in readers)
    return Cost(f"{sum(children)} times a child left out", RATE * networks * NETWORK_S * sum(children) / 2)


def of_training(what: str, frame: int, frames: int, clips: int, judged: int) -> Cost:
    """Return the cost of so many clips (or stills) in training, and as many as ``judged`` without a backward pass."""
    return Cost(what, float(frame) * frames * (3 * clips + judged))


def shares(budget: float, spent: Sequence[Cost], encoders: Sequence[str], reference: str) -> dict[str, Cost]:
    """Divide what is left: half to the reference, which every contrast is about, the rest evenly to the others.

    Raise ConfigError where nothing is left.
    """
    left = budget - sum(cost.multiply_adds for cost in spent)
    if left <= 0:
        parts = "; ".join(f"{cost.what} {cost.multiply_adds:.1e}" for cost in spent)
        raise ConfigError(
            f"budget={budget:.1e} is spent before any encoder learns: {parts}. Raise it, take fewer encoders or fewer "
            "clips (others_at_most, finetune.at_most), or say budget=null and pretrain.max_epochs"
        )
    others = max(1, len(encoders) - 1)
    own = left / 2 if len(encoders) > 1 else left
    return {name: Cost(f"{name} on stills", own if name == reference else (left - own) / others) for name in encoders}


def passes(cost: Cost, model: ModelConfig, stills: int, judged: int, resolution: Sequence[tuple[float, int]]) -> Passes:
    """Return how often an encoder sees the training ``stills`` for its share, after it has ``judged`` so many of inner
    validation and test; a growing ``resolution`` makes pictures cheaper."""
    frame, any_size = _frame(model)
    ends = [*(share for share, _ in resolution[1:]), 1.0]
    smaller = sum((end - share) * (side / CROP) ** 2 for (share, side), end in zip(resolution, ends, strict=False))
    before = resolution[0][0] if resolution else 1.0
    left = cost.multiply_adds - judged * frame
    pictures = max(1, int(left / (3 * frame * (before + smaller if any_size else 1.0))))
    epochs = max(1, -(-pictures // stills))
    return Passes(max(1, pictures // epochs), epochs)


def table(costs: Sequence[Cost], plans: Mapping[str, Passes]) -> list[str]:
    """Return the budget as lines of text."""
    lines = [f"  {cost.what:<44}{cost.multiply_adds:10.1e}{cost.minutes:8.1f} min" for cost in costs]
    total = Cost("all", sum(cost.multiply_adds for cost in costs))
    head = f"budget in multiply-adds; minutes of two cores at {RATE:.0e} a second"
    seen = "; ".join(f"{name}: {plan.epochs} x {plan.stills or 'all'} stills" for name, plan in plans.items())
    lines = [head, *lines, f"  {'all':<44}{total.multiply_adds:10.1e}{total.minutes:8.1f} min"]
    return [*lines, seen] if seen else lines


def _frame(model: ModelConfig) -> tuple[int, bool]:
    """Return the multiply-adds of a frame, and whether the encoder takes smaller pictures."""
    import torch

    from fer_id.models.build import build_model, model_cost

    with torch.device("meta"):
        any_size = build_model(model, 2).encoder.any_size
    return model_cost(model).frame, any_size
