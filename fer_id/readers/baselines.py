"""Features minus a baseline that stands for the child's face at rest, beside the clip's own median of the head
``own_set``: the running median, which a camera can know, and the median over the child's other clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fer_id.tasks.features import Features


def minus_running_median(clips: Features) -> Features:
    """Return the features (N, T, D) minus the median of the clip's valid frames up to and with each frame, the lower
    one of an even number: what is known while a video plays. The first valid frame becomes zero."""
    seen = _absent_as_nan(clips)
    medians = [seen[:, : step + 1].nanmedian(dim=1).values for step in range(seen.shape[1])]
    return replace(clips, values=(seen - torch.stack(medians, dim=1)).nan_to_num(0.0))


def minus_child_median(clips: Features, subjects: Sequence[str]) -> Features:
    """Return the features (N, T, D) minus the median of the valid frames of the same subject's other clips among these;
    a subject's only clip stays as it is.

    It looks at other clips of the tested child, without their labels: for the transductive protocol alone.
    """
    seen, values = _absent_as_nan(clips), clips.values.clone()
    rows: dict[str, list[int]] = {}
    for row, subject in enumerate(subjects):
        rows.setdefault(subject, []).append(row)
    for own in rows.values():
        for row in own if len(own) > 1 else []:
            others = seen[[other for other in own if other != row]].flatten(0, 1)
            values[row] = (seen[row] - others.nanmedian(dim=0).values.nan_to_num(0.0)).nan_to_num(0.0)
    return replace(clips, values=values)


def _absent_as_nan(clips: Features) -> Tensor:
    return clips.values.masked_fill(~clips.valid.unsqueeze(-1), torch.nan)
