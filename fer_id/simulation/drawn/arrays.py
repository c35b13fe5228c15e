"""Fast constructors of small arrays for the inner loops of drawing; numpy's own take ten times as long."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def columns(*values: Array) -> Array:
    """Stack arrays (N,) as the columns of one (N, D), like ``np.stack(values, axis=1)``."""
    return np.array(values).T


@lru_cache(maxsize=64)
def even(start: float, stop: float, count: int) -> Array:
    """Return ``np.linspace``, cached and read-only."""
    values = np.linspace(start, stop, count)
    values.flags.writeable = False
    return values


def at_depth(points: Array, z: float) -> Array:
    """Place flat points at one depth of the head, (N, 2) -> (N, 3)."""
    placed = np.full((len(points), 3), z)
    placed[:, :2] = points
    return placed
