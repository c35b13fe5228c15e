"""Format of a ClipStore's table and arrays, and its checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.errors import cut, quoted
from fer_id.inputs import is_file_name
from fer_id.labels import SUM_TOLERANCE, LabelSpace, get_space
from fer_id.store.card import StoreCard
from fer_id.types import AFFECT, LANDMARKS

CLIP_COLUMNS = (
    *("clip_id", "subject_id", "label", "soft_label", "start", "length", "n_valid"),
    *("video_id", "t0_s", "fps", "source", "split", "intensity"),
    *AFFECT,
)
"""Columns of ``clips.parquet``, one row per clip; the group columns named by the card follow.

clip_id: unique name. subject_id: the person; of pictures without subject ids the group of near-identical pictures.
label, soft_label: class name, and shares of the classes, or empty. start, length: frames of the clip in the shard.
n_valid: frames with a face. video_id, t0_s, fps: the video, second of the first frame, frames per second. source: the
dataset. split: train, validation, test or empty. intensity: e(t) of drawn and simulated clips; of a simulated neutral
clip that of the neutral still brought in. valence, arousal: from -1 to 1, NaN where not annotated; a file has these two
columns where a clip has either. What writes them: ``docs/DATASETS.md``.
"""

PARTS = ("frames", "landmarks", "valid")
"""Arrays of a shard."""


def part_shapes(card: StoreCard) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Return each array of a shard: its dtype and the shape of one frame's entry."""
    return {
        "frames": (np.uint8, (card.crop, card.crop, 3)),
        "landmarks": (np.float32, (LANDMARKS, 2)),
        "valid": (np.bool_, ()),
    }


def label_problems(label: object, soft_label: object, space: LabelSpace) -> list[str]:
    """Return the problems of one clip's label and soft label; None and NaN stand for a missing label."""
    problems = []
    if isinstance(label, str) and label not in space.names:
        problems.append(f"label {label!r} is not in {space.name}: {', '.join(space.names)}")
    if isinstance(soft_label, list | tuple | np.ndarray):
        if len(soft_label) != len(space):
            problems.append(f"soft_label has {len(soft_label)} values, expected the {len(space)} of {space.name}")
        elif not _are_shares(soft_label):
            problems.append(f"soft_label is {cut(np.asarray(soft_label).tolist())}, expected shares that sum to 1")
    return problems


def affect_problems(row: Mapping[str, object]) -> list[str]:
    """Return the problems of one clip's valence and arousal; None and NaN stand for a missing value."""
    values = {name: row.get(name) for name in AFFECT}
    return [
        f"{name} is {cut(repr(value))}, expected a number from -1 to 1, or NaN"
        for name, value in values.items()
        if value is not None
        and not (isinstance(value, int | float | np.number) and (math.isnan(value) or abs(float(value)) <= 1))
    ]


def _are_shares(values: Sequence[object] | NDArray[Any]) -> bool:
    try:
        shares = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return False
    return bool((shares >= 0).all() and abs(shares.sum() - 1) <= SUM_TOLERANCE)


def table_problems(clips: pd.DataFrame, card: StoreCard) -> list[str]:
    """Return the problems of ``clips.parquet`` that need no array to be seen; one line for each kind of problem."""
    problems = []
    if not len(clips):
        problems.append("no clip")
    for column in ("start", "length", "n_valid"):
        if clips[column].dtype.kind not in "iu":
            problems.append(f"column {column} is {clips[column].dtype}, expected whole numbers without gaps")
    for column in dict.fromkeys(("clip_id", "subject_id", card.shard_by)):
        if clips[column].isna().any():
            problems.append(f"column {column} is empty in {clips[column].isna().sum()} rows")
        if strange := [name for name in clips[column].dropna() if not (isinstance(name, str) and is_file_name(name))]:
            problems.append(
                f"column {column} holds {quoted(strange[0])}, expected text that can name a file in a folder"
            )
    affect = dict.fromkeys(AFFECT, (-1.0, "a number from -1 to 1, or NaN"))
    limits = {"fps": (np.nextafter(0, 1), "a number above 0"), "t0_s": (-math.inf, "a finite number"), **affect}
    for column, (least, expected) in limits.items():
        numbers, most = pd.to_numeric(clips[column], errors="coerce"), 1.0 if column in AFFECT else math.inf
        wrong = clips[column][clips[column].notna() & ~(numbers.between(least, most) & np.isfinite(numbers))]
        if len(wrong):
            problems.append(f"column {column} holds {cut(wrong.iloc[0])}, expected {expected}")
    for column in card.groups:
        if column in CLIP_COLUMNS:
            problems.append(f"card.json: the group column {column} means something else")
        elif strange := [value for value in clips[column] if not pd.api.types.is_scalar(value)]:
            problems.append(f"column {cut(column)} holds {quoted(strange[0])}, expected text")
    if twice := clips["clip_id"][clips["clip_id"].duplicated()].tolist():
        problems.append(f"clip_id not unique: {', '.join(map(str, twice[:5]))}")
    space = get_space(card.label_space)
    pairs = zip(clips["label"], clips["soft_label"], strict=True)
    return problems + sorted({problem for pair in pairs for problem in label_problems(*pair, space)})


def frames_problems(rows: pd.DataFrame, valid: NDArray[np.bool_]) -> list[str]:
    """Return where ``rows``, the clips of one shard, disagree with ``valid`` (N,); the last clip ends at frame N."""
    rows = rows.sort_values("start")
    start, end = rows["start"].to_numpy(), (rows["start"] + rows["length"]).to_numpy()
    if start[0] or (start[1:] != end[:-1]).any():
        return ["clips overlap or leave frames out"]
    if wrong := rows["clip_id"][rows["n_valid"].to_numpy() != np.add.reduceat(valid, start, dtype=np.int64)].tolist():
        return [f"n_valid is not what valid/ holds for {', '.join(map(str, wrong[:5]))}"]
    return []
