"""Whether a model's maps mean something: what they do when the model, the picture or the method changes.

* **Randomisation** (Adebayo et al., 2018, arXiv:1810.03292): the weights are drawn anew, from the classifier down to
  the first layer. A map that stays as it was shows the picture, not what the model learned.
* **Stability**: a little sensor noise must not move it.
* **Deletion and insertion** (Petsiuk et al., 2018, arXiv:1806.07421): places are blurred, or come back, in the order
  of the map; the class must lose, or win, faster than in a random order.
* **Agreement** with other methods is told and not judged: they answer different questions.

Maps are compared by the rank correlation of their cells over a clip's valid frames, on a grid of 8x8.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from fer_id.explain.attribution import GRAD_CAM, METHODS, blurred, grad_cam
from fer_id.explain.clips import shares_of
from fer_id.explain.verdicts import RANDOM_WEIGHTS
from fer_id.models.network import ClipClassifier
from fer_id.types import CROP, ClipBatch

GRID = 8
NOISE = 0.02
"""Standard deviation of the noise that must not matter, as a part of the full range; what training adds at most."""

STEPS = 8
RANDOM_ORDERS = 2


class Checked(NamedTuple):
    """What was asked of N clips.

    Attributes:
        rows: ``clip_id, subject_id``; ``stability``; ``random <part>``, after drawing anew that part and all behind it;
            ``effect``, how far blurring everything moves the probability; ``deletion`` and ``insertion``, how much
            better than at random in mean probability; ``agreement <method>``.
        curves: of deletion and insertion and of both at random, each (N, STEPS + 1), by name.
        methods: method -> shares of the regions, as ``fer_id.explain.clips.shares_of`` tells them.
        maps: clip -> method -> map (T, 8, 8), as they are compared.
    """

    rows: pd.DataFrame
    curves: dict[str, NDArray[np.float64]]
    methods: dict[str, pd.DataFrame]
    maps: dict[str, dict[str, NDArray[np.float32]]]


def check_clips(
    model: ClipClassifier, fresh: ClipClassifier, clips: Iterable[tuple[ClipBatch, Tensor]], layer: str, *, seed: int
) -> Checked:
    """Asks everything of every clip.

    Args:
        model: in evaluation mode.
        fresh: the same model with weights drawn anew, in evaluation mode.
        clips: batches with the class asked about, one at least; each clip has a valid frame.
        layer: of the Grad-CAM.
        seed: of the noise and the random orders.
    """
    generator = torch.Generator().manual_seed(seed)
    parts: list[pd.DataFrame] = []
    curves: dict[str, list[NDArray[np.float64]]] = {}
    methods: dict[str, list[dict[str, Any]]] = {}
    kept: dict[str, dict[str, NDArray[np.float32]]] = {}
    for batch, target in clips:
        valid = batch["valid"]
        maps = {GRAD_CAM: grad_cam(model, batch, target, layer)}
        maps |= {name: method(model, batch, target) for name, method in METHODS.items()}
        own = cells(maps[GRAD_CAM])
        row: dict[str, Any] = {"clip_id": batch["clip_id"], "subject_id": batch["subject_id"]}
        noise = torch.randn(batch["frames"].shape, generator=generator).to(batch["frames"].device)
        noisy: ClipBatch = {**batch, "frames": (batch["frames"] + NOISE * noise).clamp(0, 1)}
        row["stability"] = alike(own, cells(grad_cam(model, noisy, target, layer)), valid)
        for part, drawn in randomised(model, fresh):
            other = grad_cam(drawn, batch, target, layer)
            row[f"random {part}"] = alike(own, cells(other), valid)
        maps[RANDOM_WEIGHTS] = other  # of the last, which has no weight of its own
        compared = {name: cells(each).float().cpu().numpy() for name, each in maps.items()}
        kept |= {clip: {name: each[at] for name, each in compared.items()} for at, clip in enumerate(batch["clip_id"])}
        for name in METHODS:
            row[f"agreement {name}"] = alike(own, cells(maps[name]), valid)
        found = _perturbed(model, batch, target, own, generator)
        row["effect"] = np.abs(found["deletion"][:, 0] - found["deletion"][:, -1])
        row["deletion"] = (found["at random"] - found["deletion"]).mean(axis=1)
        row["insertion"] = (found["insertion"] - found["at random"][:, ::-1]).mean(axis=1)
        parts.append(pd.DataFrame(row))
        for name, values in found.items():
            curves.setdefault(name, []).append(values)
        for name, each in maps.items():
            told = zip(batch["subject_id"], shares_of(each, batch), strict=True)
            methods.setdefault(name, []).extend({"subject_id": subject, **shares} for subject, shares in told)
    return Checked(
        pd.concat(parts, ignore_index=True),
        {name: np.concatenate(values) for name, values in curves.items()},
        {name: pd.DataFrame(rows) for name, rows in methods.items()},
        kept,
    )


def randomised(model: ClipClassifier, fresh: ClipClassifier) -> Iterator[tuple[str, ClipClassifier]]:
    """The model with ever more of its weights drawn anew, from the classifier down; the last has none of its own."""
    drawn = copy.deepcopy(model)
    parts = [("classifier", drawn.classifier, fresh.classifier), ("head", drawn.head, fresh.head)]
    stages = list(zip(drawn.encoder.stages(), fresh.encoder.stages(), strict=True))
    parts += [(f"encoder {number}", *stages[number]) for number in reversed(range(1, len(stages)))]
    for name, part, new in parts:
        if not part.state_dict():
            continue
        part.load_state_dict(new.state_dict())
        yield name, drawn
    drawn.load_state_dict(fresh.state_dict())
    yield "everything", drawn


def cells(maps: Tensor) -> Tensor:
    """Maps (B, T, h, w) on the grid on which they are compared, (B, T, 8, 8)."""
    return torch.nn.functional.adaptive_avg_pool2d(maps, GRID)


def alike(one: Tensor, other: Tensor, valid: Tensor) -> NDArray[np.float64]:
    """Spearman's rank correlation of two maps (B, T, h, w) of each clip over its valid frames, (B,).

    NaN where one of them is the same everywhere, as where nothing speaks for the class.
    """
    found = np.full(len(one), np.nan)
    for clip, keep in enumerate(valid.cpu()):
        a, b = (maps[clip].cpu()[keep].flatten().numpy() for maps in (one, other))
        if len(a) and np.ptp(a) > 0 and np.ptp(b) > 0:
            found[clip] = stats.spearmanr(a, b).statistic
    return found


def _perturbed(
    model: ClipClassifier, batch: ClipBatch, target: Tensor, own: Tensor, generator: torch.Generator
) -> dict[str, NDArray[np.float64]]:
    """Probability of the class while cells are blurred (deletion, at random) or come back (insertion), (B, STEPS + 1).

    At random the one is the other backwards.
    """
    valid, clear = batch["valid"], batch["frames"]
    hidden = blurred(clear)
    noise = [torch.rand(own.shape, generator=generator).to(own.device) for _ in range(RANDOM_ORDERS + 1)]
    ranked = own + 1e-6 * own.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12) * noise[0]  # ties at random
    count = valid.sum(dim=1).view(-1, 1, 1, 1) * GRID * GRID

    def curve(order: Tensor, begin: Tensor, end: Tensor, ends: tuple[Tensor, Tensor]) -> Tensor:
        order = order.masked_fill(~valid[..., None, None], -1.0)  # what the model does not see comes last
        rank = order.flatten(1).argsort(dim=1, descending=True).argsort(dim=1).view_as(order)
        between = [
            _probability(model, batch, torch.lerp(begin, end, _as_pixels(rank < count * step / STEPS)), target)
            for step in range(1, STEPS)
        ]
        return torch.stack([ends[0], *between, ends[1]], dim=1)

    shown, gone = (_probability(model, batch, frames, target) for frames in (clear, hidden))
    random = [curve(order, clear, hidden, (shown, gone)) for order in noise[1:]]
    found = {
        "deletion": curve(ranked, clear, hidden, (shown, gone)),
        "insertion": curve(ranked, hidden, clear, (gone, shown)),
        "at random": torch.stack(random).mean(dim=0),
    }
    return {name: values.cpu().double().numpy() for name, values in found.items()}


def _probability(model: ClipClassifier, batch: ClipBatch, frames: Tensor, target: Tensor) -> Tensor:
    """(B,) of the class asked about."""
    with torch.inference_mode():
        p: Tensor = model(frames, batch["valid"], batch["landmarks"]).float().softmax(dim=1)
    return p.gather(1, target.unsqueeze(1)).squeeze(1)


def _as_pixels(chosen: Tensor) -> Tensor:
    """Cells (B, T, 8, 8) as weights of pixels (B, T, 1, 64, 64)."""
    side = CROP // GRID
    pixels: Tensor = chosen.float().repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
    return pixels.unsqueeze(2)
