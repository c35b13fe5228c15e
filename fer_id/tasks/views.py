"""Test-time augmentation: views of a clip (itself, mirrored, shifted) whose outputs are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fer_id.tasks.config import VIEWS
from fer_id.types import FLIP_68, ClipBatch


def views(batch: ClipBatch, name: str) -> Iterator[ClipBatch]:
    """Yield every view of a batch, the batch itself first; a shift repeats the edge pixels of the crop."""
    mirror, shifts = VIEWS[name]
    for right, down in shifts:
        view = _shifted(batch, right, down) if right or down else batch
        yield view
        if mirror:
            yield _mirrored(view)


def averaged(
    answer: Callable[[ClipBatch], tuple[Tensor, Tensor | None]], batch: ClipBatch, name: str
) -> tuple[Tensor, Tensor | None]:
    """Return the mean over the views of a batch of logits (B, K), and of valence and arousal (B, 2) where ``answer``
    gives them; float32, on the CPU."""
    logits, affect = zip(*(answer(view) for view in views(batch, name)), strict=True)
    rated = [values for values in affect if values is not None]
    return _mean(logits), _mean(rated) if rated else None


def _mean(outputs: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(outputs)).mean(dim=0).float().cpu()


def _mirrored(batch: ClipBatch) -> ClipBatch:
    landmarks = batch["landmarks"][:, :, list(FLIP_68)].clone()
    landmarks[..., 0] = batch["frames"].shape[-1] - 1 - landmarks[..., 0]
    return {**batch, "frames": batch["frames"].flip(-1), "landmarks": landmarks}


def _shifted(batch: ClipBatch, right: int, down: int) -> ClipBatch:
    frames, reach = batch["frames"], max(abs(right), abs(down))
    wide = F.pad(frames.flatten(0, 1), (reach, reach, reach, reach), mode="replicate")
    top, left = reach - down, reach - right
    height, width = frames.shape[-2:]
    moved = wide[..., top : top + height, left : left + width].reshape(frames.shape)
    landmarks = batch["landmarks"] + batch["landmarks"].new_tensor([right, down])
    return {**batch, "frames": moved, "landmarks": landmarks}
