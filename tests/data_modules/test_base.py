"""FerDataModule: contract and order of batches, and several stores pooled into one."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from data_modules.base import FerDataModule
from data_modules.config import DataConfig
from fer_id.errors import DataError, StoreError
from fer_id.evaluation.config import ProtocolConfig
from fer_id.labels import FER7, TARGET
from fer_id.preprocessing.augmentation import AugmentConfig
from fer_id.store.card import StoreCard
from fer_id.store.reader import ClipStore
from fer_id.store.writer import ClipStoreWriter
from fer_id.types import COHORT, SOURCE

Factory = Callable[..., Path]
Loader = DataLoader[dict[str, Any]]
EVERYONE: list[dict[str, Any]] = [{"label": name, "subject_id": subject} for subject in "abc" for name in TARGET.names]
PEOPLE = [{"clip_id": f"c{n}", "subject_id": f"s{n // 5}", "label": TARGET.names[n % 5]} for n in range(30)]


def module(*stores: Path, **changes: Any) -> FerDataModule:
    """Data module over holdout folds; ``changes`` are fields of DataConfig, or augment, batch_size, seed, protocol."""
    made = {"augment": None, "batch_size": 4, "seed": 7, "fold": None, "protocol": ProtocolConfig("holdout"), **changes}
    keys = ("augment", "batch_size", "seed", "fold")
    data = {key: value for key, value in made.items() if key not in (*keys, "protocol")}
    config = DataConfig(store=[str(store) for store in stores], **{"num_workers": 0, **data})
    opened = FerDataModule(config, made["protocol"], **{key: made[key] for key in keys})
    opened.setup()
    return opened


def epoch_of(loader: Loader, epoch: int) -> Iterator[dict[str, Any]]:
    """Set the epoch as the Trainer does, and iterate."""
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return iter(loader)


def write(path: Path, rows: list[dict[str, Any]], **card: Any) -> Path:
    """Write a store; ``length`` and ``valid`` of a row describe its frames, ``picture`` is their seed."""
    facts: dict[str, Any] = {"label_space": "target5", "shard_by": "subject_id", "groups": [], "geometry": {}, **card}
    rng = np.random.default_rng(0)
    with ClipStoreWriter(path, StoreCard("real", source="test", **facts)) as out:
        for number, row in enumerate(rows):
            row = {"clip_id": f"c{number:02d}", "subject_id": f"s{number}", **row}
            length, valid, picture = row.pop("length", 2), row.pop("valid", None), row.pop("picture", None)
            draws = rng if picture is None else np.random.default_rng(picture)
            frames = draws.integers(0, 256, (length, 64, 64, 3), np.uint8)
            out.add_clip(row, frames, valid=None if valid is None else np.array(valid))
    return path


def ready(data: FerDataModule, batch: dict[str, Any]) -> dict[str, Any]:
    """Return the batch after its transfer to the device."""
    return dict(data.on_after_batch_transfer(batch, 0))


# --- order and augmentation -------------------------------------------------------------------------------------------


def same(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) if isinstance(a, Tensor) else a == b

    return len(left) == len(right) and all(
        a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a) for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("frames", ["clip", "frame"])
def test_batches_depend_on_seed_and_epoch_only(tiny_store: Factory, frames: str) -> None:
    """With any number of processes, a run resumed at epoch 2 gets the batches of an uninterrupted run."""
    store = tiny_store(subjects=4, clips=1)
    settings: dict[str, Any] = {"augment": AugmentConfig(), "frames": frames}
    straight = module(store, **settings).train_dataloader()
    epochs = [list(epoch_of(straight, epoch)) for epoch in range(3)]
    for workers in (0, 2):
        resumed = module(store, num_workers=workers, **settings).train_dataloader()
        assert same(list(epoch_of(resumed, 2)), epochs[2])
        assert same(list(epoch_of(resumed, 0)), epochs[0])  # persistent workers keep nothing of the epoch before
        del resumed
    assert not same(epochs[1], epochs[2])
    other = module(store, **settings, seed=8, protocol=ProtocolConfig("kfold", folds=3), fold="00").train_dataloader()
    assert not same(list(epoch_of(other, 0)), epochs[0])


def test_an_epoch_has_every_clip_once_in_a_new_order(tiny_store: Factory) -> None:
    data = module(tiny_store(), batch_size=1)
    loader = data.train_dataloader()
    orders = [[batch["clip_id"][0] for batch in epoch_of(loader, epoch)] for epoch in range(3)]
    expected = sorted(data.clips["clip_id"].iloc[data.fold.train])
    assert all(sorted(order) == expected for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_augmentation_of_a_clip_does_not_depend_on_its_batch(tiny_store: Factory) -> None:
    store = tiny_store(subjects=4, clips=1)
    seen: list[dict[str, Tensor]] = []
    for size in (1, 5):
        loader = module(store, augment=AugmentConfig(), batch_size=size).train_dataloader()
        batches = list(epoch_of(loader, 3))
        seen.append({name: b["frames"][i] for b in batches for i, name in enumerate(b["clip_id"])})
    assert len(seen[1]) == 10
    for name, frames in seen[1].items():
        assert torch.equal(frames, seen[0][name])


def test_validation_and_test_clips_are_in_order_and_not_augmented(tiny_store: Factory) -> None:
    path = tiny_store()
    data, store = module(path, augment=AugmentConfig()), ClipStore.open(path)
    for split, loader in zip(("validation", "test"), data.predict_dataloader(), strict=True):
        rows, at = getattr(data.fold, split), 0
        for batch in loader:
            for frames, clip_id in zip(batch["frames"], batch["clip_id"], strict=True):
                assert clip_id == store.clips["clip_id"][rows[at]]
                np.testing.assert_array_equal(frames.numpy(), store.read(rows[at]).frames)
                at += 1
        assert at == len(rows)  # the last partial batch too


def test_training_leaves_out_a_partial_batch_only_beside_a_whole_one(tiny_store: Factory) -> None:
    store = tiny_store(subjects=4, clips=1)  # ten clips to train on
    assert [len(b["label"]) for b in module(store, batch_size=4).train_dataloader()] == [4, 4]
    assert [len(b["label"]) for b in module(store, batch_size=64).train_dataloader()] == [10]


# --- the batch --------------------------------------------------------------------------------------------------------


def labelled(count: int = 5, **columns: Any) -> list[dict[str, Any]]:
    return [{"label": "happy", **columns} for _ in range(count)]


def test_the_batch_contract_with_clips_of_different_lengths(tmp_path: Path) -> None:
    rows = [{"label": TARGET.names[i % 5], "length": 1 + i % 4, "valid": [True] * (1 + i % 4)} for i in range(40)]
    rows += [{"label": name, "length": 4, "valid": [True, False, True, False]} for name in TARGET.names * 4]
    data = module(write(tmp_path / "s", rows), augment=AugmentConfig(), batch_size=8)
    lengths = dict(zip(data.clips["clip_id"], data.clips["length"], strict=True))
    valid = dict(zip(data.clips["clip_id"], data.clips["n_valid"], strict=True))
    for raw in data.train_dataloader():
        batch = ready(data, raw)
        count, length = batch["valid"].shape
        assert length == max(lengths[name] for name in batch["clip_id"])
        assert (batch["frames"].shape, batch["frames"].dtype) == ((count, length, 3, 64, 64), torch.float32)
        assert (batch["landmarks"].shape, batch["landmarks"].dtype) == ((count, length, 68, 2), torch.float32)
        assert batch["valid"].dtype == torch.bool
        assert (batch["label"].shape, batch["label"].dtype) == ((count,), torch.int64)
        assert batch["frames"].min() >= 0
        assert 0.9 < batch["frames"].max() <= 1
        assert "soft_label" not in batch
        for row, name in enumerate(batch["clip_id"]):
            assert int(batch["valid"][row].sum()) == valid[name]
            assert not batch["valid"][row, lengths[name] :].any()
            assert batch["frames"][row, lengths[name] :].sum() == 0
            assert batch["landmarks"][row, lengths[name] :].isnan().all()


def test_bytes_become_floats_in_channels_last_memory(tiny_store: Factory) -> None:
    path = tiny_store()
    data = module(path)
    raw = next(iter(data.test_dataloader()))
    pixels = raw["frames"].clone()
    frames = ready(data, raw)["frames"]
    assert torch.equal(frames.permute(0, 1, 3, 4, 2), pixels.float() / 255)
    assert frames.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_soft_labels_beside_hard_and_missing_ones(tmp_path: Path) -> None:
    votes = [0.5, 0.5, 0.0, 0.0, 0.0]
    rows = [*EVERYONE]
    rows += [{"label": "happy", "soft_label": votes, "subject_id": subject} for subject in "abc"]
    rows += [{"label": None, "subject_id": subject} for subject in "abc"]
    data = module(write(tmp_path / "s", rows), batch_size=100)
    batch = next(iter(data.test_dataloader()))
    assert batch["soft_label"].dtype == torch.float32
    torch.testing.assert_close(batch["soft_label"].sum(1), torch.ones(7))
    torch.testing.assert_close(batch["soft_label"][:5], torch.eye(5))
    assert batch["soft_label"][5].tolist() == votes
    assert batch["label"].tolist() == [0, 1, 2, 3, 4, 0, -1]
    assert batch["soft_label"][6].tolist() == pytest.approx([0.2] * 5)  # unlabelled: equal shares
    train = next(iter(data.train_dataloader()))
    assert (train["label"] >= 0).all()  # unlabelled clips are judged where possible, never learned from
    assert data.fold.dropped == {"unlabelled": 1}


def test_single_frames_are_valid_ones_and_change_with_the_epoch(tmp_path: Path) -> None:
    valid = [False, True, True, True, False]
    rows = [{**row, "length": 5, "valid": valid} for row in EVERYONE]
    data = module(write(tmp_path / "s", rows), frames="frame", batch_size=5)
    loader = data.train_dataloader()
    drawn = []
    for epoch in range(6):
        (batch,) = epoch_of(loader, epoch)
        assert batch["frames"].shape[:2] == (5, 1)
        assert batch["valid"].all()
        order = np.argsort(batch["clip_id"])
        drawn.append(batch["frames"][order].double().mean(dim=(1, 2, 3, 4)))
    assert len({tuple(means.tolist()) for means in drawn}) > 3
    assert next(iter(data.test_dataloader()))["frames"].shape[1] == 5  # judged on whole clips


# --- folds ------------------------------------------------------------------------------------------------------------


def test_a_lost_process_is_noticed_after_a_training_too(tiny_store: Factory) -> None:
    """Lightning puts the handlers of before its training back; torch sets its own once in a process."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        data = module(tiny_store(subjects=6, clips=1), num_workers=1)
        data.val_dataloader()
        assert callable(signal.getsignal(signal.SIGCHLD))
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_fold_is_chosen_by_name(tiny_store: Factory) -> None:
    path, loso = tiny_store(), ProtocolConfig("loso")
    data = module(path, protocol=loso, fold="s02")
    assert data.subjects(data.fold.test) == ["s02"]
    assert set(data.subjects(data.fold.train)).isdisjoint(data.subjects(data.fold.validation))
    with pytest.raises(DataError, match="no fold named s9; the folds are s00, s01, s02, s03"):
        module(path, protocol=loso, fold="s9")


