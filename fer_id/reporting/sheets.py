"""Contact sheets for visual checks: all clips of a subject on one picture, and frames with several faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.files import atomic_write_bytes
from fer_id.preprocessing.tracking import Box
from fer_id.types import CROP

Strip = tuple[str, NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]
"""Caption, frames (N, 64, 64, 3), landmarks (N, 68, 2), valid (N,)."""

_ZOOM = 2
_SIDE = CROP * _ZOOM
_GAP, _CAPTION = 4, 18
_MOST = 60  # maximum number of clips on a sheet; of more clips an evenly spaced selection
_MISSING, _POINT, _PAPER, _INK = (120, 120, 120), (80, 230, 90), (250, 250, 250), (40, 40, 40)
_FRAME_WIDTH = 960
_BLOCKS, _FACE_BLOCKS = 80, 5  # squares along the longer side of a frame, and of a face in it


def contact_sheet(strips: Sequence[Strip], title: str, path: Path) -> None:
    """Write a PNG, readable by its owner only: a row per clip, landmarks as dots, gray for frames without a face.

    The folder is created. There must be at least one frame in all ``strips``.
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
        for column, (frame, points, visible) in enumerate(zip(frames, landmarks, valid, strict=True)):
            left = _GAP + column * (_SIDE + _GAP)
            cell = sheet[top + _CAPTION : top + _CAPTION + _SIDE, left : left + _SIDE]
            cell[:] = _picture(frame, points) if visible else _MISSING
    _save(sheet, path)


def faces_sheet(
    image: NDArray[np.uint8], boxes: Sequence[Box], title: str, path: Path, *, child: int | None, followed: int | None
) -> None:
    """Write a PNG, readable by its owner only: a frame with numbered boxes on its faces, and their positions.

    The whole frame is pixelated, so that a face missed by the detector cannot be recognised; detected faces are coarser
    still. Only the child's own face is clear, once a person has identified it.

    ``image`` is uint8 (H, W, 3), RGB; ``boxes`` are left, top, right, bottom of each face, in shares of the picture.
    ``child`` is the index of the child's box, as identified by a person (None: not identified, or not visible);
    ``followed`` that of the tracked face (None: not visible).
    """
    height, width = round(_FRAME_WIDTH * image.shape[0] / image.shape[1]), _FRAME_WIDTH
    clear = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    frame = _coarse(clear, _BLOCKS)
    corners = [_corners(box, width, height) for box in boxes]
    for left, top, right, bottom in corners:
        frame[top:bottom, left:right] = _coarse(clear[top:bottom, left:right], _FACE_BLOCKS)
    if child is not None:
        left, top, right, bottom = corners[child]
        own = np.zeros(frame.shape[:2], np.bool_)
        own[top:bottom, left:right] = True
        for x0, y0, x1, y1 in (box for place, box in enumerate(corners) if place != child):
            own[y0:y1, x0:x1] = False  # another face that overlaps the child's stays coarse
        frame[own] = clear[own]
    lines = [title]
    for number, place in enumerate(sorted(range(len(boxes)), key=lambda place: boxes[place]), start=1):
        left, top, right, bottom = corners[place]
        cv2.rectangle(frame, (left, top), (right, bottom), _POINT if place == followed else _PAPER, 2)
        cv2.putText(frame, str(number), (left + 4, top + 20), cv2.FONT_HERSHEY_SIMPLEX, 0.7, _PAPER, 2)
        x, y = (boxes[place][0] + boxes[place][2]) / 2, (boxes[place][1] + boxes[place][3]) / 2
        word = ", the child's" if place == child else ", followed" if place == followed else ""
        lines.append(f"{number}: x {min(max(x, 0), 1):.3f}, y {min(max(y, 0), 1):.3f}{word}")
    header = np.full((_CAPTION * len(lines) + 8, width, 3), _PAPER, np.uint8)
    for row, line in enumerate(lines):
        _write(header, line, (_GAP, 14 + row * _CAPTION))
    _save(np.concatenate([header, frame]), path)


def _corners(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Return a box in pixels, enlarged by a quarter on each side, since the mesh ends at the hairline."""
    size = np.array([width, height])
    first, last = np.reshape(box, (2, 2))
    margin = (last - first) / 4
    left, top = np.clip((first - margin) * size, 0, size).astype(int).tolist()
    right, bottom = np.clip((last + margin) * size, 0, size).astype(int).tolist()
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _coarse(image: NDArray[np.uint8], blocks: int) -> NDArray[np.uint8]:
    """Pixelate an image into ``blocks`` squares along its longer side."""
    height, width = image.shape[:2]
    side = max(height, width) / blocks
    small = cv2.resize(image, (max(1, round(width / side)), max(1, round(height / side))), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _save(sheet: NDArray[np.uint8], path: Path) -> None:
    atomic_write_bytes(path, cv2.imencode(".png", sheet[..., ::-1])[1].tobytes(), mode=0o600)


def _picture(frame: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.uint8]:
    big = cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    known = points[np.isfinite(points).all(axis=1)]
    for x, y in ((known + 0.5) * _ZOOM - 0.5).round().astype(int):
        cv2.circle(big, (int(x), int(y)), 1, _POINT, -1)
    return np.asarray(big, np.uint8)


def _write(sheet: NDArray[np.uint8], text: str, at: tuple[int, int]) -> None:
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
