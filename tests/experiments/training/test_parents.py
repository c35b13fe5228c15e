"""Which run weights may come from: nobody whom it, or anything before it, learned from is judged with them."""

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest

from data_modules.base import FerDataModule
from data_modules.config import DataConfig
from experiments.config import InitConfig, TrainConfig
from experiments.settings.loading import plain
from experiments.training.job import describe_job
from experiments.training.overlap import Learned, judged_rows
from experiments.training.parents import open_parent
from fer_id.errors import CheckpointError, LeakageError, RunError, StoreError
from fer_id.evaluation.config import ProtocolConfig
from fer_id.files import read_json, write_json
from fer_id.labels import TARGET
from fer_id.runs.run_dir import RunDir
from fer_id.store.card import StoreCard
from fer_id.store.reader import ClipStore
from fer_id.store.writer import ClipStoreWriter

Factory = Callable[..., Path]


def training(*stores: Path, protocol: str = "loso", **changes: Any) -> tuple[TrainConfig, FerDataModule]:
    """A training on stores; ``changes`` are ``run``, ``encoder_from``, ``seed`` and ``fold``, or of DataConfig."""
    init = InitConfig(**{key: changes.pop(key) for key in ("run", "encoder_from") if key in changes})
    seed, fold = changes.pop("seed", 0), changes.pop("fold", None)
    data = DataConfig(name="tiny", store=[str(path) for path in stores], **changes)
    config = TrainConfig(data=data, protocol=ProtocolConfig(protocol), init=init, seed=seed)
    return config, FerDataModule(data, config.protocol, augment=None, batch_size=4, seed=seed, fold=fold)


def finish(path: Path, config: TrainConfig, data: FerDataModule, *, folds: bool = False) -> str:
    """The folder that training leaves, without what it learned; with ``folds`` one for each."""
    of = {path: data.folds} if folds else {path: [data.fold]}
    if folds:
        of |= {path / "folds" / fold.name: [fold] for fold in data.folds}
    for place, trained in of.items():
        starts = [open_parent(config, data, fold) for fold in trained]
        run = RunDir.create(place, plain(config), describe_job(config, data, trained, starts))
        (run.path / "checkpoints" / "best.ckpt").touch()
        run.finish()
    return str(path)


def images(path: Path, seed: int = 0) -> Path:
    """A benchmark of stills with splits."""
    draws = np.random.default_rng(seed)
    card = StoreCard("real", TARGET.name, "split", path.name)
    with ClipStoreWriter(path, card) as out:
        for split in ("train", "validation", "test"):
            for name in TARGET.names * 3:
                clip_id = f"i{len(out._rows)}"
                row = {"clip_id": clip_id, "subject_id": clip_id, "split": split, "label": name}
                out.add_clip(row, draws.integers(0, 256, (1, 64, 64, 3), np.uint8))
    return path


def opened(config: TrainConfig, data: FerDataModule) -> RunDir | None:
    return open_parent(config, data, data.fold)


def refused(error: type[Exception], says: str, config: TrainConfig, data: FerDataModule) -> None:
    with pytest.raises(error, match=says):
        opened(config, data)


def test_the_fold_of_the_same_name_is_the_parent_and_recorded(tiny_store: Factory, tmp_path: Path) -> None:
    store = tiny_store()
    first = finish(tmp_path / "first", *training(store), folds=True)
    config, data = training(store, encoder_from=first)
    second = finish(tmp_path / "second", config, data, folds=True)
    assert RunDir(tmp_path / "second" / "folds" / "s02").job().parents == [f"{first}/folds/s02"]
    assert RunDir(second).job().parents == [f"{first}/folds/s{number:02d}" for number in range(4)]
    parent = opened(*training(store, run=second, fold="s01"))
    assert parent is not None
    assert parent.path == tmp_path / "second" / "folds" / "s01"
    stills = training(images(tmp_path / "i"), protocol="official", run=first)
    refused(RunError, "has no fold official; it has s00, s01", *stills)


def test_nobody_is_judged_whom_a_parent_or_grandparent_learned_from(tiny_store: Factory, tmp_path: Path) -> None:
    ours, others = tiny_store("ours"), tiny_store("others", subjects=9, seed=1)
    strangers = images(tmp_path / "strangers")
    first = finish(tmp_path / "first", *training(ours, protocol="holdout"))
    subjects = RunDir(first).job().subjects
    for fold in (*subjects["train"], *subjects["validation"]):
        says = rf"first learned from 1 subjects whom fold {fold} tests: {fold}"
        refused(LeakageError, says, *training(ours, run=first, fold=fold))
    assert opened(*training(ours, run=first, fold=subjects["test"][0])) is not None

    known = subjects["train"][0]
    second = finish(tmp_path / "second", *training(strangers, protocol="official", run=first))
    refused(LeakageError, r"first learned from", *training(ours, run=second, fold=known))  # others wash nothing off
    rmtree(first)
    says = r"second started from another run.*cannot be checked.*first is not a run"
    refused(RunError, says, *training(ours, run=second, fold=known))

    pooled = finish(tmp_path / "pooled", *training(ours, others, protocol="holdout"))
    met = RunDir(pooled).job().subjects["train"]
    refused(LeakageError, r"pooled learned from", *training(ours, run=pooled, fold=min(met)))