def test_no_store_says_how_to_get_one() -> None:
    with pytest.raises(DataError, match=r"data.store is empty.*fer-id prepare"):
        module()


def test_groups_of_images_are_no_subjects(tmp_path: Path) -> None:
    rows = [{"label": name, "split": split} for split in ("train", "validation", "test") for name in TARGET.names]
    data = module(write(tmp_path / "s", rows, shard_by="split"), protocol=ProtocolConfig("official"))
    assert data.images
    assert data.subjects(data.fold.test) == []
    assert len(data.fold.test) == 5


# --- several stores ---------------------------------------------------------------------------------------------------


def test_stores_are_pooled_labels_mapped_and_drops_counted(tiny_store: Factory) -> None:
    first, second = tiny_store("one", subjects=3, seed=1), tiny_store("two", subjects=3, label_space="fer7", seed=2)
    data = module(first, second, label_space="target5", batch_size=100)
    assert data.labels == TARGET
    assert len(data.clips) == 3 * 2 * 5 * 2
    assert data.dropped_labels == {"disgust": 6, "surprise": 6}
    assert not data.clips["clip_id"].duplicated().any()  # both stores name their clips alike
    assert set(data.clips["subject_id"]) == {"s00", "s01", "s02"}  # the same pseudonym is the same child
    assert set(data.clips["store"].iloc[data.fold.test]) == {0, 1}
    stores = ClipStore.open(first), ClipStore.open(second)
    batch = next(iter(data.test_dataloader()))
    for frames, label, clip_id in zip(batch["frames"], batch["label"], batch["clip_id"], strict=True):
        number, _, name = clip_id.partition(":")
        source = stores[int(number)]
        row = source.clips["clip_id"].tolist().index(name)
        np.testing.assert_array_equal(frames.numpy(), source.read(row).frames)
        assert source.clips["label"][row] == TARGET.names[label]


