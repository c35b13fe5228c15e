"""FER2013 from CSV and folders: splits, labels, the audit in the card, and all bad rows reported."""

import errno
import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_modules import benchmark
from data_modules.fer2013 import CODES, FER2013Config, FER2013DataModule, parse_pixels, read_csv
from data_modules.ferplus import VOTED
from fer_id.errors import ConfigError, DataError, FerIdError, StoreError
from fer_id.labels import FER7
from fer_id.preprocessing.alignment import align
from fer_id.store.reader import ClipStore
from tests.refusals import refused

UNSEEN = "has no training image"
VOTES = {"angry": 4, "disgust": 5, "fear": 6, "happy": 1, "sad": 3, "surprise": 2, "neutral": 0}


def made(source: Path, tmp_path: Path, **settings) -> ClipStore:
    FER2013DataModule.prepare(FER2013Config(source=str(source), **settings), tmp_path / "store")
    return ClipStore.open(tmp_path / "store")


def images_per_split(store: ClipStore) -> dict[str, int]:
    return store.clips["split"].value_counts().to_dict()


def left_behind(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.iterdir() if path.suffix not in {".csv", ".gz"}]


def test_without_private_rows_validation_comes_out_of_training(fer_rows, fer_csv, tmp_path: Path) -> None:
    store = made(fer_csv(fer_rows(training=10, public=2)), tmp_path, validation_fraction=0.2)
    assert images_per_split(store) == {"train": 56, "validation": 14, "test": 14}
    assert (store.clips.groupby("split")["label"].nunique() == 7).all()
    tested = store.clips.loc[store.clips["split"] == "test", "clip_id"]
    assert tested.tolist() == [f"fer2013-{i:06d}" for i in range(70, 84)]
    assert store.card.parameters["validation"] == "split off training"
    assert (store.card.label_space, store.card.provenance, store.card.shard_by) == ("fer7", "real", "split")


def test_with_private_rows_the_official_splits_hold(fer_rows, fer_csv, tmp_path: Path) -> None:
    store = made(fer_csv(fer_rows(training=3, public=2, private=1)), tmp_path)
    assert images_per_split(store) == {"train": 21, "validation": 14, "test": 7}
    assert store.card.parameters["validation"] == "as published"


def test_the_split_is_a_function_of_its_seed(fer_rows, fer_csv, tmp_path: Path) -> None:
    source = fer_csv(fer_rows())
    splits = []
    for number, seed in enumerate((0, 0, 1)):
        FER2013DataModule.prepare(FER2013Config(source=str(source), split_seed=seed), tmp_path / str(number))
        splits.append(ClipStore.open(tmp_path / str(number)).clips["split"].tolist())
    assert splits[0] == splits[1] != splits[2]


def test_frames_are_the_pictures_enlarged(fer_rows, fer_csv, tmp_path: Path) -> None:
    rows = fer_rows(training=2, public=1)
    store = made(fer_csv(rows), tmp_path)
    for row, (code, image, _) in enumerate(rows):
        clip = store.read(row)
        expected, _ = align(np.repeat(image[..., None], 3, axis=2), None)
        np.testing.assert_array_equal(clip.frames[0], expected)
        assert store.clips["label"][row] == CODES[code]
        assert clip.valid.all()
        assert np.isnan(clip.landmarks).all()


def test_its_own_48_pixels_are_kept_and_divided_as_the_enlarged_ones(
    fer_rows, fer_csv, picture, tmp_path: Path
) -> None:
    repeated = picture(500)
    rows = fer_rows(training=4, public=1) + [(3, repeated, "Training")] * 2 + [(3, repeated, "PublicTest")]
    source = fer_csv(rows)
    enlarged = made(source, tmp_path)
    (tmp_path / "own").mkdir()
    own = made(source, tmp_path / "own", crop=48)
    for row, (_, image, _) in enumerate(rows):
        np.testing.assert_array_equal(own.read(row).frames[0], np.repeat(image[..., None], 3, axis=2))
    assert (own.card.crop, own.card.geometry) == (48, {"eyes": None, "colour": "gray", "size": 48})
    assert (enlarged.card.crop, enlarged.card.geometry) == (64, {"eyes": None, "colour": "gray"})
    pd.testing.assert_frame_equal(own.clips, enlarged.clips)
    assert own.card.audit == enlarged.card.audit
    with pytest.raises(StoreError, match=r"crops of 64x64 pixels, .* of 48x48: prepare both with the same data.crop"):
        FER2013DataModule([own.path, enlarged.path]).setup()


