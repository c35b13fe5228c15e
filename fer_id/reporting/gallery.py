"""Film strips of explained clips: frames, frames with attribution maps, and the importance of each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from fer_id.types import StoredClip

SIDE, GAP = 80, 3
_BARS = 34  # pixels of the row below the frames; three times an even share of the attribution fills it
_MOST_FRAMES = 12
_CELL, _INK = 56, 40  # of a confusion matrix: pixels of a cell, and the gray of its text
_GRAY, _PAPER, _BAR, _OCCLUDED = (150, 150, 150), 255, (0, 114, 178), (213, 94, 0)


class Shown(NamedTuple):
    """A clip of the gallery.

    Attributes:
        kind: heading of its part of the gallery.
        picture: (H, W, 3) RGB, uint8.
        title, note: captions; the note names subject and clip.
        rows: description of the picture's rows, where there is more than one map.
        right: True where the prediction is right; None without a label.
        provenance: provenance of the clip's own store.
        shareable: True where the picture may leave the machine.
    """

    kind: str
    picture: NDArray[np.uint8]
    title: str
    note: str
    rows: str
    right: bool | None
    provenance: str
    shareable: bool
    clip_id: str = ""
    subject_id: str = ""


def film_strip(
    kind: str,
    clip: StoredClip,
    maps: Mapping[str, NDArray[np.float32]],
    row: Mapping[str, Any],
    *,
    provenance: str,
    shareable: bool,
) -> Shown:
    """Return a clip of T frames for the gallery.

    ``maps`` of each method are (T, h, w), at least 0, that of the table first. ``row`` is that of the table of
    explanations: ``clip_id, subject_id, label, predicted, confidence, leakage, importance, occlusion, reason``.
    """
    label = row["label"] if isinstance(row["label"], str) else None
    leaked = row["leakage"] == row["leakage"]
    regions = f"leakage {row['leakage']:.2f}" if leaked else f"regions unknown: {row['reason']}"
    some = f" · {_MOST_FRAMES} of {len(clip.frames)} frames" if len(clip.frames) > _MOST_FRAMES else ""
    return Shown(
        kind,
        strip_picture(clip, list(maps.values()), row["importance"], row["occlusion"]),
        title=f"{row['predicted']} ({100 * row['confidence']:.0f} %), {f'labelled {label}' if label else 'no label'}",
        note=f"subject {row['subject_id']} · clip {row['clip_id']} · {regions}{some}",
        rows=f"from above: the frames, {', '.join(maps)}" if len(maps) > 1 else "",
        right=None if label is None else label == row["predicted"],
        provenance=provenance,
        shareable=shareable,
        clip_id=str(row["clip_id"]),
        subject_id=str(row["subject_id"]),
    )


def strip_picture(
    clip: StoredClip, maps: Sequence[NDArray[np.float32]], importance: list[float], occlusion: list[float]
) -> NDArray[np.uint8]:
    """Return a picture of three kinds of rows: the frames, each map over the frames, and for each frame its share of
    the clip's attribution (bar) and the fall of the logit without it (orange line, relative to the largest fall)."""
    count = len(clip.frames)
    chosen = np.linspace(0, count - 1, min(count, _MOST_FRAMES)).round().astype(int)
    height = (1 + len(maps)) * (SIDE + GAP) + (_BARS if count > 1 else 0)
    picture = np.full((height, len(chosen) * (SIDE + GAP), 3), _PAPER, np.uint8)
    tops = [max(float(values.max()), 1e-12) for values in maps]
    falls = np.nan_to_num(np.clip(np.array(occlusion, float), 0, None))
    for place, t in enumerate(chosen.tolist()):
        left = place * (SIDE + GAP)
        cell = slice(left, left + SIDE)
        frame = cv2.resize(clip.frames[t], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        seen = bool(clip.valid[t])
        picture[:SIDE, cell] = frame if seen else _GRAY
        for line, (values, top) in enumerate(zip(maps, tops, strict=True), start=1):
            upper = line * (SIDE + GAP)
            picture[upper : upper + SIDE, cell] = overlay(frame, values[t] / top) if seen else _GRAY
        if count > 1:
            floor, scale = height - 2, _BARS - 6
            bar = round(scale * min(1.0, np.nan_to_num(importance[t]) * count / 3))
            picture[floor - bar : floor, left + 6 : left + SIDE - 6] = _BAR
            fall = floor - round(scale * falls[t] / max(falls.max(), 1e-12))
            picture[fall - 1 : fall + 1, cell] = _OCCLUDED
    return picture


def overlay(frame: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Blend a map (h, w) in [0, 1] over a grayscale frame, in a perceptually uniform colour scale."""
    big = cv2.resize(heat.astype(np.float32), (len(frame),) * 2, interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colours = mpl.colormaps["inferno"](big)[..., :3] * 255
    alpha = 0.15 + 0.6 * big[..., None]
    return np.asarray((1 - alpha) * frame.mean(axis=2, keepdims=True) + alpha * colours, np.uint8)


def matrix_picture(counts: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.uint8]:
    """Return a confusion matrix (K, K) as an RGB picture, in a hundredth of the time of the figure of a report.

    True classes are in rows; the colour is a count's share of its row.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    colours = np.asarray(mpl.colormaps["Blues"](shares)[..., :3] * 255, np.uint8)
    picture = np.full((_CELL * (len(names) + 1), _CELL * (len(names) + 2), 3), _PAPER, np.uint8)
    picture[_CELL:, 2 * _CELL :] = colours.repeat(_CELL, axis=0).repeat(_CELL, axis=1)
    for k, name in enumerate(names):
        _write(picture, f"true {name}", 4, _CELL * (k + 1) + _CELL // 2, _INK)
        _write(picture, name[:8], _CELL * (k + 2) + 2, _CELL // 2, _INK)
    for (row, column), count in np.ndenumerate(counts):
        ink = _PAPER if shares[row, column] > 0.5 else _INK
        _write(picture, str(count), _CELL * (column + 2) + 6, _CELL * (row + 1) + _CELL // 2, ink)
    return picture


def _write(picture: NDArray[np.uint8], text: str, x: int, y: int, ink: int) -> None:
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (ink, ink, ink), 1, cv2.LINE_AA)


def png(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture as PNG."""
    _, content = cv2.imencode(".png", picture[..., ::-1])
    return content.tobytes()
