"""Explanation of clips batch by batch: Grad-CAM, importance of each frame, and share of each facial region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer_id.explain.attribution import enlarged, frame_occlusion, grad_cam, heads_input, importance
from fer_id.explain.regions import REGIONS, Floats, region_masks
from fer_id.explain.shares import AREA, NO_FACE, SHARE, region_shares
from fer_id.models.network import ClipClassifier
from fer_id.types import ClipBatch

Maps = NDArray[np.float16]

_COLUMNS = [
    *("clip_id", "subject_id", "target", "reason"),
    *(f"{start}{name}" for start in (SHARE, AREA) for name in REGIONS),
    *("importance", "occlusion"),
]


class Explained(NamedTuple):
    """Explanations of a model's clips."""

    rows: pd.DataFrame
    """One per clip: ``clip_id, subject_id, target, reason`` (None where shares are defined), ``share <region>`` and
    ``area <region>``, ``importance`` and ``occlusion`` (lists with a value per frame)."""

    maps: dict[str, Maps]  # clip with a face -> Grad-CAM (T, h, w) at the layer's resolution, over the clip's maximum


def explain_clips(
    model: ClipClassifier,
    batches: Iterable[ClipBatch],
    targets: Mapping[str, int],
    layer: str,
    lengths: Mapping[str, int] | None = None,
) -> Explained:
    """Explain the logit of one class for every clip, with a ``model`` in evaluation mode.

    ``targets`` are the indices of the explained classes; clips without one have no face. ``lengths`` are the numbers of
    frames where a batch is padded; None: no padding. Memory grows with the batch size and the coarse maps, not with the
    number of frames.
    """
    rows: list[dict[str, object]] = []
    maps: dict[str, Maps] = {}
    for whole in batches:
        rows += [
            {"clip_id": clip, "subject_id": subject, "target": -1, "reason": NO_FACE}
            for clip, subject in zip(whole["clip_id"], whole["subject_id"], strict=True)
            if clip not in targets
        ]
        selection = with_targets(whole, targets, next(model.parameters()).device)
        if selection is None:
            continue
        batch, target = selection
        with heads_input(model) as seen:
            cells = grad_cam(model, batch, target, layer)
        dropped = frame_occlusion(model, batch, target, seen[-1]).numpy()
        moments = importance(cells).cpu().numpy()
        regions = shares_of(cells, masks_of(batch))
        for i, clip in enumerate(batch["clip_id"]):
            own = slice(None if lengths is None else lengths[clip])
            row = {"clip_id": clip, "subject_id": batch["subject_id"][i], "target": int(target[i])}
            when = {"importance": moments[i, own].tolist(), "occlusion": dropped[i, own].tolist()}
            rows.append({**row, **regions[i], **when})
            peak = cells[i].amax().clamp(min=1e-30)  # very small maps would underflow in half precision
            maps[clip] = (cells[i, own] / peak).cpu().numpy().astype(np.float16)
    return Explained(pd.DataFrame(rows, columns=_COLUMNS), maps)


def with_targets(batch: ClipBatch, targets: Mapping[str, int], device: torch.device) -> tuple[ClipBatch, Tensor] | None:
    """Return the clips of a batch that have a target, on the device, with their targets; None where no clip has one."""
    keep = [clip in targets for clip in batch["clip_id"]]
    if not any(keep):
        return None
    mask = torch.tensor(keep)
    chosen: Any = {}
    for key, value in batch.items():
        if isinstance(value, Tensor):
            chosen[key] = value[mask].to(device)
        else:
            chosen[key] = [text for text, wanted in zip(cast("list[str]", value), keep, strict=True) if wanted]
    return chosen, torch.tensor([targets[clip] for clip in chosen["clip_id"]], device=device)


def masks_of(batch: ClipBatch) -> list[Floats]:
    """Return the masks of the regions (T, R, S, S) of each clip."""
    return [region_masks(points, batch["frames"].shape[-1]) for points in batch["landmarks"].cpu().numpy()]


def shares_of(maps: Tensor, masks: Sequence[Floats]) -> list[dict[str, object]]:
    """Return the columns ``share``, ``area`` and ``reason`` of each clip, from maps (B, T, h, w) and the masks of its
    regions."""
    rows = []
    for heat, regions in zip(enlarged(maps, masks[0].shape[-1]).cpu().numpy(), masks, strict=True):
        shares, areas, reason = region_shares(heat, regions)
        values = {f"{SHARE}{name}": value for name, value in zip(REGIONS, shares, strict=True)}
        rows.append({"reason": reason, **values, **{f"{AREA}{n}": a for n, a in zip(REGIONS, areas, strict=True)}})
    return rows
