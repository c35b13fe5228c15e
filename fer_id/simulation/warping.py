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
_PIXELS = np.stack(np.meshgrid(np.arange(CROP), np.arange(CROP)), axis=-1).astype(np.float32)
_EDGE = np.linspace(-12.0, CROP + 11.0, 5)
ANCHORS: Points = np.array([(x, y) for x in _EDGE for y in _EDGE if not (-12 < x < CROP + 11 and -12 < y < CROP + 11)])
"""Sixteen fixed points outside the picture."""
_STAYING = ANCHORS / CROP


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

    The costly linear system of the points depends on the targets alone; the anchors and the affine part are eliminated
    from it, as they are the same in all. One picture at a time fits into the processor's cache.
    """
    for target in targets / CROP:
        points = len(target)
        bent = _bend(np.concatenate([_NODES, _STAYING, target]), target)
        nodes, anchors, system = np.split(bent, [len(_NODES), len(_NODES) + len(_STAYING)])
        stays = np.concatenate([anchors, _affine(target).T])
        system -= stays.T @ _STAY @ stays
        system[np.diag_indices(points)] += STIFFNESS
        shift = (sources / CROP - target).transpose(1, 0, 2).reshape(points, -1)
        weights = np.linalg.solve(system, shift)
        yield (nodes @ weights - _NODES_STAY @ (stays @ weights)) * CROP


def _affine(at: Points) -> Points:
    return np.concatenate([np.ones((len(at), 1)), at], axis=1)


def _bend(at: Points, knots: Points) -> NDArray[np.float64]:
    """Compute r^2 log r^2 between points (M, 2) and knots (N, 2), (M, N)."""
    lengths = [np.square(points).sum(axis=1, keepdims=True) for points in (at, knots)]
    ones = [np.ones_like(length) for length in lengths]
    square: NDArray[np.float64] = np.hstack([at * -2, lengths[0], ones[0]]) @ np.hstack([knots, ones[1], lengths[1]]).T
    np.maximum(square, 1e-12, out=square)
    # A logarithm in single precision takes little of the time of a double's; of r^2 itself every digit is needed.
    square *= cv2.log(square.astype(np.float32))
    return square


def _staying() -> NDArray[np.float64]:
    """Return the inverse (19, 19) of the spline's system of the anchors alone."""
    affine = _affine(_STAYING)
    bent = _bend(_STAYING, _STAYING) + STIFFNESS * np.eye(len(_STAYING))
    return np.linalg.inv(np.block([[bent, affine], [affine.T, np.zeros((3, 3))]]))


_STAY = _staying()
_NODES_STAY = np.hstack([_bend(_NODES, _STAYING), _affine(_NODES)]) @ _STAY
