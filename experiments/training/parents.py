"""Parent runs, whose weights a training starts from, and the check that they never saw its test subjects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from data_modules.base import FerDataModule
from data_modules.pool import holds_images, made_of
from experiments.config import TrainConfig
from experiments.training.mappings import mappings_of, require_one_mapping
from fer_id.errors import CheckpointError, DataError, LeakageError, RunError
from fer_id.evaluation.config import Fold
from fer_id.labels import LabelSpace, get_space
from fer_id.progress import say
from fer_id.runs.run_dir import LEARNED_FROM, RunDir


def open_parent(config: TrainConfig, data: FerDataModule, fold: Fold) -> RunDir | None:
    """Open the run whose weights a fold starts from; None for new weights.

    Of a cross-validation it is the fold of the same name.

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
    run = _open_fold(path, fold.name)
    run.checkpoint()
    for one in ancestry(run, fold.name):
        _check_subjects(one, data, fold)
        _check_images(one, config, data, fold)
    if config.init.transfer:
        _check_geometry(run, data)
    if config.init.run:
        _check_mappings(config, run, data)
    if config.init.run and not config.init.transfer and label_space(run) != data.labels:
        raise CheckpointError(
            f"{run.path} tells the classes of {label_space(run).name}, this training those of {data.labels.name}: the "
            "same output would mean another class. fer-id adapt maps them; init.encoder_from takes the encoder alone; "
            "data.label_space chooses the classes"
        )
    return run


def _check_geometry(run: RunDir, data: FerDataModule) -> None:
    """Raise DataError for crops of another size, alignment or colour: adaptation would learn that difference."""
    theirs = (run.job().get("store") or {}).get("geometry")
    others = [store.card.geometry for store in data.stores if store.card.geometry != theirs]
    if theirs is None:
        say(f"{run.path} does not say how its faces were cropped, so that is not compared (an older version made it)")
    elif others:
        raise DataError(
            f"{run.path} learned from crops of another geometry: {_described(theirs)}; the cohort's are "
            f"{_described(others[0])}. Prepare one of the two stores anew: data.colour=gray for a cohort, "
            "data.landmarks=mediapipe for a benchmark"
        )


def _check_mappings(config: TrainConfig, run: RunDir, data: FerDataModule) -> None:
    job = run.job()
    known = mappings_of(job.get("store") or {}, drawn=job.get("dataset") == "synthetic")
    require_one_mapping({str(run.path): known, **data.mesh_mappings}, landmarks=config.model.landmarks > 0)


def _described(geometry: dict[str, Any]) -> str:
    eyes = geometry.get("eyes")
    return f"{geometry.get('colour')}, " + (f"eyes at {eyes}" if eyes else "not aligned")


def label_space(run: RunDir) -> LabelSpace:
    """Return the classes of a run."""
    return get_space(run.job()["store"]["label_space"])


def _open_fold(path: str, name: str) -> RunDir:
    """Open a single training, or the fold of this name of a cross-validation."""
    run = RunDir.open(path)
    if not run.folds:
        return run
    named = {fold.path.name: fold for fold in run.folds}
    if name not in named:
        raise RunError(f"{path} has no fold {name}; it has {', '.join(named)}")
    return named[name]


def ancestry(run: RunDir, fold: str) -> Iterator[RunDir]:
    """Yield the run and all runs whose weights went into it."""
    todo, seen = [run], set()
    while todo:
        one = todo.pop()
        if one.path in seen:  # a name that was used again can make a cycle
            continue
        seen.add(one.path)
        yield one
        for path in one.job().get("parents") or ():
            try:
                todo.append(_open_fold(path, fold))
            except RunError as problem:
                raise RunError(
                    f"{one.path} started from another run, so what it learned from cannot be checked: {problem}. "
                    "Bring that run back to its place, or start from a run whose origin is there"
                ) from None


def _check_subjects(run: RunDir, data: FerDataModule, fold: Fold) -> None:
    subjects = run.job().get("subjects") or {}
    seen = {one for split in LEARNED_FROM for one in subjects.get(split, ())}
    if judged := sorted(seen.intersection(data.subjects(fold.test))):
        does = "tests" if fold.part is None else "calibrates on (protocol.cross_fit)"
        raise LeakageError(
            f"{run.path} learned from {len(judged)} subjects whom fold {fold.name} {does}: {', '.join(judged[:5])}; "
            "start from a run with the same protocol and seed, or from one of other subjects"
        )


def _check_images(run: RunDir, config: TrainConfig, data: FerDataModule, fold: Fold) -> None:
    """Raise LeakageError where a run may have learned from images that this fold tests.

    Images have no pseudonyms to compare: of a shared image store, only its official splits are sure to be the same in
    both trainings. Clips simulated from an image store keep its splits and count as its images. The run must have been
    given all image stores of this training, since it leaves duplicates of their test pictures out of its training, and
    of no others.
    """
    told = run.job().get("store") or {}
    known = set((told.get("fingerprint") or "").split(", "))
    strange = [store for store in data.stores if store.fingerprint not in known]  # of known ones, subjects are compared
    ours = {store.fingerprint for store in data.stores if holds_images(store)} | set(made_of(strange))
    theirs = known | set(told.get("made_of", ()))
    if not ours & theirs:
        return
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
            f"{len(theirs)} stores in all. Start from a run with protocol=official that leaves duplicates out and was "
            "given every store of this training, and train with protocol=official"
        )
