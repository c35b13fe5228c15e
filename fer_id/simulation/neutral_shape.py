"""Shape model of a benchmark's neutral faces, which estimates the landmarks of a face at rest.

A face's neutral shape is the likeliest one given the positions of its still parts (temples, bridge of the nose, eye
corners). Identity and pose move these parts and are preserved; expression moves the others:
``shape - neutral_of(shape)`` is the displacement by the expression.

The model is linear-Gaussian (Cootes et al., 1995, Active Shape Models, with the prior of probabilistic PCA, Tipping &
Bishop, 1999).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_id.errors import DataError
from fer_id.preprocessing.alignment import EYES_64, eye_similarity, move_points

Shapes = NDArray[np.float64]

STILL_POINTS = (0, 1, 15, 16, 27, 28, 29, 30, 36, 39, 42, 45)
"""Points that expression moves least: temples, bridge of the nose, eye corners.

With the base of the nose and more of the jaw, which do move, two thirds of a smile's width remain in the face at rest
(FER+: mouths 21.2 pixels wide, of neutral faces 18.3); with these points the width is 18.2."""

COMPONENTS = 12  # number of principal components, which model identity and pose

EYE_DISTANCE = EYES_64[1][0] - EYES_64[0][0]
"""Distance of the eye centres of an aligned crop, pixels: the unit of errors and motion."""


@dataclass(frozen=True)
class NeutralShapes:
    """Shape model of neutral faces in aligned crops, whose eyes are at ``EYES_64``; see :meth:`fit`."""

    mean: NDArray[np.float64]  # (136,) the mean neutral shape
    components: NDArray[np.float64]  # (k, 136), orthonormal
    solver: NDArray[np.float64]  # (k, 2 S) maps the positions of the S still points to component scores

    @classmethod
    def fit(cls, shapes: Shapes, components: int = COMPONENTS) -> NeutralShapes:
        """Fit the model to neutral faces (N, 68, 2) of any size and position.

        DataError: fewer than four faces per component.
        """
        if len(shapes) < 4 * components:
            least = 4 * components
            raise DataError(f"{len(shapes)} neutral faces with landmarks, expected at least {least} to learn from")
        flat = np.stack([to_crop(shape) for shape in shapes]).reshape(len(shapes), -1)
        mean = flat.mean(axis=0)
        _, singular, directions = np.linalg.svd(flat - mean, full_matrices=False)
        basis, variance = directions[:components], singular[:components] ** 2 / (len(flat) - 1)
        still = _coordinates(STILL_POINTS)
        missed = (flat - mean) - (flat - mean) @ basis.T @ basis
        noise = float((missed[:, still] ** 2).mean())
        seen = basis[:, still]
        solver = np.linalg.solve(seen @ seen.T / noise + np.diag(1 / variance), seen / noise)
        return cls(mean, basis, solver)

    def neutral_of(self, shapes: Shapes) -> Shapes:
        """Estimate faces at rest from faces of aligned crops, (..., 68, 2) -> (..., 68, 2)."""
        still = _coordinates(STILL_POINTS)
        flat = shapes.reshape(*shapes.shape[:-2], -1) - self.mean
        return (self.mean + flat[..., still] @ self.solver.T @ self.components).reshape(shapes.shape)

    def misfit(self, shapes: Shapes) -> NDArray[np.float64]:
        """Return the root mean square distance of the still points from a neutral face's, (..., 68, 2) -> (...,), in
        eye distances: large for profiles, hands before the face and wrong landmarks."""
        off = np.linalg.norm((shapes - self.neutral_of(shapes))[..., list(STILL_POINTS), :], axis=-1)
        return np.asarray(np.sqrt((off**2).mean(axis=-1)) / EYE_DISTANCE)


def to_crop(shape: NDArray[np.floating]) -> Shapes:
    """Rotate, scale and shift a face (68, 2) so that its eyes are at ``EYES_64``."""
    return move_points(eye_similarity(shape), shape).astype(np.float64)


def turned(shapes: Shapes) -> NDArray[np.float64]:
    """Return the offset of the nose tip from the middle of the eye corners, (..., 68, 2) -> (...,), in eye distances:
    about 0.55 times the sine of the yaw, positive to the right of the picture."""
    middle = shapes[..., [36, 39, 42, 45], 0].mean(axis=-1)
    return np.asarray((shapes[..., 30, 0] - middle) / EYE_DISTANCE)


def _coordinates(points: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the indices of x and y of ``points`` in a flattened shape (136,)."""
    return (2 * np.array(points)[:, None] + np.arange(2)).ravel()