def test_gzip_gives_the_same(fer_rows, fer_csv, tmp_path: Path) -> None:
    plain = fer_csv(fer_rows(training=2, public=1))
    packed = plain.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for (row, first), (packed_row, second) in zip(read_csv(plain), read_csv(packed), strict=True):
        assert (row, first[:3]) == (packed_row, second[:3])
        np.testing.assert_array_equal(first.image, second.image)


def test_repeats_share_a_group_stay_on_one_side_and_are_counted(fer_rows, fer_csv, picture, tmp_path: Path) -> None:
    rows = fer_rows(training=10, public=2)
    repeated, tested, contested = (picture(seed) for seed in (500, 501, 502))
    rows += [(3, repeated, "Training")] * 5 + [(4, tested, "Training"), (4, tested, "PublicTest")]
    rows += [(0, contested, "Training"), (1, contested, "Training")]
    store = made(fer_csv(rows), tmp_path, validation_fraction=0.3)
    clips = store.clips.set_index("clip_id")
    group = clips.loc[[f"fer2013-{row:06d}" for row in range(84, 89)]]
    assert group["subject_id"].unique().tolist() == ["fer2013-000084"]
    assert group["split"].nunique() == 1
    assert clips["split"]["fer2013-000089"] == "train"  # its copy is a test image: it is not drawn for validation
    conflicting = ["fer2013-000091", "fer2013-000092"]
    assert clips["split"][conflicting].tolist() == ["train"] * 2  # nor are copies with different labels
    published = store.card.audit["published"]
    assert published["byte_identical"]["across"] == {"PublicTest in Training": 1, "Training in PublicTest": 1}
    assert published["byte_identical"]["within"]["Training"]["repeats"] == 5
    assert [[image["id"] for image in entry["images"]] for entry in published["conflicts"]] == [conflicting]
    dropped = store.card.audit["prepared"]["training_drops_by_default"]
    assert dropped["also in validation or test"] == 1
    assert dropped["repeats with conflicting labels"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ".join(["7"] * 2303), "2303 values, expected 2304"),
        (" ".join(["7"] * 2305), "2305 values"),
        (" ".join(["256"] * 2304), "value 256"),
        (" ".join(["7"] * 2303 + ["-1"]), "'-'"),
        (" ".join(["7"] * 2303 + ["1.5"]), "'.'"),
        (" ".join(["7"] * 2303 + ["x"]), "'x'"),
        (" ".join(["7"] * 2303 + ["9" * 30]), "value"),
        ("", "found nothing"),
    ],
)
def test_wrong_pixels(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_pixels(text)


def test_every_bad_row_is_reported_and_nothing_is_written(fer_rows, fer_csv, tmp_path: Path) -> None:
    rows = fer_rows()
    rows[2] = (7, rows[2][1], "Training")
    rows[5] = (0, rows[5][1][:-1], "Training")
    rows[9] = (1, rows[9][1], "Validation")
    usage = ("row 9 (line 11), column Usage", "Training, PublicTest, PrivateTest, found 'Validation'")
    others = ("row 2 (line 4), column emotion", "row 5 (line 7), column pixels: 2256 values")
    with refused(DataError, "fer2013.csv: 3 problems", *others, *usage):
        made(fer_csv(rows), tmp_path)
    assert left_behind(tmp_path) == []


def test_truncated_gzip_leaves_nothing(fer_rows, fer_csv, tmp_path: Path) -> None:
    packed = tmp_path / "fer2013.csv.gz"
    packed.write_bytes(gzip.compress(fer_csv(fer_rows()).read_bytes())[:-5000])
    with pytest.raises(DataError, match="truncated"):
        made(packed, tmp_path)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (lambda row: row[2] == "Training", ["split test is empty"]),
        (lambda row: row[2] == "PublicTest", ["split train is empty"]),
        (lambda row: row[0] not in (1, 4), ["2 problems", f"disgust {UNSEEN}", f"sad {UNSEEN}"]),
        (lambda row: False, ["no image to prepare"]),
    ],
)
def test_what_is_missing_is_reported(fer_rows, fer_csv, tmp_path: Path, chosen, words: list[str]) -> None:
    with refused(DataError, *words):
        made(fer_csv(list(filter(chosen, fer_rows()))), tmp_path)


