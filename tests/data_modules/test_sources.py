"""Stills that judged clips were made of do not train an encoder: ``data.excluding``."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_modules import FER2013DataModule
from data_modules.config import DataConfig
from data_modules.sources import (
    OF_JUDGED_CLIPS,
    OF_TEST_CLIPS,
    judged_stills,
    require_left_out,
    without_sources,
)
from fer_id.errors import LeakageError, StoreError
from fer_id.evaluation.config import Fold
from fer_id.files import read_json, write_json
from fer_id.store.reader import ClipStore


@pytest.fixture
def simulated(tiny_store: Callable[..., Path], stills_store: Path) -> Path:
    """A store whose card says that training stills 0 and 1 make its validation clips, and 2 and a validation still its
    test clips."""
    source = ClipStore.open(stills_store)
    names = {split: rows["clip_id"].tolist() for split, rows in source.clips.groupby("split")}
    stills = {"train": names["train"][4:], "validation": names["train"][:2]}
    stills["test"] = [names["train"][2], names["validation"][0]]
    path = tiny_store("simulated", provenance="simulated")
    card = read_json(path / "card.json", StoreError)
    card["parameters"] = {"from_fingerprint": source.fingerprint, "stills": stills}
    write_json(path / "card.json", card)
    return path


def test_neither_training_nor_validation_sees_stills_of_judged_clips(stills_store: Path, simulated: Path) -> None:
    plain = FER2013DataModule(stills_store)
    data = FER2013DataModule(DataConfig(name="fer2013", store=[str(stills_store)], excluding=str(simulated)))
    stills = ClipStore.open(simulated).card.settings.stills or {}
    learned, chosen = (set(data.clips["clip_id"].iloc[rows]) for rows in (data.fold.train, data.fold.validation))
    assert not learned & {*stills["validation"], *stills["test"]}
    assert not chosen & {*stills["test"]}
    assert len(plain.fold.train) - len(data.fold.train) == 3
    assert data.describe()["dropped"].items() >= {OF_JUDGED_CLIPS: 3, OF_TEST_CLIPS: 1}.items()


def test_near_identical_pictures_go_too(stills_store: Path, simulated: Path) -> None:
    source, made = ClipStore.open(stills_store), ClipStore.open(simulated)
    clips = source.clips.copy()
    twin, rows = int(np.flatnonzero(clips["split"] == "train")[10]), np.arange(len(clips))
    still = (made.card.settings.stills or {})["test"][0]
    clips.loc[twin, "subject_id"] = clips.loc[clips["clip_id"] == still, "subject_id"].item()
    (fold,) = without_sources(clips, [Fold("official", rows, rows[:0], rows[:0], {})], made, source)
    assert twin not in fold.train
    assert fold.dropped == {OF_JUDGED_CLIPS: 5}


def test_a_store_that_was_made_of_other_stills_is_refused(stills_store: Path, tiny_store: Callable[..., Path]) -> None:
    other = tiny_store("other", provenance="simulated")
    data = FER2013DataModule(DataConfig(name="fer2013", store=[str(stills_store)], excluding=str(other)))
    with pytest.raises(StoreError, match="was not simulated from"):
        data.setup()


def test_stills_that_a_run_did_not_leave_out_are_refused(simulated: Path, tmp_path: Path) -> None:
    excluded = ClipStore.open(simulated)
    recorded = judged_stills(excluded)
    require_left_out(excluded, excluded, recorded, "run")
    copy = shutil.copytree(simulated, tmp_path / "other")
    card = read_json(copy / "card.json", StoreError)
    stills = card["parameters"]["stills"]
    learned = stills["train"][0]
    card["parameters"]["stills"] = stills | {"test": [*stills["test"][:1], learned]}
    write_json(copy / "card.json", card)
    other = ClipStore.open(copy)
    with pytest.raises(LeakageError, match=f"may have learned from 1 stills .*{learned}"):
        require_left_out(other, excluded, recorded, "run")
    for wrong in (None, judged_stills(other)):
        with pytest.raises(LeakageError, match="did not leave out"):
            require_left_out(excluded, excluded, wrong, "run")
