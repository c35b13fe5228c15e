"""Shared data types and constants: stored clip, batch of clips, crop size, order of the landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

CROP = 64  # side of a stored face crop, in pixels, where the store's card names no other
LANDMARKS = 68  # points per face, in the iBUG 300-W order
AFFECT = ("valence", "arousal")  # pleasure and activation (Russell, 1980), each from -1 to 1, NaN where not annotated
SOURCE, COHORT = 0, 1  # domains of clips: the source data of pretraining, and the cohort that a model is adapted to


# permutation of the iBUG points after mirroring x (Sagonas et al., 2016, figure 1); it is its own inverse
FLIP_68 = (
    *range(16, -1, -1),  # jaw
    *range(26, 16, -1),  # brows
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),  # nose
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),  # lips
)


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
    affect: NotRequired[Sequence[float] | None]
    domain: NotRequired[int]
    clip_id: str
    subject_id: str


class Predicted(TypedDict):
    """Predictions of a batch: names of the clips, logits (B, K), whether a frame shows the face, bool (B,), and
    valence and arousal (B, 2) of a model that has them."""

    clip_id: list[str]
    logits: Tensor
    covered: Tensor
    affect: NotRequired[Tensor]


class ClipBatch(TypedDict):
    """Batch of clips, the contract between data modules and tasks. A still is a clip with T=1.

    Keys:
        frames: float (B, T, 3, 64, 64) in [0, 1]; each model normalises in a buffer of its own.
        valid: bool (B, T).
        landmarks: float (B, T, 68, 2), crop pixels, NaN where none.
        label: int64 (B,), -1 where unlabelled.
        soft_label: optional float (B, K), rows sum to one.
        affect: optional float (B, 2), :data:`AFFECT`, NaN where not annotated.
        domain: optional int64 (B,), :data:`SOURCE` or :data:`COHORT`, where a cohort is aligned with a source.
        clip_id, subject_id: B names each.
    """

    frames: Tensor
    valid: Tensor
    landmarks: Tensor
    label: Tensor
    soft_label: NotRequired[Tensor]
    affect: NotRequired[Tensor]
    domain: NotRequired[Tensor]
    clip_id: list[str]
    subject_id: list[str]
