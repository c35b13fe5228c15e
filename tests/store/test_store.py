"""ClipStore: round trip of clips, error messages that name every disagreement, and no half-written folder."""

import errno
import json
import math
import os
import pickle
import re
import resource
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_id import parquet
from fer_id.errors import FerIdError, StoreError
from fer_id.store import reader as store_module
from fer_id.store import writer as store_writer
from fer_id.store.card import StoreCard
from fer_id.store.format import CLIP_COLUMNS, part_shapes
from fer_id.store.reader import ClipStore
from fer_id.store.writer import ClipStoreWriter

Factory = Callable[..., Path]
Clip = tuple[dict[str, Any], np.ndarray]
PIXELS = np.zeros((1, 64, 64, 3), np.uint8)


def card(**changes: Any) -> StoreCard:
    settings: dict[str, Any] = {"provenance": "synthetic", "label_space": "target5", "shard_by": "subject_id"}
    return StoreCard(**{**settings, "source": "test", **changes})


def row(clip_id: str = "a-0", subject_id: str = "a", **columns: Any) -> dict[str, Any]:
    return {"clip_id": clip_id, "subject_id": subject_id, "label": "happy", **columns}


def shares(weights: list[float]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def write(path: Path, clips: Iterable[Clip], *, overwrite: bool = False, **about: Any) -> ClipStore:
    with ClipStoreWriter(path, card(**about), overwrite=overwrite) as writer:
        for columns, frames in clips:
            writer.add_clip(columns, frames)
    return ClipStore.open(path)


def edit_table(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    table = pd.read_parquet(path / "clips.parquet")
    changed = change(table)
    (table if changed is None else changed).to_parquet(path / "clips.parquet", index=False)


def edit_card(path: Path, **changes: Any) -> None:
    raw = json.loads((path / "card.json").read_text())
    raw = {key: value for key, value in {**raw, **changes}.items() if value != "DROP"}
    (path / "card.json").write_text(json.dumps(raw))


def complaint(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        ClipStore.open(path)
    return str(caught.value)


# --- round trip -------------------------------------------------------------------------------------------------------


@st.composite
def clips(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of a store in any order of subjects, with every optional column present or not."""
    made = []
    for number in range(draw(st.integers(1, 6))):
        length = draw(st.integers(1, 4))
        made.append(
            {
                "clip_id": f"clip {number}",
                "subject_id": draw(st.sampled_from(["a", "b-1", "C.x_2"])),
                "label": draw(st.sampled_from([None, "happy", "sad", "neutral"])),
                "soft_label": draw(st.none() | st.lists(st.floats(0.01, 1), min_size=5, max_size=5).map(shares)),
                "intensity": draw(st.none() | st.lists(st.floats(0, 1), min_size=length, max_size=length)),
                "valence": draw(st.none() | st.floats(-1, 1)),
                "t0_s": draw(st.none() | st.floats(0, 100)),
                "age_group": draw(st.none() | st.sampled_from(["6-9", "10-13"])),
                "length": length,
            }
        )
    return made


@settings(max_examples=25)
@given(clips(), st.integers(0, 2**16), st.data())
def test_clips_are_read_as_they_were_written(tmp_path_factory, rows, seed, data) -> None:
    path, rng, written = tmp_path_factory.mktemp("stores") / "store", np.random.default_rng(seed), []
    with ClipStoreWriter(path, card(groups=["age_group"])) as writer:
        for row in rows:
            length = row["length"]
            frames = rng.integers(0, 256, (length, 64, 64, 3), np.uint8)
            landmarks = rng.normal(size=(length, 68, 2)).astype(np.float32) if data.draw(st.booleans()) else None
            valid = rng.integers(0, 2, length).astype(bool) if data.draw(st.booleans()) else None
            writer.add_clip({k: v for k, v in row.items() if k != "length"}, frames, landmarks, valid)
            written.append((frames, landmarks, valid))
    store = ClipStore.open(path)
    assert len(store) == len(rows)
    assert tuple(store.clips.columns) == (*CLIP_COLUMNS, "age_group")
    for number, (row, (frames, landmarks, valid)) in enumerate(zip(rows, written, strict=True)):
        clip, read = store.read(number), store.clips.iloc[number]
        np.testing.assert_array_equal(clip.frames, frames)
        expected = np.full((len(frames), 68, 2), np.nan, np.float32) if landmarks is None else landmarks
        np.testing.assert_array_equal(clip.landmarks, expected)
        np.testing.assert_array_equal(clip.valid, np.ones(len(frames), bool) if valid is None else valid)
        assert (read["length"], read["n_valid"]) == (len(frames), clip.valid.sum())
        for key in ("clip_id", "subject_id", "label", "age_group"):
            assert read[key] == row[key]  # None is None, not NaN
        assert math.isnan(read["arousal"])
        assert math.isnan(read["valence"]) if row["valence"] is None else read["valence"] == row["valence"]
        for key in ("soft_label", "intensity"):
            assert read[key] is None if row[key] is None else read[key].tolist() == row[key]


def test_a_store_without_any_label_has_none_not_nan(tmp_path: Path) -> None:
    store = write(tmp_path / "s", [(row(f"a-{number}", label=None), PIXELS) for number in range(2)])
    assert store.clips["label"].tolist() == [None, None]


def test_valence_and_arousal_are_columns_where_a_clip_has_either(tmp_path: Path) -> None:
    store = write(tmp_path / "without", [(row(valence=math.nan), PIXELS)])
    assert store.clips[["valence", "arousal"]].isna().all(axis=None)
    assert not {"valence", "arousal"} & {*pd.read_parquet(tmp_path / "without" / "clips.parquet")}
    with pytest.raises(StoreError, match=r"valence is 1\.5, expected a number from -1 to 1, or NaN"):
        write(tmp_path / "beyond", [(row(valence=1.5), PIXELS)])
    write(tmp_path / "with", [(row(valence=-1.0), PIXELS)])
    edit_table(tmp_path / "with", lambda table: table.assign(arousal=-2.0))
    assert "column arousal holds -2.0, expected a number from -1 to 1, or NaN" in complaint(tmp_path / "with")


def test_a_benchmark_is_sharded_by_split(tmp_path: Path) -> None:
    splits = enumerate(["train", "test", "train"])
    clips = ((row(f"i{number}", f"group {number}", split=split), PIXELS + number) for number, split in splits)
    store = write(tmp_path / "s", clips, shard_by="split")
    assert sorted(p.name for p in (tmp_path / "s" / "frames").iterdir()) == ["test.npy", "train.npy"]
    assert [int(store.read(i).frames.max()) for i in range(3)] == [0, 1, 2]


def test_files_are_plain_npy_that_numpy_alone_can_read(tiny_store: Factory) -> None:
    path = tiny_store(subjects=1, clips=1, length=3)
    for part, shape in (("frames", (15, 64, 64, 3)), ("landmarks", (15, 68, 2)), ("valid", (15,))):
        assert np.load(path / part / "s00.npy", allow_pickle=False).shape == shape


def test_the_card_may_be_filled_in_until_the_end(tmp_path: Path) -> None:
    with ClipStoreWriter(tmp_path / "s", card()) as writer:
        writer.add_clip(row(), PIXELS)
        writer.card.audit["left_out"] = {"no face": 3}
    assert ClipStore.open(tmp_path / "s").card.audit == {"left_out": {"no face": 3}}


def test_the_fingerprint_follows_table_and_card(tiny_store: Factory) -> None:
    first, same, other = tiny_store("one"), tiny_store("two"), tiny_store("three", subjects=3)
    prints = [ClipStore.open(path).fingerprint for path in (first, same, other)]
    assert prints[0] == prints[1] != prints[2]
    edit_card(first, notes=["touched"])
    assert ClipStore.open(first).fingerprint != prints[0]


# --- memory and descriptors -------------------------------------------------------------------------------------------


def test_frames_are_views_of_a_read_only_memory_map(tiny_store: Factory) -> None:
    clip = ClipStore.open(tiny_store()).read(1)
    assert isinstance(clip.frames.base, np.memmap)
    assert not clip.frames.flags.writeable


def test_opening_and_reading_one_clip_do_not_read_the_frames(tmp_path: Path) -> None:
    """A shard of 2.4 GB (a sparse file) opens within an address space that could not hold it in memory."""
    path, count = tmp_path / "s", 200_000
    write(path, [(row(), PIXELS)])
    for part, (dtype, shape) in part_shapes(StoreCard.read(path / "card.json")).items():
        file = path / part / "a.npy"
        with file.open("r+b") as out:
            out.write(store_writer._npy_header(np.dtype(dtype), (count, *shape)))
            out.truncate(128 + count * int(np.prod(shape)) * np.dtype(dtype).itemsize)
    edit_table(path, lambda table: table.assign(length=count))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert ClipStore.open(path).read(0).frames[-1:].shape == (1, 64, 64, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_more_subjects_than_a_process_may_open_files(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store_module, "_MAPS", 30)
            store = write(tmp_path / "s", [(row(f"c{n}", f"s{n}"), PIXELS + n) for n in range(80)])
            assert [int(store.read(i).frames.max()) for i in range(80)] == list(range(80))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_store_sent_to_a_worker_carries_no_frames(tiny_store: Factory) -> None:
    store = ClipStore.open(tiny_store(subjects=2, clips=4, length=4))
    store.read(0)
    sent = pickle.dumps(store)
    assert len(sent) < 64 * 64 * 3 * 10
    np.testing.assert_array_equal(pickle.loads(sent).read(3).frames, store.read(3).frames)  # noqa: S301


# --- disagreements ----------------------------------------------------------------------------------------------------


def test_not_a_store(tmp_path: Path) -> None:
    assert "is not a ClipStore (no card.json)" in complaint(tmp_path)


def archive(file: Path) -> None:
    np.savez(file.with_suffix(""), np.load(file))
    file.with_suffix(".npz").replace(file)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-10]),
    "emptied": lambda file: file.write_bytes(b""),
    "float64": lambda file: np.save(file, np.load(file).astype(np.float64)),
    "shorter": lambda file: np.save(file, np.load(file)[:-1]),
    "scalar": lambda file: np.save(file, np.load(file).ravel()[0]),
    "archive": archive,
    "objects": lambda file: np.save(file, np.array([{"code": "runs"}], dtype=object), allow_pickle=True),
    "garbage": lambda file: file.write_bytes(b"PAR1" + b"x" * 99),
}
"""What may happen to a file of a store."""


@pytest.mark.parametrize("part", ["frames", "landmarks", "valid"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("removed", "missing"),
        *((damage, "cannot be read") for damage in ("truncated", "emptied", "archive", "objects")),
        ("float64", "float64"),
        ("shorter", "9 frames, but clips.parquet reaches to 10"),
        ("scalar", "expected"),
    ],
)
def test_a_damaged_array_is_named(tiny_store: Factory, part: str, damage: str, says: str) -> None:
    path = tiny_store(subjects=2, clips=2, length=1)
    DAMAGE[damage](path / part / "s01.npy")
    message = complaint(path)
    assert f"{part}/s01.npy" in message
    assert says in message
    assert "s00" not in message


def test_a_wrong_shape_says_which_was_expected(tiny_store: Factory) -> None:
    path = tiny_store(subjects=1, clips=2, length=1)
    np.save(path / "landmarks" / "s00.npy", np.zeros((10, 5, 2), np.float32))
    assert "landmarks/s00.npy: float32 (10, 5, 2), expected float32 (N, 68, 2)" in complaint(path)


def nulls(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.assign(**{column: table[column].astype(object).where(table.index != 2, None)})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.assign(label="bored"), "label 'bored' is not in target5: happy, sad"),
        (lambda t: t.assign(clip_id="same"), "clip_id not unique: same"),
        (lambda t: t.drop(columns=["fps", "age_group"]), "columns missing: fps, age_group"),
        (lambda t: t.assign(start=t["start"] + 10**6), "reaches to 1000010"),
        (lambda t: t.assign(start=-1), "negative start"),
        (lambda t: t.iloc[:-1], "10 frames, but clips.parquet reaches to 9"),
        (lambda t: t.drop(index=3), "clips overlap or leave frames out"),
        (lambda t: t.assign(start=t["start"].replace(3, 4)), "clips overlap or leave frames out"),
        (lambda t: t.assign(n_valid=t["n_valid"].where(t.index != 2, 0)), "n_valid is not what valid/ holds for"),
        (lambda t: t.assign(length=0), "empty clip"),
        (lambda t: t.assign(length="1"), "column length is"),
        (nulls("start"), "column start is"),
        (nulls("clip_id"), "column clip_id is empty in 1 rows"),
        (nulls("subject_id"), "column subject_id is empty in 1 rows"),
        (lambda t: t.assign(soft_label=[[0.5, 0.5]] * len(t)), "soft_label has 2 values, expected the 5"),
        (lambda t: t.assign(subject_id="s99"), "frames/s99.npy: missing"),
        (lambda t: t.iloc[:0], "no clip"),
        *(
            (lambda t, column=column, name=name: t.assign(**{column: name}), "expected text that can name a file")
            for column in ("subject_id", "clip_id")
            for name in ("../../x", "/etc/passwd", "..", "a\0b", "a\nb", "a\x1b[31mb", 7)
        ),
        (lambda t: t.assign(soft_label=[[2.0, -1.0, 0.0, 0.0, 0.0]] * len(t)), "expected shares that sum to 1"),
        (lambda t: t.assign(soft_label=[[math.nan] * 5] * len(t)), "expected shares that sum to 1"),
        (lambda t: t.assign(fps=0.0), "column fps holds 0.0, expected a number above 0"),
        (lambda t: t.assign(t0_s=math.inf), "column t0_s holds inf, expected a finite number"),
    ],
)
def test_a_table_that_disagrees_is_named(tiny_store, change, says) -> None:
    path = tiny_store(subjects=1, clips=2, length=1)
    edit_table(path, change)
    message = complaint(path)
    assert says in message
    assert "clips.parquet" in message or "s99.npy" in message


def test_group_columns_hold_text_and_mean_nothing_else(tiny_store: Factory) -> None:
    path = tiny_store(subjects=1, clips=2)
    edit_card(path, groups=["label", "gender"])
    edit_table(path, lambda t: t.assign(gender=[["a", "b"]] * len(t)))
    message = complaint(path)
    assert "card.json: the group column label means something else" in message
    assert "column gender holds" in message


@pytest.mark.parametrize("eyes", [[[20, 24]], [[20, 24], [44, "24"]], "20,24", [[20, 24], [math.nan, 24]]])
def test_eye_positions_that_are_not_two_points_are_refused(tiny_store: Factory, eyes: object) -> None:
    path = tiny_store(subjects=1, clips=1)
    edit_card(path, geometry={"eyes": eyes})
    assert "card.json: 1 problem" in complaint(path) or "geometry.eyes" in complaint(path)


def test_frames_have_the_side_that_the_card_names(tiny_store: Factory, tmp_path: Path) -> None:
    pixels = np.zeros((1, 48, 48, 3), np.uint8)
    assert write(tmp_path / "small", [(row(), pixels)], geometry={"size": 48}).read(0).frames.shape == pixels.shape
    edit_card(path := tiny_store(subjects=1, clips=1), geometry={"size": 48})
    assert "frames/s00.npy: uint8 (15, 64, 64, 3), expected uint8 (N, 48, 48, 3)" in complaint(path)
    edit_card(path, geometry={"size": 480})
    assert "geometry.size" in complaint(path)


@pytest.mark.parametrize("part", ["clips.parquet", "card.json", "frames/s00.npy", "valid/s00.npy"])
def test_a_named_pipe_in_a_store_does_not_block(tiny_store: Factory, part: str) -> None:
    path = tiny_store(subjects=1, clips=1)
    (path / part).unlink()
    os.mkfifo(path / part)
    assert re.search("a pipe|missing|no card.json", complaint(path))


def test_a_table_with_too_many_cells_is_not_read(tiny_store: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_store(subjects=1, clips=1)
    monkeypatch.setattr(parquet, "MOST_CELLS", 10)
    assert "more than is read; prepare the store again" in complaint(path)


@pytest.mark.parametrize("damage", ["removed", "emptied", "truncated", "garbage"])
def test_a_damaged_table_is_named(tiny_store: Factory, damage: str) -> None:
    path = tiny_store(subjects=1, clips=1)
    DAMAGE[damage](path / "clips.parquet")
    assert re.search(r"clips.parquet: (cannot be read|no such file).*; prepare the store again", complaint(path))


def test_all_disagreements_stand_in_one_message(tiny_store: Factory) -> None:
    path = tiny_store(subjects=3, clips=2, length=1)
    for damage, file in (("removed", "frames/s00"), ("float64", "landmarks/s01"), ("shorter", "valid/s02")):
        DAMAGE[damage](path / f"{file}.npy")
    edit_table(path, lambda t: t.assign(label="bored", clip_id="same"))
    message = complaint(path)
    arrays = ("frames/s00.npy: missing", "landmarks/s01.npy: float64", "valid/s02.npy: 9 frames")
    for fragment in (*arrays, "bored", "same"):
        assert fragment in message


def test_all_faults_of_a_card_stand_in_one_message(tiny_store: Factory) -> None:
    path = tiny_store(subjects=1, clips=1)
    edit_card(path, provenance="imagined", shard_by="DROP", colour="red", groups="age_group", geometry=None, source=3)
    message = complaint(path)
    for fragment in (
        "card.json: 6 problems",
        "shard_by is missing",
        "unknown key colour",
        "provenance is 'imagined', expected one of real, simulated, synthetic",
        "groups is 'age_group', expected a list",
        "geometry is null, expected an object",
        "source is 3, expected text",
    ):
        assert fragment in message


@pytest.mark.parametrize(
    ("card", "origin"),
    [
        ({"source": "cohort"}, "mesh-1"),
        ({"source": "ferplus", "parameters": {"landmarks": "mediapipe"}}, "mesh-1"),
        ({"source": "fer2013", "parameters": {"landmarks": "none"}}, "none"),
        ({"source": "affectnet", "parameters": {"landmarks": "published"}}, "published"),
        ({"source": "simulate"}, "mesh-1"),
        ({"source": "synth"}, "drawn"),
    ],
)
def test_the_origin_of_landmarks_is_inferred_for_an_older_card(tiny_store, card, origin) -> None:
    path = tiny_store()
    raw = json.loads((path / "card.json").read_text()) | card
    del raw["landmarks_from"]
    (path / "card.json").write_text(json.dumps(raw))
    read = ClipStore.open(path).card
    assert (read.landmarks_from, read.mesh_mapping) == (origin, "mesh-1" if origin == "mesh-1" else None)


def test_landmarks_of_unknown_origin_are_refused(tiny_store: Factory) -> None:
    path = tiny_store()
    edit_card(path, landmarks_from="mesh-9")
    assert "landmarks_from is 'mesh-9', expected one of mesh-1, mesh-2, drawn, published, none" in complaint(path)


def test_a_card_of_a_later_label_space_lists_the_known(tiny_store: Factory) -> None:
    path = tiny_store(subjects=1, clips=1)
    edit_card(path, label_space="target9")
    assert "label_space is 'target9', expected one of target5" in complaint(path)


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "frames", "says"),
    [
        ({"mood": "x"}, PIXELS, "unknown columns ['mood']"),
        ({"subject_id": "../other"}, PIXELS, "subject_id '../other' cannot name a file"),
        ({"subject_id": None}, PIXELS, "subject_id is None, expected text"),
        ({"clip_id": ""}, PIXELS, "clip_id is '', expected text"),
        ({"clip_id": "first"}, PIXELS, "clip_id stands in the store already"),
        ({"label": "bored"}, PIXELS, "label 'bored' is not in target5"),
        ({"soft_label": [1.0]}, PIXELS, "soft_label has 1 values, expected the 5"),
        ({}, PIXELS.astype(float), "frames: float64 (1, 64, 64, 3), expected uint8 (1, 64, 64, 3)"),
        ({}, PIXELS[:, :48], "frames: uint8 (1, 48, 64, 3)"),
        ({}, PIXELS[:0], "frames: uint8 (0, 64, 64, 3)"),
    ],
)
def test_a_clip_that_does_not_fit_is_refused_by_name_and_nothing_is_left(tmp_path, columns, frames, says) -> None:
    with pytest.raises(StoreError) as caught:
        write(tmp_path / "s", [(row("first"), PIXELS), (row(**columns), frames)])
    assert says in str(caught.value)
    assert str(tmp_path) not in str(caught.value)  # no temporary folder, which is gone by now
    assert not list(tmp_path.iterdir())


def test_all_faults_of_a_clip_stand_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="4 problems"), ClipStoreWriter(tmp_path / "s", card()) as writer:
        writer.add_clip(row(label="bored", mood=1), PIXELS, np.zeros((1, 5, 2)), np.ones(3, bool))  # type: ignore[arg-type]


def test_an_empty_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no clip was written"):
        write(tmp_path / "s", [])
    assert not list(tmp_path.iterdir())


def fill(path: Path, *, overwrite: bool = False) -> None:
    write(path, [(row(f"c{number}", f"s{number % 3}"), PIXELS) for number in range(6)], overwrite=overwrite)


def failing(code: int) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("where", ["to_parquet", "_npy_header", "write_json", "fsync"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    owner: Any = {"to_parquet": pd.DataFrame, "fsync": os}.get(where, store_writer)
    monkeypatch.setattr(owner, where, failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        fill(tmp_path / "s")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_fills_up_between_clips_leaves_nothing(tmp_path: Path) -> None:
    def clips() -> Iterator[Clip]:
        yield row("one", "s0"), PIXELS
        (draft,) = tmp_path.iterdir()
        (draft / "frames" / "s1.npy").symlink_to("/dev/full")
        yield row("two", "s1"), PIXELS

    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "s", clips())
    assert not list(tmp_path.iterdir())


def test_an_exception_of_the_reader_leaves_nothing(tmp_path: Path) -> None:
    def clips() -> Iterator[Clip]:
        yield row(), PIXELS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s", clips())
    assert not list(tmp_path.iterdir())


def test_overwriting_takes_the_place_of_a_store_and_of_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s"
    fill(path)
    with pytest.raises(FerIdError, match="exists already"):
        fill(path)
    edit_card(path, notes=["old"])
    fill(path, overwrite=True)
    assert ClipStore.open(path).card.notes == []
    shutil.rmtree(path / "frames")
    (path / "card.json").rename(path / "holiday.json")
    with pytest.raises(FerIdError, match=r"holds no card\.json"):
        fill(path, overwrite=True)
    assert (path / "holiday.json").exists()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_overwrite_keeps_the_old_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    fill(path)
    before = ClipStore.open(path).fingerprint
    monkeypatch.setattr(store_writer, "write_json", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        fill(path, overwrite=True)
    assert ClipStore.open(path).fingerprint == before
    assert list(tmp_path.iterdir()) == [path]


def test_faces_are_readable_by_their_owner_only(tiny_store: Factory) -> None:
    assert tiny_store().stat().st_mode & 0o077 == 0


def test_too_many_open_files_are_not_taken_for_a_damaged_store(tiny_store, monkeypatch) -> None:
    path = tiny_store()
    monkeypatch.setattr(np.lib.format, "open_memmap", failing(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        ClipStore.open(path)
