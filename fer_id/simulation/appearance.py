"""Inner faces in one shape: what a hand, glasses, a beard or hard light make of a face is far from other faces.

The pictures are warped to the mean neutral shape. A low-rank model of the training faces (principal components, fitted
again without the worst tenth) reconstructs the usual ones; the error is large where something lies on a face.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.simulation.neutral_shape import Shapes
from fer_id.simulation.warping import backward_maps, folded, remap

SIDE = 32  # pixels of a normalised face
COMPONENTS = 40  # number of principal components: expressions, ages and light, but no single pair of glasses
TRIMMED = 0.1  # share of the training faces, those fitted worst, without which the model is fitted again
CHUNK = 256  # pictures warped at once: 8 MB of maps


class Normalised(NamedTuple):
    """Faces in one shape, (N, P) pixels of the inner face with mean 0 and standard deviation 1; the lit side of each,
    (N,): right minus left half, in standard deviations; and the share of each that folds over on the way, (N,)."""

    faces: NDArray[np.float32]
    lit: NDArray[np.float32]
    folded: NDArray[np.float64]


def normalise(
    pictures: Iterable[NDArray[np.uint8]], points: Shapes, shape: Shapes, mask: NDArray[np.float32]
) -> Normalised:
    """Warp pictures (64, 64, 3) with landmarks ``points`` (N, 68, 2) to one ``shape`` (68, 2), and standardise them.

    ``mask`` (64, 64, 1) is the inner face of the shape.
    """
    inner = cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 0.5
    right = (np.mgrid[:SIDE, :SIDE][1] >= SIDE / 2)[inner]
    faces, folds, remaining = [], [], iter(pictures)
    for start in range(0, len(points), CHUNK):
        maps = backward_maps(points[start : start + CHUNK], shape[None])[:, 0]
        folds.append(folded(maps))
        for where in maps:
            gray = next(remaining).astype(np.float32).mean(axis=2, keepdims=True)
            small = cv2.resize(remap(gray, where), (SIDE, SIDE), interpolation=cv2.INTER_AREA)[inner]
            faces.append((small - small.mean()) / max(float(small.std()), 1.0))
    whole = np.stack(faces)
    return Normalised(whole, whole[:, right].mean(axis=1) - whole[:, ~right].mean(axis=1), np.concatenate(folds))


def residuals(faces: NDArray[np.float32], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the root mean square error (N,) of each face (N, P) under a low-rank model.

    The model is learned from the faces by their ``weight`` (N,): 0 for none, and more where a class is rare.
    """
    missed = np.zeros(len(faces))
    for _ in range(2):
        share = (weight * (missed <= np.quantile(missed[weight > 0], 1 - TRIMMED))).astype(np.float32)
        share /= share.sum()
        mean = share @ faces
        spread = np.sqrt(share)[:, None] * (faces - mean)
        basis = np.linalg.eigh((spread.T @ spread).astype(np.float64))[1][:, -COMPONENTS:].astype(np.float32)
        rest = (faces - mean) - ((faces - mean) @ basis) @ basis.T
        missed = np.sqrt(np.square(rest).mean(axis=1)).astype(np.float64)
    return missed
