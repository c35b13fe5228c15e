"""Exclusion of the stills that judged clips were simulated from, so that no encoder learns them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.errors import LeakageError, StoreError
from fer_id.evaluation.config import Fold
from fer_id.store.reader import ClipStore

OF_JUDGED_CLIPS = "stills of clips that are judged (data.excluding)"
OF_TEST_CLIPS = "validation stills of clips that are tested (data.excluding)"


def without_sources(clips: pd.DataFrame, folds: Sequence[Fold], simulated: ClipStore, source: ClipStore) -> list[Fold]:
    """Return the folds of a store of stills without those that another store's judged clips were simulated from.

    Training loses the stills of its inner validation and test, inner validation those of its test, each with its group
    of near-identical pictures; the numbers are in ``dropped``. Raise StoreError where ``simulated`` was not made of
    ``source``.
    """
    if simulated.card.settings.from_fingerprint != source.fingerprint:
        raise StoreError(
            f"data.excluding={simulated.path} was not simulated from {source.path} as it is now: its stills cannot be "
            "matched by name. Say the store that the stills come from, or simulate again"
        )
    validation, test = (_stills(simulated, split) for split in ("validation", "test"))
    judged, tested = _groups(clips, validation | test), _groups(clips, test)
    made = []
    for fold in folds:
        lost = {OF_JUDGED_CLIPS: judged[fold.train], OF_TEST_CLIPS: tested[fold.validation]}
        counts = {reason: int(mask.sum()) for reason, mask in lost.items() if mask.any()}
        train, inner = fold.train[~judged[fold.train]], fold.validation[~tested[fold.validation]]
        made.append(replace(fold, train=train, validation=inner, dropped=fold.dropped | counts))
    return made


def judged_stills(simulated: ClipStore) -> str:
    """Return a fingerprint of the names of all stills that validation and test clips were simulated from."""
    names = sorted({(split, name) for split in ("validation", "test") for name in _stills(simulated, split)})
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def require_left_out(simulated: ClipStore, excluded: ClipStore, recorded: str | None, run: str) -> None:
    """Raise LeakageError unless a run left out every still that judged clips of ``simulated`` were made of.

    ``recorded`` is the fingerprint in the run's record (``job.store.left_out``); ``excluded`` is the simulated store of
    which the run left out the stills.
    """
    if recorded is None or judged_stills(excluded) != recorded:
        raise LeakageError(
            f"{run} did not leave out the stills that judged clips of {excluded.path} were made of, or the store was "
            f"made again since: train the encoder with data.excluding={excluded.path}, as fer-id benchmark does"
        )
    left_out = {name for split in ("validation", "test") for name in _stills(excluded, split)}
    judged = {name for split in ("validation", "test") for name in _stills(simulated, split)}
    if learned := sorted(judged - left_out):
        raise LeakageError(
            f"{run} may have learned from {len(learned)} stills that judged clips of {simulated.path} are made of "
            f"({', '.join(learned[:3])}{', ...' if len(learned) > 3 else ''}), which are none of {excluded.path}"
        )


def _stills(simulated: ClipStore, split: str) -> set[str]:
    """Return the names of the stills that the clips of a split were made of; of a store that does not list them, the
    expressive ones, which name each clip's video."""
    listed = simulated.card.settings.stills
    if listed is not None:
        return set(listed.get(split, ()))
    return set(simulated.clips.loc[simulated.clips["split"] == split, "video_id"].astype(str))


def _groups(clips: pd.DataFrame, names: set[str]) -> NDArray[np.bool_]:
    """Return a mask (N,) of the clips in the groups of near-identical pictures of the named ones."""
    groups = set(clips.loc[clips["clip_id"].isin(names), "subject_id"])
    return clips["subject_id"].isin(groups).to_numpy()
