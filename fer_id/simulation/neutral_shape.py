"""What a face would look like at rest: a shape model of a benchmark's own neutral faces.

A face's neutral shape is the likeliest one whose still parts (temples, bridge of the nose, eye corners) lie where the
face has them. Identity and pose move those parts and are kept; expression moves the others, and is what is left:
``shape - neutral_of(shape)`` is the expression's displacement.

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

With the base of the nose and more of the jaw, which do move, two thirds of a smile's width stayed in the face at rest
(FER+: mouths 21.2 pixels wide where neutral ones have 18.3); with these 18.2 do."""

COMPONENTS = 12
"""Principal components: identity and pose."""

EYE_DISTANCE = EYES_64[1][0] - EYES_64[0][0]
"""Between the eye centres of an aligned crop, pixels: the unit in which errors and motion are told."""


@dataclass(frozen=True)
class NeutralShapes:
    """Fitted by :meth:`fit`; speaks of aligned crops, whose eyes are at ``EYES_64``.

    Attributes:
        mean: (136,) the mean neutral shape.
        components: (k, 136), orthonormal.
        solver: (k, 2 S) from the places of the still points to the components.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    solver: NDArray[np.float64]

    @classmethod
    def fit(cls, shapes: Shapes, components: int = COMPONENTS) -> NeutralShapes:
        """From neutral faces (N, 68, 2) of any size and place.

        Raises:
            DataError: fewer than four faces per component.
        """
        if len(shapes) < 4 * components:
            raise DataError(
                f"{len(shapes)} neutral faces with landmarks, expected at least {4 * components} to learn from"
            )
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
        """Faces (..., 68, 2) of aligned crops -> the same faces at rest (..., 68, 2)."""
        still = _coordinates(STILL_POINTS)
        flat = shapes.reshape(*shapes.shape[:-2], -1) - self.mean
        rest: Shapes = (self.mean + flat[..., still] @ self.solver.T @ self.components).reshape(shapes.shape)
        return rest

    def misfit(self, shapes: Shapes) -> NDArray[np.float64]:
        """How far the still points of faces (..., 68, 2) lie from any neutral face's (...,), root mean square in eye
        distances: profiles, hands before the face and wrong landmarks stand out."""
        points = list(STILL_POINTS)
        off = np.linalg.norm((shapes - self.neutral_of(shapes))[..., points, :], axis=-1)
        found: NDArray[np.float64] = np.sqrt((off**2).mean(axis=-1)) / EYE_DISTANCE
        return found


def to_crop(shape: NDArray[np.floating]) -> Shapes:
    """A face (68, 2) turned, scaled and moved until its eyes are where those of an aligned crop are."""
    return move_points(eye_similarity(shape), shape).astype(np.float64)


def turned(shapes: Shapes) -> NDArray[np.float64]:
    """How far faces (..., 68, 2) of aligned crops look aside (...,): the tip of the nose beside the middle of the eye
    corners, in eye distances; about 0.55 times the sine of the angle, above 0 to the right of the picture."""
    middle = shapes[..., [36, 39, 42, 45], 0].mean(axis=-1)
    found: NDArray[np.float64] = (shapes[..., 30, 0] - middle) / EYE_DISTANCE
    return found


def _coordinates(points: tuple[int, ...]) -> NDArray[np.int64]:
    """Places of x and y of those points in a flattened shape (136,)."""
    return (2 * np.array(points)[:, None] + np.arange(2)).ravel()
