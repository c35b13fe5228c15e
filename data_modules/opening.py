"""Opening of a data module's stores: checks of geometry, label space, and children under two names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fer_id.errors import DataError, FerIdError, LeakageError, Problems, StoreError
from fer_id.evaluation.config import Fold
from fer_id.labels import LabelSpace
from fer_id.store.reader import ClipStore


def open_stores(paths: Sequence[str]) -> list[ClipStore]:
    """Open the stores and check that their crops have the same geometry.

    Raises:
        StoreError: names each store that cannot be opened, or two with different eye positions.
    """
    stores, refusals = list[ClipStore](), list[FerIdError]()
    for path in paths:
        try:
            stores.append(ClipStore.open(path))
        except FerIdError as problem:
            refusals.append(problem)
    if len(refusals) > 1:
        raise StoreError("\n".join(map(str, refusals)))
    if refusals:
        raise refusals[0]
    _check_geometry(stores)
    return stores


def common_space(stores: Sequence[ClipStore]) -> LabelSpace:
    """Return the label space of all stores; raise DataError where they have several."""
    if len(spaces := {store.card.label_space for store in stores}) > 1:
        listed = ", ".join(sorted(spaces))
        raise DataError(f"the stores have the label spaces {listed}; choose one with data.label_space=")
    return stores[0].labels


def check_alike(stores: Sequence[ClipStore], clips: pd.DataFrame, folds: Sequence[Fold]) -> None:
    """Check that no fold trains on one name and tests on another name of what may be one child.

    Raises:
        LeakageError: two subjects with identical or near-identical pictures are separated.
    """
    pairs = {
        tuple(pair.split(" & ")): n for store in stores for pair, n in (store.card.audit.get("alike") or {}).items()
    }
    subjects, problems = clips["subject_id"].astype(str), Problems("subjects that may be one child under two names")
    for (first, second), count in pairs.items():
        for fold in folds:
            tested = set(subjects.iloc[fold.test])
            others = np.setdiff1d(fold.train, fold.own)
            trained = set(subjects.iloc[np.concatenate([others, fold.validation])])
            if {first, second} & tested and {first, second} & trained:
                problems.add(f"{first} and {second} share {count} pictures; fold {fold.name} separates them")
                break
    problems.raise_if_any(
        LeakageError,
        "Look at their contact sheets. Give them one subject_id and prepare again, or, if they are two children, say "
        "data.drop_duplicates=false.",
    )


def _check_geometry(stores: Sequence[ClipStore]) -> None:
    """Check that all pooled stores have the eyes in the same place; colour may differ, as gray is stored as RGB."""
    first = stores[0].card.geometry.get("eyes")
    for store in stores[1:]:
        if (eyes := store.card.geometry.get("eyes")) != first:
            raise StoreError(
                f"{store.path} has its eyes at {eyes or 'published places'}, {stores[0].path} at "
                f"{first or 'published places'}: prepare both with the same alignment (data.landmarks=mediapipe)"
            )
