"""Features minus a median that stands for the child's face at rest: the clip's own, or that of the child's other clips,
as the transductive protocol may know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from fer_id.models.heads import minus_median
from fer_id.tasks.features import Features


def minus_own_median(clips: Features) -> Features:
    """Return the features minus the median of the valid frames of each clip, as the head ``own_lstm`` takes it."""
    return replace(clips, values=minus_median(clips.values, clips.valid))


def minus_child_median(clips: Features, subjects: Sequence[str]) -> Features:
    """Return the features (N, T, D) minus the median of the valid frames of the same subject's other clips among these;
    a subject's only clip stays as it is.

    It looks at other clips of the tested child, without their labels: for the transductive protocol alone.
    """
    seen = clips.values.masked_fill(~clips.valid.unsqueeze(-1), torch.nan)
    values = clips.values.clone()
    rows: dict[str, list[int]] = {}
    for row, subject in enumerate(subjects):
        rows.setdefault(subject, []).append(row)
    for own in rows.values():
        for row in own if len(own) > 1 else []:
            others = seen[[other for other in own if other != row]].flatten(0, 1)
            values[row] = (seen[row] - others.nanmedian(dim=0).values.nan_to_num(0.0)).nan_to_num(0.0)
    return replace(clips, values=values)