def test_a_class_absent_from_the_test_is_a_note(fer_rows, fer_csv, tmp_path: Path) -> None:
    rows = [row for row in fer_rows() if (row[0], row[2]) != (1, "PublicTest")]
    assert made(fer_csv(rows), tmp_path).card.notes == ["no disgust in test"]


def test_a_class_too_small_to_be_divided_is_reported(fer_rows, fer_csv, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class angry has 1 distinct image"):
        made(fer_csv(fer_rows(training=1)), tmp_path)


@pytest.mark.parametrize("when", ["spooling", "writing"])
def test_a_full_disk_is_one_message_and_leaves_nothing(
    fer_rows, fer_csv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    of, method = (benchmark.ClipStoreWriter, "add_clip") if when == "writing" else (benchmark.Spool, "fill")
    monkeypatch.setattr(of, method, fail)
    with pytest.raises(DataError, match=r"store: cannot be written \(No space left on device\)"):
        made(fer_csv(fer_rows()), tmp_path)
    assert left_behind(tmp_path) == []


def test_an_older_store_is_replaced_only_with_overwrite(fer_rows, fer_csv, tmp_path: Path) -> None:
    config = FER2013Config(source=str(fer_csv(fer_rows())))
    FER2013DataModule.prepare(config, tmp_path / "store")
    with pytest.raises(FerIdError, match="exists already"):
        FER2013DataModule.prepare(config, tmp_path / "store")
    FER2013DataModule.prepare(config, tmp_path / "store", overwrite=True)


def test_image_folders(image_folder, tmp_path: Path) -> None:
    store = made(image_folder({"train": 6, "test": 2}, CODES), tmp_path)
    assert images_per_split(store) == {"train": 35, "validation": 7, "test": 14}
    assert store.card.label_space == "fer7"
    assert "fer2013-test-angry-0.png" in set(store.clips["clip_id"])


def votes_file(path: Path, rows: list, **changed: str) -> Path:
    lines = []
    for number, (code, _, usage) in enumerate(rows):
        votes = {VOTES[CODES[code]]: 8, 7: 2}  # two for contempt
        counts = ",".join(str(votes.get(column, 0)) for column in range(len(VOTED)))
        lines.append(f"{changed.get(str(number), usage)},fer{number:07d}.png,{counts}")
    path.write_text("\n".join(["Usage,Image name," + ",".join(VOTED), *lines]))
    return path


def contemptuous(path: Path, rows: range) -> None:
    """Vote for contempt, a class without a code in FER2013, in these rows."""
    lines = path.read_text().splitlines()
    for row in rows:
        lines[row + 1] = ",".join([*lines[row + 1].split(",")[:2], *"0000000802"])
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("labels", ["ferplus_majority", "ferplus_soft"])
def test_ferplus_labels(fer_rows, fer_csv, tmp_path: Path, labels: str) -> None:
    rows = fer_rows()
    votes = votes_file(tmp_path / "votes.csv", rows)
    contemptuous(votes, range(20, 27))
    flags = tmp_path / "flags.csv"
    flags.write_text("row,row_uncertain,label_ambiguous_dup\n3,1,0\n4,0,1\n")
    store = made(fer_csv(rows), tmp_path, labels=labels, votes=str(votes), row_flags=str(flags))
    assert store.card.label_space == "ferplus8"
    assert store.card.audit["left_out"] == {"row flagged uncertain": 1}
    assert "fer2013-000003" not in set(store.clips["clip_id"])
    first = store.clips.iloc[0]
    assert first["label"] == "angry"
    if labels == "ferplus_soft":
        assert list(first["soft_label"]) == pytest.approx([0, 0, 0, 0, 1, 0, 0, 0])
    else:
        assert store.clips["soft_label"].isna().all()


def test_own_labels_with_the_votes_of_training(fer_rows, fer_csv, tmp_path: Path) -> None:
    rows = fer_rows()
    votes = votes_file(tmp_path / "votes.csv", rows)
    contemptuous(votes, range(1, 2))
    store = made(fer_csv(rows), tmp_path, labels="fer2013_votes", votes=str(votes))
    assert (store.card.label_space, len(store.clips)) == ("fer7", len(rows))
    training = store.clips["clip_id"] < f"fer2013-{70:06d}"  # what validation is split off too
    assert store.clips["soft_label"].notna().tolist() == [known and row != 1 for row, known in enumerate(training)]
    code, _, _ = rows[3]
    assert list(store.clips["soft_label"][3]) == [float(name == CODES[code]) for name in FER7.names]  # not contempt
    assert store.clips["label"].tolist() == [CODES[code] for code, _, _ in rows]


def test_votes_of_other_images_are_refused(fer_rows, fer_csv, tmp_path: Path) -> None:
    rows = fer_rows()
    votes = votes_file(tmp_path / "votes.csv", rows[:-1], **{"5": "PublicTest"})
    counts = f"{len(rows) - 1} rows of votes, but {len(rows)} images"
    with refused(DataError, "row 5: Usage 'PublicTest', but the image's is 'Training'", counts):
        made(fer_csv(rows), tmp_path, labels="ferplus_majority", votes=str(votes))


def test_votes_may_include_the_missing_private_rows(fer_rows, fer_csv, tmp_path: Path) -> None:
    rows = fer_rows(private=1)
    votes = votes_file(tmp_path / "votes.csv", rows)
    contemptuous(votes, range(20, 27))
    public = [row for row in rows if row[2] != "PrivateTest"]
    assert len(made(fer_csv(public), tmp_path, labels="ferplus_majority", votes=str(votes))) == len(public)


def test_settings_that_do_not_fit_are_reported_together() -> None:
    with pytest.raises(ConfigError, match=r"2 problems[\s\S]*data.source is empty[\s\S]*needs data.votes"):
        FER2013DataModule.prepare(FER2013Config(labels="ferplus_soft"), Path("store"))


def test_the_data_module_reads_what_was_prepared(fer_rows, fer_csv, tmp_path: Path) -> None:
    from data_modules.config import DataConfig
    from fer_id.evaluation.config import ProtocolConfig

    made(fer_csv(fer_rows()), tmp_path)
    config = DataConfig(name="fer2013", store=[str(tmp_path / "store")], num_workers=0)
    module = FER2013DataModule(config, ProtocolConfig(), augment=None, batch_size=4, seed=0)
    batch = module.on_after_batch_transfer(next(iter(module.test_dataloader())), 0)
    assert tuple(batch["frames"].shape) == (4, 1, 3, 64, 64)
    assert module.labels.name == "fer7"


def test_real_landmarks(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The landmarker detects at least nine of twelve real faces, and their eyes lie where the alignment puts them."""
    from itertools import islice

    from data_modules.pictures import StillsConfig, to_samples
    from fer_id.preprocessing.alignment import EYES_64, eye_centres
    from fer_id.preprocessing.landmarks import MESH_MAPPING

    pytest.importorskip("mediapipe")
    assert [StillsConfig(landmarks=kind).landmarks_from for kind in ("none", "mediapipe")] == ["none", MESH_MAPPING]
    stills = [still for _, still in islice(read_csv(shared_data / "fer2013" / "fer2013.csv.gz"), 12)]
    model = shared_data / "models" / "face_landmarker.task"
    samples = list(to_samples(stills, StillsConfig(landmarks="mediapipe", face_landmarker=str(model)), Counter()))
    assert [sample.still.clip_id for sample in samples] == [still.clip_id for still in stills]
    detected = [sample.landmarks for sample in samples if np.isfinite(sample.landmarks).all()]
    assert len(detected) >= 9
    for landmarks in detected:
        np.testing.assert_allclose(eye_centres(landmarks), EYES_64, atol=1e-3)
