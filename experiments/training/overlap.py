"""Clips of a store that a trained model may be judged on: none of a child or a picture that it learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.base import FerDataModule
from data_modules.pool import holds_images, made_of
from experiments.training.parents import require_left_out_stills
from experiments.training.setup import open_run_data
from fer_id.errors import DataError, FerIdError, LeakageError, cut
from fer_id.evaluation.config import Rows
from fer_id.evaluation.duplicates import find_duplicates, fingerprint
from fer_id.evaluation.protocol import NOT_JUDGED, without_truth
from fer_id.evaluation.scores import Bools
from fer_id.labels import map_labels
from fer_id.reporting.audit import reasons_words
from fer_id.runs.ancestry import recorded_ancestry, recorded_folder
from fer_id.runs.run_dir import RunDir

OTHER_PART = "not in the published test split"
CHILD, PICTURE = "child that the model learned from", "picture that the model learned from"


class JudgedRows(NamedTuple):
    """Rows of a store to be judged on, the numbers of clips left out by reason, and sentences on the overlap."""

    rows: Rows
    dropped: dict[str, int]
    notes: list[str]


class Learned(NamedTuple):
    """Clips that a run and the runs it started from learned from, as far as they can be opened: their data modules with
    the rows of training and inner validation; and sentences on what cannot."""

    clips: list[tuple[FerDataModule, Rows]]
    notes: list[str]


def learned_data(run: RunDir) -> Learned:
    """Return the clips that a run learned from, of a cross-validation all its folds, and all runs whose weights went
    into it."""
    opened, notes = list[tuple[FerDataModule, Rows]](), list[str]()
    for ancestor in recorded_ancestry(run):
        try:
            opened.append(_learned(ancestor))
        except FerIdError as problem:
            notes.append(f"pictures that {ancestor.path} learned from are not compared: {cut(problem, 200)}")
        missing = [parent for parent in ancestor.job().parents if recorded_folder(parent) is None]
        notes += [f"{parent}, which {ancestor.path} started from, is missing: not compared" for parent in missing]
    return Learned(opened, notes)


def _learned(run: RunDir) -> tuple[FerDataModule, Rows]:
    """Return the data module of a training, or of the first fold of a cross-validation, and the rows of training and
    inner validation, of all folds together."""
    trained = {fold.path.name for fold in run.folds}
    data = open_run_data(run.folds[0] if trained else run)[1]
    folds = [fold for fold in data.folds if fold.name in trained] if trained else [data.fold]
    return data, np.unique(np.concatenate([rows for fold in folds for rows in (fold.train, fold.validation)]))


def judged_rows(run: RunDir, data: FerDataModule, learned: Learned) -> JudgedRows:
    """Return the clips of a store that a run may be judged on.

    LeakageError: the run learned from this very store, or from the pictures that its clips are made of. DataError: no
    clip is left.
    """
    store, clips, notes = data.stores[0], data.clips, list(learned.notes)
    _require_other_store(run, data)
    names = {name for ancestor in recorded_ancestry(run) for name in ancestor.job().learned_from}
    known, tested = clips["subject_id"].isin(names).to_numpy(np.bool_), (clips["split"] == "test").to_numpy()
    left, dropped = np.ones(len(clips), np.bool_), dict[str, int]()

    def leave_out(reason: str, mask: Bools) -> None:
        if count := int((left & mask).sum()):
            dropped[reason] = count
            left[mask] = False

    if tested.any():
        leave_out(OTHER_PART, ~tested)
    leave_out(NOT_JUDGED, ~clips["for_evaluation"].to_numpy(np.bool_))
    leave_out("unlabelled", without_truth(clips, affect=data.affect))
    if store.card.settings.key_id is not None:  # pseudonyms of a site: equal names are one child
        leave_out(CHILD, known)
    elif known.any() and not holds_images(store):
        shared = clips.loc[known, "subject_id"].nunique()
        notes.append(f"subjects with names that the run learned from, which may be chance: {shared}")
    if data.provenance == "synthetic":
        notes.append("drawn faces are not compared with those that the run learned from")
    else:
        rows, seen = np.flatnonzero(left), np.zeros(len(clips), np.bool_)
        seen[rows[_seen(data, rows, learned.clips)]] = True
        leave_out(PICTURE, seen)
    part = store.clips["split"] == "test" if tested.any() else store.clips["clip_id"].notna()
    _, lost = map_labels(store.clips.loc[part, "label"].tolist(), data.labels)
    dropped |= {f"label {name} not in {data.labels.name}": count for name, count in lost.items()}
    if not left.any():
        raise DataError(f"{store.path}: no clip to judge {run.path} on: {reasons_words(dropped)}")
    return JudgedRows(np.flatnonzero(left), dropped, notes)


def _require_other_store(run: RunDir, data: FerDataModule) -> None:
    """Raise LeakageError where a run, or one that it started from, learned from the store, or from its pictures."""
    store = data.stores[0]
    for ancestor in recorded_ancestry(run):
        recorded = ancestor.job().store
        known = {*(recorded.fingerprint or "").split(", ")}
        if store.fingerprint in known:
            raise LeakageError(
                f"{ancestor.path} learned from {store.path}: its worth there, on clips it did not see, stands in its "
                "own report; name another store"
            )
        require_left_out_stills(ancestor, data.stores)
        official = (ancestor.config().get("protocol") or {}).get("name") == "official"
        shared = {*made_of(data.stores), store.fingerprint} & {*known, *recorded.made_of}
        if shared and not (official and (data.clips["split"] == "test").any()):
            raise LeakageError(
                f"{store.path} is made of pictures that {ancestor.path} may have learned from; judge a run that "
                "learned with protocol=official on a store that keeps the splits"
            )


def _seen(data: FerDataModule, rows: Rows, learned: Sequence[tuple[FerDataModule, Rows]]) -> Bools:
    """Return the mask (N,) of the judged rows whose first face is equal or near-identical to the first face of a clip
    that was learned from."""

    def faces() -> Iterator[NDArray[np.uint8]]:
        yield from _first_faces(data, rows)
        for other, theirs in learned:
            yield from _first_faces(other, theirs)

    prints = fingerprint(faces())
    sides = [int(number >= len(rows)) for number in range(len(prints.digests))]
    group = find_duplicates(prints, between=sides).group
    return np.isin(group[: len(rows)], group[len(rows) :])


def _first_faces(data: FerDataModule, rows: Rows) -> Iterator[NDArray[np.uint8]]:
    """Yield the first frame with a face, uint8 (64, 64, 3), of each clip; its first frame where none has one."""
    for store, row in data.clips.iloc[rows][["store", "row"]].itertuples(index=False):
        clip = data.stores[store].read(row)
        yield np.asarray(clip.frames[int(np.argmax(clip.valid))])
