"""Shared data types and constants: stored clip, batch of clips, crop size, order of the landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

CROP = 64  # side of every stored face crop, in pixels
LANDMARKS = 68  # points per face, in the iBUG 300-W order
SOURCE, COHORT = 0, 1  # domains of clips: the source data of pretraining, and the cohort that a model is adapted to


def _flip_68() -> tuple[int, ...]:
    """Return the permutation of the iBUG points under a horizontal flip (Sagonas et al., 2016, figure 1)."""
    pairs = [(i, 16 - i) for i in range(8)]
    pairs += [(17 + i, 26 - i) for i in range(5)] + [(31, 35), (32, 34)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65)]
    order = list(range(LANDMARKS))
    for left, right in pairs:
        order[left], order[right] = right, left
    return tuple(order)


FLIP_68 = _flip_68()  # permutation of the 68 points after mirroring x in a horizontal flip; it is its own inverse


class StoredClip(NamedTuple):
    """Clip of a store."""

    frames: NDArray[np.uint8]  # uint8 (T, 64, 64, 3), RGB, a view of the memory map: copy before writing
    landmarks: NDArray[np.float32]  # float32 (T, 68, 2), crop pixels, NaN where no face was found
    valid: NDArray[np.bool_]  # bool (T,), False where no face was found


class ClipItem(TypedDict):
    """Clip of a dataset, before batches are made; keys as in :class:`ClipBatch`, frames uint8 (T, 64, 64, 3)."""

    frames: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    landmarks: NDArray[np.float32]
    label: int
    soft_label: Sequence[float] | None
    domain: NotRequired[int]
    clip_id: str
    subject_id: str


class Predicted(TypedDict):
    """Predictions of a batch: names of the clips, logits (B, K), and whether a frame shows the face, bool (B,)."""

    clip_id: list[str]
    logits: Tensor
    covered: Tensor


class ClipBatch(TypedDict):
    """Batch of clips, the contract between data modules and tasks. A still is a clip with T=1.

    Keys:
        frames: float (B, T, 3, 64, 64) in [0, 1]; each model normalises in a buffer of its own.
        valid: bool (B, T).
        landmarks: float (B, T, 68, 2), crop pixels, NaN where none.
        label: int64 (B,), -1 where unlabelled.
        soft_label: optional float (B, K), rows sum to one.
        domain: optional int64 (B,), :data:`SOURCE` or :data:`COHORT`, where a cohort is aligned with a source.
        clip_id, subject_id: B names each.
    """

    frames: Tensor
    valid: Tensor
    landmarks: Tensor
    label: Tensor
    soft_label: NotRequired[Tensor]
    domain: NotRequired[Tensor]
    clip_id: list[str]
    subject_id: list[str]
