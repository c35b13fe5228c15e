"""Contact sheets: every clip of a subject on one picture; a person sees in seconds whether alignment is right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.files import atomic_write_bytes
from fer_id.types import CROP

Strip = tuple[str, NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]
"""Caption, frames (N, 64, 64, 3), landmarks (N, 68, 2), valid (N,)."""

_ZOOM = 2
_SIDE = CROP * _ZOOM
_GAP, _CAPTION = 4, 18
_MOST = 60  # clips on one sheet; of more as many are shown, evenly spaced
_MISSING, _POINT, _PAPER, _INK = (120, 120, 120), (80, 230, 90), 250, (40, 40, 40)


def contact_sheet(strips: Sequence[Strip], title: str, path: Path) -> None:
    """Writes a PNG, readable by its owner only: a row per clip, landmarks as dots, gray where there is no face.

    Args:
        strips: the clips, with at least one frame in all.
        title: above them.
        path: its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    chosen = np.unique(np.linspace(0, len(strips) - 1, min(_MOST, len(strips))).round().astype(int))
    across = max(len(strips[number][1]) for number in chosen)
    height, width = _CAPTION + 8 + len(chosen) * (_SIDE + _CAPTION + _GAP), across * (_SIDE + _GAP) + _GAP
    sheet = np.full((height, max(width, 480), 3), _PAPER, np.uint8)
    _write(sheet, title + ("" if len(chosen) == len(strips) else f" ({len(chosen)} shown)"), (_GAP, 14))
    for row, number in enumerate(chosen):
        caption, frames, landmarks, valid = strips[number]
        top = _CAPTION + 8 + row * (_SIDE + _CAPTION + _GAP)
        _write(sheet, caption, (_GAP, top + 12))
        for column, (frame, points, found) in enumerate(zip(frames, landmarks, valid, strict=True)):
            left = _GAP + column * (_SIDE + _GAP)
            cell = sheet[top + _CAPTION : top + _CAPTION + _SIDE, left : left + _SIDE]
            cell[:] = _picture(frame, points) if found else _MISSING
    done, content = cv2.imencode(".png", sheet[..., ::-1])
    if done:
        path.touch(mode=0o600)
        atomic_write_bytes(path, content.tobytes())


def _picture(frame: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.uint8]:
    big = cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    for x, y in ((points + 0.5) * _ZOOM - 0.5).round().astype(int):
        cv2.circle(big, (int(x), int(y)), 1, _POINT, -1)
    return np.asarray(big, np.uint8)


def _write(sheet: NDArray[np.uint8], text: str, at: tuple[int, int]) -> None:
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
