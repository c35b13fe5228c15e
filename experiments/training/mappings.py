"""Check that landmarks come from one mapping of MediaPipe's mesh: an error for a model of landmarks, else a note."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from itertools import chain

from fer_id.errors import DataError
from fer_id.progress import say

FIRST_MAPPING = "mesh-1"
"""Mapping of runs and bundles whose record names none; drawn landmarks come from no mesh."""


def mappings_of(recorded: list[str] | None, *, drawn: bool) -> list[str]:
    """Return the mappings that a run or bundle learned from: those that its record names, None in an older version;
    ``drawn``: its landmarks were drawn."""
    if recorded is not None:
        return recorded
    return [] if drawn else [FIRST_MAPPING]


def require_one_mapping(mappings: Mapping[str, Sequence[str]], *, landmarks: bool) -> None:
    """Refuse landmarks of two mappings in one model; warn once where the model does not take landmarks.

    Args:
        mappings: name of each store, run or video -> the mappings that gave its landmarks.
        landmarks: whether landmarks are an input of the model.

    Raises:
        DataError: two mappings, and the model takes landmarks.
    """
    if len(set(chain.from_iterable(mappings.values()))) < 2:
        return
    listed = ", ".join(f"{name} ({' and '.join(versions)})" for name, versions in mappings.items() if versions)
    differ = f"landmarks of different mappings from MediaPipe's mesh: {listed}"
    if landmarks:
        raise DataError(
            f"{differ}. Landmarks are an input of this model (model.landmarks): prepare the stores of the older "
            "mapping again, and train on them again, or choose a model without landmarks"
        )
    _warn(f"note: {differ}; this model does not take them")


@functools.cache
def _warn(sentence: str) -> None:
    say(sentence)