def stills(path: Path, rows: list[tuple[int, str, str, str | None]]) -> Path:
    """Write a store of pictures (number, group, split, label), and others of its own so that no split is empty."""
    own = 1000 * (1 + len(path.name))
    filler = [(own + n, f"own{n}", split, TARGET.names[n % 5]) for n, split in enumerate(["train"] * 5 + SPLITS * 5)]
    keys = ("picture", "subject_id", "split", "label")
    return write(path, [dict(zip(keys, row, strict=True)) for row in [*rows, *filler]], shard_by="split")


SPLITS = ["train", "validation", "test"]


@pytest.fixture
def two_benchmarks(tmp_path: Path) -> list[Path]:
    """The pictures 1 to 7 in two stores, with different splits and groups."""
    first = [
        (1, "a", "train", "happy"),  # test in the other
        (2, "b", "validation", "happy"),  # test in the other
        (3, "c", "test", "happy"),  # test in both, and twice in this one
        (3, "c", "test", "happy"),
        (4, "d", "train", "happy"),  # near-identical to 5, which is ...
        (5, "d", "train", "happy"),
        (6, "e", "test", None),  # test in both, with a label in the other only
        (7, "f", "train", "happy"),  # train in both
    ]
    second = [
        (1, "g", "test", "sad"),
        (2, "h", "test", "happy"),
        (3, "i", "test", "sad"),
        (5, "j", "validation", "happy"),  # ... validation here
        (6, "k", "test", "sad"),
        (7, "l", "train", "happy"),
    ]
    return [stills(tmp_path / "one", first), stills(tmp_path / "other", second)]