def test_a_circle_of_runs_has_an_end(tiny_store: Factory, tmp_path: Path) -> None:
    strangers = images(tmp_path / "strangers")
    first = finish(tmp_path / "first", *training(strangers, protocol="official"))
    second = finish(tmp_path / "second", *training(strangers, protocol="official", run=first))
    RunDir(first).write_job(RunDir(first).job().model_copy(update={"parents": [second]}))
    assert opened(*training(tiny_store(), protocol="holdout", run=second)) is not None


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"protocol": "holdout", "seed": 1}, {"protocol": "official"}),
        ({"protocol": "official"}, {"protocol": "holdout"}),
        ({"protocol": "kfold"}, {"protocol": "kfold"}),
        ({"protocol": "official", "drop_duplicates": False}, {"protocol": "official"}),
    ],
)
def test_a_benchmark_is_divided_in_the_same_way_only_by_its_own_splits(
    before: dict[str, Any], now: dict[str, Any], tmp_path: Path
) -> None:
    store = images(tmp_path / "store")
    first = finish(tmp_path / "first", *training(store, **before), folds=before["protocol"] == "kfold")
    refused(LeakageError, "may have learned from pictures that are tested here", *training(store, **now, run=first))


def test_the_splits_of_a_benchmark_hold_for_all_who_keep_to_them(tmp_path: Path) -> None:
    one, other = images(tmp_path / "one"), images(tmp_path / "other", seed=1)
    both = finish(tmp_path / "both", *training(one, other, protocol="official"))
    alone = finish(tmp_path / "alone", *training(one, protocol="official"))
    for parent in (both, alone):
        assert opened(*training(one, protocol="official", run=parent)) is not None
    assert opened(*training(other, protocol="holdout", run=alone)) is not None  # another store
    refused(LeakageError, "every store of this training", *training(one, other, protocol="official", run=alone))


def test_other_classes_are_refused_and_an_encoder_is_not(tiny_store: Factory, tmp_path: Path) -> None:
    first = finish(tmp_path / "first", *training(images(tmp_path / "stills"), protocol="official"))
    store = tiny_store(label_space="fer7")
    refused(CheckpointError, r"of target5, .*of fer7.*init.encoder_from", *training(store, run=first))
    assert opened(*training(store, encoder_from=first)) is not None


def test_what_is_not_there_is_said(tiny_store: Factory, tmp_path: Path) -> None:
    store = tiny_store()
    first = finish(tmp_path / "first", *training(images(tmp_path / "stills"), protocol="official"))
    (tmp_path / "first" / "checkpoints" / "best.ckpt").unlink()
    refused(RunError, "no such checkpoint", *training(store, run=first))
    (tmp_path / "first" / "DONE").unlink()
    refused(RunError, "is not finished", *training(store, run=first))
    refused(RunError, "is not a run", *training(store, run=str(tmp_path / "nowhere")))
    assert opened(*training(store)) is None


def simulated(path: Path, source: Path) -> Path:
    """A store of people whose pictures are those of another store, with its splits."""
    origin = ClipStore.open(source)
    card = StoreCard("simulated", TARGET.name, "subject_id", "simulate")
    card.parameters["from_fingerprint"] = origin.fingerprint
    with ClipStoreWriter(path, card) as out:
        for row, clip in origin.clips.iterrows():
            subject = f"{clip['split']}-{int(row) // 5}"
            told = {"clip_id": f"s{row}", "subject_id": subject, "split": clip["split"], "label": clip["label"]}
            out.add_clip(told, np.repeat(origin.read(int(row)).frames, 2, axis=0))
    return path


def test_clips_simulated_from_a_benchmark_count_as_its_images(tmp_path: Path) -> None:
    store = images(tmp_path / "store")
    clips = simulated(tmp_path / "simulated", store)
    first = finish(tmp_path / "first", *training(store, protocol="official"))
    refused(LeakageError, "may have learned from pictures that are tested here", *training(clips, run=first))
    assert opened(*training(clips, protocol="official", run=first)) is not None
    back = finish(tmp_path / "back", *training(clips, protocol="holdout"))
    refused(LeakageError, "may have learned", *training(store, protocol="official", run=back))


def test_an_encoder_left_out_the_stills_that_a_simulation_moved_to_test(tmp_path: Path) -> None:
    store = images(tmp_path / "store")
    clips = simulated(tmp_path / "simulated", store)
    card = read_json(clips / "card.json", StoreError)
    card["parameters"]["stills"] = {"test": ClipStore.open(store).clips["clip_id"].tolist()[:2]}
    write_json(clips / "card.json", card)
    first = finish(tmp_path / "first", *training(store, protocol="official"))
    refused(LeakageError, f"data.excluding={clips}", *training(clips, protocol="official", run=first))
    with pytest.raises(LeakageError, match="moved training stills to test"):
        judged_rows(RunDir(first), training(clips, protocol="official")[1], Learned([], []))
    second = finish(tmp_path / "second", *training(store, protocol="official", excluding=str(clips)))
    assert opened(*training(clips, protocol="official", run=second)) is not None


def test_folds_of_one_simulated_store_are_told_apart_by_subject(tmp_path: Path) -> None:
    clips = simulated(tmp_path / "simulated", images(tmp_path / "store"))
    first = finish(tmp_path / "first", *training(clips), folds=True)
    config, data = training(clips, encoder_from=first)
    assert open_parent(config, data, data.folds[1]) is not None
