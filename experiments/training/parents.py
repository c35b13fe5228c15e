"""Parent runs, whose weights a training starts from: they never saw its test subjects, and their crops and landmarks
are made as those of the training."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from itertools import chain

from data_modules.base import FerDataModule
from data_modules.pool import holds_images, made_of
from data_modules.sources import judged_stills
from experiments.config import TrainConfig
from fer_id.errors import CheckpointError, DataError, LeakageError
from fer_id.evaluation.config import Fold
from fer_id.progress import say
from fer_id.reporting.words import counted
from fer_id.runs.ancestry import ancestry, open_fold, require_unseen
from fer_id.runs.job import Geometry
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from fer_id.types import CROP

FIRST_MAPPING = "mesh-1"
"""Mapping of runs and bundles whose record names none; drawn landmarks come from no mesh."""


def open_parent(config: TrainConfig, data: FerDataModule, fold: Fold) -> RunDir | None:
    """Open the run whose weights a fold starts from (of a cross-validation its fold of that name); None: new weights.

    Raises:
        RunError: no such run, not finished, or without this fold or its checkpoint; or a run among its ancestors is
            missing, so that its training data are not known.
        LeakageError: the run or one of its ancestors learned from test data of this fold, or was chosen by them. The
            same pictures in another store are not recognised.
        CheckpointError: the run has other classes, and all its weights are to be loaded.
        DataError: the run learned from crops of another geometry, and is to be adapted; or from landmarks of another
            mapping, and the model takes landmarks.
    """
    path = config.init.run or config.init.encoder_from
    if path is None:
        return None
    run = open_fold(path, fold.name)
    run.checkpoint()
    does = "tests" if fold.part is None else "calibrates on (protocol.cross_fit)"
    for ancestor in ancestry(run, fold.name):
        require_unseen(ancestor, data.subjects(fold.test), f"fold {fold.name} {does}")
        _check_images(ancestor, config, data, fold)
    if config.init.transfer:
        require_geometry(run, data, "")  # adaptation would learn the difference
    if config.init.run:
        job = run.job()
        known = {str(run.path): mappings_of(job.store.mesh_mappings, drawn=job.drawn), **data.mesh_mappings}
        require_one_mapping(known, landmarks=config.model.landmarks > 0)
    if config.init.run and not config.init.transfer and run.label_space() != data.labels:
        raise CheckpointError(
            f"{run.path} tells the classes of {run.label_space().name}, this training those of {data.labels.name}: the "
            "same output would mean another class. fer-id adapt maps them; init.encoder_from takes the encoder alone; "
            "data.label_space chooses the classes"
        )
    return run


def require_geometry(run: RunDir, data: FerDataModule, hint: str, *, allowed: bool = False) -> list[str]:
    """Raise DataError, which ends in ``hint``, for crops of another alignment or colour than a run learned from; where
    ``allowed``, return it as a sentence. Crops of another size are never allowed."""
    theirs = run.job().store.geometry
    ours = [Geometry.model_validate(store.card.geometry) for store in data.stores]
    others = [geometry for geometry in ours if geometry != theirs]
    if theirs is None:
        say(f"{run.path} does not say how its faces were cropped, so that is not compared (an older version made it)")
        return []
    if not others:
        return []
    differ = f"learned from crops of another geometry: {_described(theirs)}; this store's are {_described(others[0])}"
    if theirs.size != data.crop:
        raise DataError(f"{run.path} {differ}. Prepare the store with data.crop={theirs.size}")
    if not allowed:
        raise DataError(
            f"{run.path} {differ}. Prepare one of the two stores anew: data.colour=gray for a cohort, "
            f"data.landmarks=mediapipe for a benchmark{hint}"
        )
    return [f"the run {differ}"]


def _described(geometry: Geometry) -> str:
    size = "" if geometry.size == CROP else f"{geometry.size}x{geometry.size} pixels, "
    return f"{geometry.colour}, {size}" + (f"eyes at {geometry.eyes}" if geometry.eyes else "not aligned")


def require_left_out_stills(run: RunDir, stores: Sequence[ClipStore]) -> None:
    """Raise LeakageError where a run learned from the pictures that clips of these stores were simulated from, and did
    not leave out those that the simulation, whose card lists them, moved to validation and test."""
    recorded = run.job().store
    theirs = {*(recorded.fingerprint or "").split(", "), *recorded.made_of}
    moved = [store for store in stores if store.card.settings.stills and {*made_of([store])} & theirs]
    if learned := [str(store.path) for store in moved if judged_stills(store) != recorded.left_out]:
        raise LeakageError(
            f"{run.path} learned from stills that tested clips of {', '.join(learned)} were made of: the simulation "
            f"moved training stills to test. Train it again with data.excluding={learned[0]}, as fer-id benchmark "
            "does; a finished run is kept, so remove the run's folder first"
        )


def _check_images(run: RunDir, config: TrainConfig, data: FerDataModule, fold: Fold) -> None:
    """Raise LeakageError where a run may have learned from images that this fold tests.

    Images have no pseudonyms to compare: of a shared image store, only its official splits are sure to be the same in
    both trainings. Clips simulated from an image store count as its images; where the simulation moved stills between
    the splits, which its card lists, the run must have left out those of the judged clips. The run must have been
    given all image stores of this training, since it leaves duplicates of their test pictures out of its training, and
    of no others.
    """
    recorded = run.job().store
    known = set((recorded.fingerprint or "").split(", "))
    strange = [store for store in data.stores if store.fingerprint not in known]  # of known ones, subjects are compared
    ours = {store.fingerprint for store in data.stores if holds_images(store)} | set(made_of(strange))
    theirs = known | set(recorded.made_of)
    if not ours & theirs:
        return
    require_left_out_stills(run, strange)
    if fold.part is not None:
        raise LeakageError(
            f"{run.path} may have learned from the pictures that the children of protocol.cross_fit show; say "
            "protocol.cross_fit=0, or start from a run on other data"
        )
    before = run.config()
    official = before["protocol"]["name"] == config.protocol.name == "official"
    apart = before["data"]["drop_duplicates"] or not config.data.drop_duplicates
    if not (official and apart and ours <= theirs):
        raise LeakageError(
            f"{run.path} may have learned from pictures that are tested here: it saw the same store with "
            f"protocol={before['protocol']['name']}, data.drop_duplicates={before['data']['drop_duplicates']} and "
            f"{counted(len(theirs), 'store')} in all. Start from a run with protocol=official that leaves duplicates "
            "out and was given every store of this training, and train with protocol=official"
        )


def mappings_of(recorded: list[str] | None, *, drawn: bool) -> list[str]:
    """Return the mappings that a run or bundle learned from: those that its record names, None in an older version;
    ``drawn``: its landmarks were drawn."""
    if recorded is not None:
        return recorded
    return [] if drawn else [FIRST_MAPPING]


def require_one_mapping(mappings: Mapping[str, Sequence[str]], *, landmarks: bool) -> None:
    """Raise DataError for landmarks of two mappings, by name of the store, run or video that has them; warn once where
    ``landmarks`` are no input of the model."""
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