@pytest.mark.parametrize("protocol", ["official", "holdout", "kfold"])
def test_a_picture_of_two_stores_is_in_one_split_and_tested_once(two_benchmarks: list[Path], protocol: str) -> None:
    data = module(*two_benchmarks, protocol=ProtocolConfig(protocol, folds=3))
    for fold in data.folds:
        sides = {}
        for split in SPLITS:
            places = data.clips.iloc[getattr(fold, split)][["store", "row"]].itertuples(index=False)
            sides[split] = [data.stores[store].read(row).frames.tobytes() for store, row in places]
        assert sum(len(set(side)) for side in sides.values()) == len(set().union(*sides.values()))
        assert len(sides["train"]) == len(set(sides["train"]))
    assert data.fold.dropped


def test_official_splits_of_two_stores_keep_the_tested_copy(two_benchmarks: list[Path]) -> None:
    data = module(*two_benchmarks, protocol=ProtocolConfig("official"))
    clip_ids = {split: data.clips["clip_id"].iloc[getattr(data.fold, split)].tolist() for split in SPLITS}
    shared = {split: [name for name in names if name in PICTURES] for split, names in clip_ids.items()}
    assert {split: [PICTURES[name] for name in names] for split, names in shared.items()} == {
        "train": ["7 of one"],
        "validation": ["5 of other"],
        "test": ["3 of one", "3 of one", "1 of other", "2 of other", "6 of other"],
    }
    assert data.fold.dropped == {
        "pictures judged in another store": 2,  # 3 and 6
        "validation images also in test": 1,  # 2
        "also in validation or test": 3,  # 1, 4, 5
        "repeats within training": 1,  # 7
    }


