"""Moves a picture with its landmarks: thin-plate splines from where points are to where they come from.

The map goes backwards (each pixel of the new picture asks where it comes from), so there are no holes; points outside
the picture stay, so its background does; and pixels are read by linear interpolation, which does not ring.

Bookstein, F. L. (1989), Principal warps: thin-plate splines and the decomposition of deformations, IEEE PAMI 11(6).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.types import CROP

Maps = NDArray[np.float32]
Points = NDArray[np.float64]

GRID = 16
"""Nodes along a side at which the spline is evaluated; between them it is interpolated (linearly)."""

STIFFNESS = 2e-5
"""Smoothing: points that close on each other (lips) pull against one another instead of tearing the picture."""

FOLD = 0.05
"""A part of the picture shrunk to less than this share of its area counts as folded."""

_NODES = (np.arange(GRID) + 0.5) * CROP / GRID - 0.5
_GRID = np.stack(np.meshgrid(_NODES, _NODES), axis=-1).reshape(-1, 2)
_PIXELS = np.stack(np.meshgrid(np.arange(CROP), np.arange(CROP)), axis=-1).astype(np.float32)
_EDGE = np.linspace(-12.0, CROP + 11.0, 5)
ANCHORS: Points = np.array([(x, y) for x in _EDGE for y in _EDGE if not (-12 < x < CROP + 11 and -12 < y < CROP + 11)])
"""Sixteen points outside the picture that never move."""


def backward_maps(sources: Points, targets: Points) -> Maps:
    """For pictures in which points have moved, where each pixel comes from.

    Args:
        sources: (S, P, 2) the points in each of the pictures at hand, pixels; a second one costs little.
        targets: (T, P, 2) where they are in each of T new pictures.

    Returns:
        float32 (S, T, 64, 64, 2): x, y in the picture at hand, for ``cv2.remap``.
    """
    maps = np.empty((len(sources), len(targets), CROP, CROP, 2), np.float32)
    for frame, shifts in enumerate(_shifts(sources, targets)):
        for source, shift in enumerate(shifts.reshape(GRID, GRID, -1, 2).transpose(2, 0, 1, 3)):
            wide = cv2.resize(shift.astype(np.float32), (CROP, CROP), interpolation=cv2.INTER_LINEAR)
            np.add(_PIXELS, wide, out=maps[source, frame])
    return maps


def folded(maps: Maps) -> NDArray[np.float64]:
    """Share of each picture that is folded over itself, where the map turns round, or nearly: (T, 64, 64, 2) -> (T,).

    A closing mouth shrinks to nothing and is no fold: the backward map there stretches, it does not turn round.
    """
    down, right = np.diff(maps, axis=1)[:, :, :-1], np.diff(maps, axis=2)[:, :-1]
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    share: NDArray[np.float64] = (area < FOLD).mean(axis=(1, 2))
    return share


def _shifts(sources: Points, targets: Points) -> NDArray[np.float64]:
    """At each node, from a new picture back to those at hand: (T, GRID * GRID, 2 S), x and y of each.

    What is costly, the system of the knots, depends on the targets alone.
    """
    frames = len(targets)
    anchors = np.broadcast_to(ANCHORS, (frames, *ANCHORS.shape))
    knots = np.concatenate([targets, anchors], axis=1) / CROP
    count, points = knots.shape[1], targets.shape[1]
    moves = np.zeros((frames, count, 2 * len(sources)))
    moves[:, :points] = ((sources[None] - targets[:, None]) / CROP).transpose(0, 2, 1, 3).reshape(frames, points, -1)
    affine = np.concatenate([np.ones((frames, count, 1)), knots], axis=2)
    system = np.zeros((frames, count + 3, count + 3))
    system[:, :count, :count] = _bend(knots, knots) + STIFFNESS * np.eye(count)
    system[:, :count, count:] = affine
    system[:, count:, :count] = affine.transpose(0, 2, 1)
    wanted = np.concatenate([moves, np.zeros((frames, 3, moves.shape[2]))], axis=1)
    weights = np.linalg.solve(system, wanted)
    nodes = np.broadcast_to(_GRID / CROP, (frames, *_GRID.shape))
    flat = np.concatenate([np.ones((frames, len(_GRID), 1)), nodes], axis=2)
    shift: NDArray[np.float64] = (_bend(nodes, knots) @ weights[:, :count] + flat @ weights[:, count:]) * CROP
    return shift


def _bend(at: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """r^2 log r^2 between points (T, M, 2) and knots (T, N, 2): (T, M, N)."""
    square = (
        (at**2).sum(axis=2)[:, :, None] + (knots**2).sum(axis=2)[:, None, :] - 2 * at @ knots.transpose(0, 2, 1)
    ).clip(min=1e-12)
    bend: NDArray[np.float64] = square * np.log(square)
    return bend
