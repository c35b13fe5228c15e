"""Image warping by landmarks: backward maps from thin-plate splines.

A backward map gives the source position of each pixel of the new picture, so there are no holes. Anchor points outside
the picture stay, and so does the background. Pixels are read by linear interpolation, which does not ring.

Bookstein, F. L. (1989), Principal warps: thin-plate splines and the decomposition of deformations, IEEE PAMI 11(6).
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.types import CROP

Maps = NDArray[np.float32]
Points = NDArray[np.float64]

GRID = 16  # number of nodes along a side at which the spline is evaluated; linear interpolation between them
STIFFNESS = 2e-5  # smoothing, which keeps points that move onto each other (lips) from tearing the picture
FOLD = 0.05  # share of its area below which a shrunk part of the picture counts as folded

_SIDE = (np.arange(GRID) + 0.5) / GRID - 0.5 / CROP
_NODES = np.stack(np.meshgrid(_SIDE, _SIDE), axis=-1).reshape(-1, 2)  # unit: side of the picture
_AFFINE = np.concatenate([np.ones((GRID * GRID, 1)), _NODES], axis=1)
_PIXELS = np.stack(np.meshgrid(np.arange(CROP), np.arange(CROP)), axis=-1).astype(np.float32)
_EDGE = np.linspace(-12.0, CROP + 11.0, 5)
ANCHORS: Points = np.array([(x, y) for x in _EDGE for y in _EDGE if not (-12 < x < CROP + 11 and -12 < y < CROP + 11)])
"""Sixteen fixed points outside the picture."""


def backward_maps(sources: Points, targets: Points) -> Maps:
    """Compute the backward maps of T new pictures from S source pictures; a second source costs little.

    ``sources`` (S, P, 2) and ``targets`` (T, P, 2) are the positions of P points in the pictures, pixels. Returns
    float32 (S, T, 64, 64, 2): x, y in the source picture, for ``cv2.remap``.
    """
    maps = np.empty((len(sources), len(targets), CROP, CROP, 2), np.float32)
    for frame, shifts in enumerate(_shifts(sources, targets)):
        for source, shift in enumerate(shifts.reshape(GRID, GRID, -1, 2).transpose(2, 0, 1, 3)):
            wide = cv2.resize(shift.astype(np.float32), (CROP, CROP), interpolation=cv2.INTER_LINEAR)
            np.add(_PIXELS, wide, out=maps[source, frame])
    return maps


def remap(picture: NDArray[np.float32], where: Maps) -> NDArray[np.float32]:
    """Return a picture (H, W, C) as a backward map (64, 64, 2) shows it, (64, 64, C)."""
    seen = cv2.remap(picture, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(seen, np.float32).reshape(CROP, CROP, -1)


def folded(maps: Maps) -> NDArray[np.float64]:
    """Compute the share of each picture that is folded over itself, (T, 64, 64, 2) -> (T,).

    A fold is where the map's orientation reverses, or nearly. A closing mouth is no fold: there the backward map
    stretches without reversing.
    """
    corner = maps[:, :-1, :-1]
    down, right = maps[:, 1:, :-1] - corner, maps[:, :-1, 1:] - corner
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    return np.asarray((area < FOLD).mean(axis=(1, 2)))


def _shifts(sources: Points, targets: Points) -> Iterator[NDArray[np.float64]]:
    """Yield, for each new picture, the shifts of the nodes to the sources: (GRID * GRID, 2 S), x and y by source.

    The costly linear system of the knots depends on the targets alone. One picture at a time fits into the
    processor's cache.
    """
    for target in targets / CROP:
        knots = np.concatenate([target, ANCHORS / CROP])
        count, points = len(knots), len(target)
        system = np.zeros((count + 3, count + 3))
        system[:count, :count] = _bend(knots, knots) + STIFFNESS * np.eye(count)
        system[:count, count], system[:count, count + 1 :] = 1.0, knots
        system[count:, :count] = system[:count, count:].T
        shift = np.zeros((count + 3, 2 * len(sources)))
        shift[:points] = (sources / CROP - target).transpose(1, 0, 2).reshape(points, -1)
        weights = np.linalg.solve(system, shift)
        yield (_bend(_NODES, knots) @ weights[:count] + _AFFINE @ weights[count:]) * CROP


def _bend(at: Points, knots: Points) -> NDArray[np.float64]:
    """Compute r^2 log r^2 between points (M, 2) and knots (N, 2), (M, N)."""
    square: NDArray[np.float64] = (at**2).sum(axis=1)[:, None] + (knots**2).sum(axis=1)
    square -= 2 * at @ knots.T
    np.maximum(square, 1e-12, out=square)
    # A logarithm in single precision takes a quarter of the time; of r^2 itself every digit is needed.
    square *= np.log(square.astype(np.float32))
    return square