PICTURES = {f"0:c{n:02d}": f"{p} of one" for n, p in enumerate([1, 2, 3, 3, 4, 5, 6, 7])} | {
    f"1:c{n:02d}": f"{p} of other" for n, p in enumerate([1, 2, 3, 5, 6, 7])
}


def test_a_clip_that_links_two_groups_may_be_left_out_by_its_label(tmp_path: Path) -> None:
    first = stills(tmp_path / "one", [(1, "a", "test", "happy"), (2, "a", "train", "sad")])
    both = {"subject_id": "b", "split": "train"}
    rows = [{**both, "picture": 2, "label": "surprise"}, {**both, "picture": 3, "label": "sad"}]
    second = write(tmp_path / "other", rows, label_space="fer7", shard_by="split")
    data = module(first, second, label_space="target5", protocol=ProtocolConfig("official"))
    assert not {"0:c01", "1:c01"} & set(data.clips["clip_id"].iloc[data.fold.train])


def test_people_and_pictures_pool_without_being_compared(tmp_path: Path, two_benchmarks: list[Path]) -> None:
    people = write(tmp_path / "people", EVERYONE)
    data = module(people, *two_benchmarks)
    assert {"a", "b", "c"} < set(data.clips["subject_id"])
    assert not data.images
    assert data.clips["picture"].isna().tolist() == (data.clips["store"] == 0).tolist()


def test_soft_labels_of_another_label_space_are_dropped(tmp_path: Path) -> None:
    votes = [1.0, 0, 0, 0, 0, 0, 0]
    rows = [{"label": "angry", "soft_label": votes, "subject_id": subject} for subject in "abc"]
    own = [{**row, "soft_label": [0.0, 0, 0.9, 0.1, 0], "picture": number} for number, row in enumerate(rows, 97)]
    other, same_space = write(tmp_path / "a", rows, label_space="fer7"), write(tmp_path / "b", own)
    assert "soft_label" not in next(iter(module(other, label_space="target5").test_dataloader()))
    pooled = module(other, same_space, label_space="target5", batch_size=9)
    batches = [batch for loader in (pooled.train_dataloader(), *pooled.predict_dataloader()) for batch in loader]
    soft = {name: row for b in batches for name, row in zip(b["clip_id"], b.get("soft_label", []), strict=False)}
    assert all(row.shape == (5,) for row in soft.values())
    assert any(row[2] == pytest.approx(0.9) for row in soft.values())


def test_clips_that_would_count_twice_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", [{**row, "picture": number} for number, row in enumerate(labelled())])
    copy = shutil.copytree(whole, tmp_path / "copy")
    part = write(tmp_path / "part", [{**row, "picture": number} for number, row in enumerate(labelled()[:2])])
    with pytest.raises(StoreError) as refusal:
        module(whole, tmp_path / "part" / ".." / "whole", copy, part)
    lines = str(refusal.value).splitlines()
    assert sum("is given twice" in line for line in lines) == 1
    assert sum(f"share {len(labelled())} clips" in line for line in lines) == 2
    assert sum("share 2 clips" in line and str(part) in line for line in lines) == 3


def test_a_single_store_may_be_mapped_too(tiny_store: Factory) -> None:
    data = module(tiny_store(label_space="fer7"), label_space="target5")
    assert set(data.dropped_labels) == {"disgust", "surprise"}
    assert set(data.clips["label"]) == set(TARGET.names)


