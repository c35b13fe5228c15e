"""Sanity checks of attribution maps: their response to changes of the model, the picture and the method.

* **Randomisation** (Adebayo et al., 2018, arXiv:1810.03292): the weights are randomised, from the classifier down to
  the first layer. A map that does not change shows the picture, not what the model learned.
* **Stability**: a little sensor noise must not change the map.
* **Deletion and insertion** (Petsiuk et al., 2018, arXiv:1806.07421): cells are blurred, or restored, in the order of
  the map; the probability of the class must fall, or rise, faster than in a random order.
* **Agreement** with other methods is reported without a verdict: the methods measure different things.

Maps are compared by the rank correlation of their cells over a clip's valid frames, on a grid of 8x8 cells.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from fer_id.explain.attribution import GRAD_CAM, METHODS, blurred, grad_cam
from fer_id.explain.clips import masks_of, shares_of
from fer_id.explain.verdicts import RANDOM_WEIGHTS
from fer_id.models.network import ClipClassifier
from fer_id.types import ClipBatch

GRID = 8
NOISE = 0.02
"""Standard deviation of the noise as a share of the full range: the most that training adds as augmentation."""

STEPS = 8
RANDOM_ORDERS = 2


class Checked(NamedTuple):
    """Results of the checks for N clips."""

    rows: pd.DataFrame
    """``clip_id, subject_id``; ``stability``; ``random <part>``, after randomising that part and all behind it;
    ``effect``, change of the probability when everything is blurred; ``deletion`` and ``insertion``, gain in mean
    probability over a random order; ``agreement <method>``."""

    curves: dict[str, NDArray[np.float64]]  # probabilities (N, STEPS + 1): deletion, insertion, and deletion at random
    methods: dict[str, pd.DataFrame]  # shares of the regions, as ``fer_id.explain.clips.shares_of`` returns them
    maps: dict[str, dict[str, NDArray[np.float32]]]  # clip -> method -> map (T, 8, 8) on the grid of the comparison


def check_clips(
    model: ClipClassifier, fresh: ClipClassifier, clips: Iterable[tuple[ClipBatch, Tensor]], layer: str, *, seed: int
) -> Checked:
    """Run all checks on every clip of at least one batch with its explained classes (B,); each clip has a valid frame.

    ``model`` and ``fresh``, the same model with random weights, are in evaluation mode; ``seed`` is that of the noise
    and the random orders.
    """
    generator = torch.Generator().manual_seed(seed)
    parts: list[pd.DataFrame] = []
    curves: dict[str, list[NDArray[np.float64]]] = {}
    methods: dict[str, list[dict[str, object]]] = {}
    grids: dict[str, dict[str, NDArray[np.float32]]] = {}
    for batch, target in clips:
        valid = batch["valid"]
        maps = {GRAD_CAM: grad_cam(model, batch, target, layer)}
        maps |= {name: method(model, batch, target) for name, method in METHODS.items()}
        own = cells(maps[GRAD_CAM])
        row: dict[str, object] = {"clip_id": batch["clip_id"], "subject_id": batch["subject_id"]}
        noise = torch.randn(batch["frames"].shape, generator=generator).to(batch["frames"].device)
        noisy: ClipBatch = {**batch, "frames": (batch["frames"] + NOISE * noise).clamp(0, 1)}
        row["stability"] = alike(own, cells(grad_cam(model, noisy, target, layer)), valid)
        for part, drawn in randomised(model, fresh):
            maps[RANDOM_WEIGHTS] = grad_cam(drawn, batch, target, layer)  # at last with random weights only
            row[f"random {part}"] = alike(own, cells(maps[RANDOM_WEIGHTS]), valid)
        compared = {name: cells(values).float().cpu().numpy() for name, values in maps.items()}
        grids |= {clip: {name: grid[i] for name, grid in compared.items()} for i, clip in enumerate(batch["clip_id"])}
        for name in METHODS:
            row[f"agreement {name}"] = alike(own, cells(maps[name]), valid)
        probabilities = _perturbed(model, batch, target, own, generator)
        row["effect"] = np.abs(probabilities["deletion"][:, 0] - probabilities["deletion"][:, -1])
        row["deletion"] = (probabilities["at random"] - probabilities["deletion"]).mean(axis=1)
        row["insertion"] = (probabilities["insertion"] - probabilities["at random"][:, ::-1]).mean(axis=1)
        parts.append(pd.DataFrame(row))
        for name, values in probabilities.items():
            curves.setdefault(name, []).append(values)
        masks = masks_of(batch)
        for name, heat in maps.items():
            pairs = zip(batch["subject_id"], shares_of(heat, masks), strict=True)
            methods.setdefault(name, []).extend({"subject_id": subject, **shares} for subject, shares in pairs)
    return Checked(
        pd.concat(parts, ignore_index=True),
        {name: np.concatenate(values) for name, values in curves.items()},
        {name: pd.DataFrame(rows) for name, rows in methods.items()},
        grids,
    )


def randomised(model: ClipClassifier, fresh: ClipClassifier) -> Iterator[tuple[str, ClipClassifier]]:
    """Yield the model with ever more parts randomised, from the classifier down, at last with all of them."""
    drawn = copy.deepcopy(model)
    parts = [("classifier", drawn.classifier, fresh.classifier), ("head", drawn.head, fresh.head)]
    stages = list(zip(drawn.encoder.stages(), fresh.encoder.stages(), strict=True))
    parts += [(f"encoder {number}", *stages[number]) for number in reversed(range(1, len(stages)))]
    for name, part, new in parts:
        if part.state_dict():
            part.load_state_dict(new.state_dict())
            yield name, drawn
    drawn.load_state_dict(fresh.state_dict())
    yield "everything", drawn


def cells(maps: Tensor) -> Tensor:
    """Return maps (B, T, h, w) on the grid of the comparison, (B, T, 8, 8)."""
    return torch.nn.functional.adaptive_avg_pool2d(maps, GRID)


def alike(first: Tensor, second: Tensor, valid: Tensor) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of two maps (B, T, h, w) per clip, over its valid frames, (B,).

    NaN where one of the maps is constant, such as a map without attribution.
    """
    correlations = np.full(len(first), np.nan)
    for clip, frames in enumerate(valid.cpu()):
        a, b = (maps[clip].cpu()[frames].flatten().numpy() for maps in (first, second))
        if len(a) and np.ptp(a) > 0 and np.ptp(b) > 0:
            correlations[clip] = stats.spearmanr(a, b).statistic
    return correlations


