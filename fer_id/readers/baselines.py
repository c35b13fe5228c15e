"""Features minus a median that stands for the child's face at rest: the clip's own, or that of the child's other clips,
as a protocol may know it that shows clips of the tested child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from fer_id.models.heads import minus_median
from fer_id.tasks.features import Features

Known = tuple[Features, Sequence[str]]
"""Clips, and the subject of each."""


def minus_own_median(clips: Features) -> Features:
    """Return the features minus the median of the valid frames of each clip, as the head ``own_lstm`` takes it."""
    return replace(clips, values=minus_median(clips.values, clips.valid))


def minus_child_median(clips: Features, subjects: Sequence[str], known: Known | None = None) -> Features:
    """Return the features (N, T, D) minus the median of the valid frames of the same subject's other clips; a clip
    whose subject has no other stays as it is.

    Without ``known`` the other clips are among ``clips``: of tested ones for the transductive protocol alone. With
    ``known`` they are among those, the earlier clips of the tested subjects that a personalised protocol learns from.
    """
    pool, owners = (clips, subjects) if known is None else known
    values, names = clips.values.clone(), np.asarray(pool.clip_ids)
    own, tested = np.asarray(owners), np.asarray(subjects)
    for subject in np.unique(tested):
        rows = own == subject
        frames = pool.values[rows][pool.valid[rows]].numpy()
        source = np.repeat(names[rows], pool.valid[rows].sum(dim=1))
        for row in np.flatnonzero(tested == subject):
            others = frames[source != clips.clip_ids[row]]
            if len(others):
                middle = (len(others) - 1) // 2
                values[row] -= torch.from_numpy(np.partition(others, middle, axis=0)[middle])
    return replace(clips, values=values.masked_fill(~clips.valid.unsqueeze(-1), 0.0))