def test_several_label_spaces_need_a_choice(tiny_store: Factory) -> None:
    first, second = tiny_store("one"), tiny_store("two", label_space="fer7")
    with pytest.raises(DataError, match=r"label spaces fer7, target5; choose one with data.label_space="):
        module(first, second)
    assert module(second, tiny_store("three", label_space="fer7", seed=3)).labels == FER7


def test_another_crop_geometry_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "one", labelled(), geometry={"eyes": [[20, 24], [44, 24]]})
    second = write(tmp_path / "two", labelled(), geometry={"eyes": [[16, 24], [48, 24]]})
    with pytest.raises(StoreError, match=r"two .*one at .*"):
        module(first, second)


def test_the_least_real_provenance_is_the_pools(tmp_path: Path, tiny_store: Factory) -> None:
    geometry = ClipStore.open(tiny_store("drawn")).card.geometry
    real = write(tmp_path / "real", EVERYONE, geometry=geometry)
    assert module(real).provenance == "real"
    pooled = module(real, tmp_path / "drawn")
    assert pooled.provenance == "synthetic"
    assert pooled.groups == ["age_group"]


# --- two domains ------------------------------------------------------------------------------------------------------


def test_an_aligned_batch_has_clips_of_the_test_subjects_without_labels(tmp_path: Path) -> None:
    ours = module(write(tmp_path / "ours", PEOPLE), protocol=ProtocolConfig("loso", mode="transductive"))
    others = [{"clip_id": f"o{n}", "subject_id": f"o{n // 7}", "label": FER7.names[n % 7]} for n in range(42)]
    source = module(write(tmp_path / "source", others, label_space="fer7"))
    ours.align_with(source)
    label_of = {row["clip_id"]: row["label"] for row in PEOPLE + others}
    seen: dict[int, set[str]] = {SOURCE: set(), COHORT: set()}
    for epoch in range(6):
        for batch in epoch_of(ours.train_dataloader(), epoch):
            hidden = 0
            columns = (batch["clip_id"], batch["subject_id"], batch["label"].tolist(), batch["domain"].tolist())
            for name, subject, label, domain in zip(*columns, strict=True):
                seen[domain].add(name)
                assert domain == (SOURCE if name.startswith("o") else COHORT)
                assert label == (-1 if subject == ours.fold.name else TARGET.index(label_of[name]))
                hidden += subject == ours.fold.name
            assert hidden == len(batch["label"]) / 3
            assert "soft_label" not in batch
    table, learned = ours.clips, np.concatenate([ours.fold.train, ours.fold.test])
    assert seen[COHORT] == set(table["clip_id"].iloc[learned])
    of_source = source.clips.iloc[source.fold.train]
    assert seen[SOURCE] == set(of_source["clip_id"][of_source["label"].isin(TARGET.names)])


def test_a_source_without_any_of_the_classes_is_refused(tmp_path: Path) -> None:
    ours = module(write(tmp_path / "ours", PEOPLE))
    others = [{"subject_id": f"o{n // 2}", "label": ("disgust", "surprise")[n % 2]} for n in range(20)]
    source = module(write(tmp_path / "source", others, label_space="fer7"))
    with pytest.raises(DataError, match="no training clip of happy, sad"):
        ours.align_with(source)


def test_the_same_clips_under_other_names_are_refused(tmp_path: Path) -> None:
    """A cohort prepared again after clips or children were renamed would count twice, or be in training and test."""
    rows = [{**row, "picture": number} for number, row in enumerate(labelled())]
    renamed = [{**row, "subject_id": f"other-{n}", "clip_id": f"z{n}"} for n, row in enumerate(rows)]
    first, second = write(tmp_path / "first", rows), write(tmp_path / "second", renamed)
    with pytest.raises(StoreError, match=rf"share {len(rows)} clips \(.* of .* is z0 of other-0"):
        module(first, second)


def test_every_store_that_cannot_be_opened_is_named(tmp_path: Path, tiny_store: Factory) -> None:
    with pytest.raises(StoreError, match=r"nothing is not a ClipStore[\s\S]*neither is not a ClipStore"):
        module(tmp_path / "nothing", tiny_store(), tmp_path / "neither")