def _perturbed(
    model: ClipClassifier, batch: ClipBatch, target: Tensor, own: Tensor, generator: torch.Generator
) -> dict[str, NDArray[np.float64]]:
    """Return class probabilities while cells are blurred (deletion, at random) or restored, (B, STEPS + 1).

    In a random order, insertion is deletion backwards.
    """
    valid, clear = batch["valid"], batch["frames"]
    hidden = blurred(clear)
    noise = [torch.rand(own.shape, generator=generator).to(own.device) for _ in range(RANDOM_ORDERS + 1)]
    ranked = own + 1e-6 * own.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12) * noise[0]  # ties at random
    count = valid.sum(dim=1).view(-1, 1, 1, 1) * GRID * GRID

    def as_pixels(chosen: Tensor) -> Tensor:  # cells (B, T, 8, 8) -> weights (B, T, 1, S, S)
        return torch.nn.functional.interpolate(chosen.float(), clear.shape[-2:]).unsqueeze(2)

    def curve(order: Tensor, begin: Tensor, end: Tensor, ends: tuple[Tensor, Tensor]) -> Tensor:
        order = order.masked_fill(~valid[..., None, None], -1.0)  # frames that the model does not see come last
        rank = order.flatten(1).argsort(dim=1, descending=True).argsort(dim=1).view_as(order)
        between = [
            _probability(model, batch, torch.lerp(begin, end, as_pixels(rank < count * step / STEPS)), target)
            for step in range(1, STEPS)
        ]
        return torch.stack([ends[0], *between, ends[1]], dim=1)

    full, blank = (_probability(model, batch, frames, target) for frames in (clear, hidden))
    random = [curve(order, clear, hidden, (full, blank)) for order in noise[1:]]
    curves = {
        "deletion": curve(ranked, clear, hidden, (full, blank)),
        "insertion": curve(ranked, hidden, clear, (blank, full)),
        "at random": torch.stack(random).mean(dim=0),
    }
    return {name: values.cpu().double().numpy() for name, values in curves.items()}


def _probability(model: ClipClassifier, batch: ClipBatch, frames: Tensor, target: Tensor) -> Tensor:
    """Return the probability of the explained class, (B,)."""
    with torch.inference_mode():
        p: Tensor = model(frames, batch["valid"], batch["landmarks"]).float().softmax(dim=1)
    return p.gather(1, target.unsqueeze(1)).squeeze(1)
