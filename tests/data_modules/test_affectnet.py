"""AffectNet in its two published layouts, generated; its published landmarks align the faces."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_modules.affectnet import COLUMNS, AffectNetConfig, AffectNetDataModule, parse_landmarks
from fer_id.errors import ConfigError, DataError
from fer_id.preprocessing.alignment import EYES_64, eye_centres
from fer_id.store.reader import ClipStore
from tests.refusals import refused

EMOTIONS = list(range(8))
NO_EMOTIONS = [8, 9, 9, 10]


def points(seed: int) -> np.ndarray:
    """68 points with the eyes apart, in a picture of 96 pixels."""
    rng = np.random.default_rng(seed)
    landmarks = rng.uniform(20, 76, (68, 2))
    landmarks[36:42] = [33, 40] + rng.normal(size=(6, 2))
    landmarks[42:48] = [61, 43] + rng.normal(size=(6, 2))
    return landmarks.round(2)


def as_text(landmarks: np.ndarray) -> str:
    return ";".join(f"{value:g}" for value in landmarks.ravel())


@pytest.fixture
def original(tmp_path: Path, picture) -> Callable[..., Path]:
    """The original release: two tables, and pictures in numbered folders."""

    def make(
        training: Sequence[int], validation: Sequence[int], change: Callable[[list[str]], None] = lambda _: None
    ) -> Path:
        root, seed = tmp_path / "affectnet", 0
        for split, codes in (("training", training), ("validation", validation)):
            lines = []
            for code in codes:
                name = f"{seed % 3}/{seed:04x}.jpg"
                path = root / "Manually_Annotated_Images" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture(seed, 96)).convert("RGB").save(path, quality=95)
                lines.append(f"{name},10,12,70,72,{as_text(points(seed))},{code},{'-2,-2' if code > 7 else '0.1,0.2'}")
                seed += 1
            if split == "training":
                change(lines)
            (root / f"{split}.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
        return root

    return make


@pytest.fixture
def numbered(tmp_path: Path, picture) -> Callable[..., Path]:
    """The 2021 release: pictures of 224 pixels, and one small array per annotation."""

    def make(training: Sequence[int], validation: Sequence[int]) -> Path:
        root, seed = tmp_path / "affectnet", 0
        for split, codes in (("train_set", training), ("val_set", validation)):
            for folder in ("images", "annotations"):
                (root / split / folder).mkdir(parents=True)
            for code in codes:
                Image.fromarray(picture(seed, 224)).convert("RGB").save(root / split / "images" / f"{seed}.jpg")
                for kind, value in (("exp", str(code)), ("val", "0.1"), ("aro", "0.2")):
                    np.save(root / split / "annotations" / f"{seed}_{kind}.npy", np.array(value))
                np.save(root / split / "annotations" / f"{seed}_lnd.npy", points(seed).ravel() * 224 / 96)
                seed += 1
        return root

    return make


def test_valence_and_arousal_of_both_releases(original, numbered, tmp_path: Path) -> None:
    def change(lines: list[str]) -> None:
        lines[0] = lines[0].rsplit(",", 2)[0] + ",-2,-1"
        lines[-1] = lines[-1].rsplit(",", 2)[0] + ",0.5,-2"  # a face of no emotion

    root = original([*EMOTIONS * 3, 10, 8], EMOTIONS, change)
    store = made(root, tmp_path, affect_only=True)
    clips = store.clips.set_index("clip_id")[["label", "valence", "arousal"]]
    assert clips.loc["affectnet-training-000000"].isna().tolist() == [False, True, False]
    assert clips.loc["affectnet-training-000001"].tolist() == ["happy", 0.1, 0.2]
    assert clips.loc["affectnet-training-000025"].isna().tolist() == [True, False, True]
    assert store.card.audit["left_out"] == {"no face": 1}
    assert eyes_are_in_place(store)
    shutil.rmtree(root)
    shutil.rmtree(tmp_path / "store")
    folder = numbered(EMOTIONS * 3, EMOTIONS) / "train_set" / "annotations"
    np.save(folder / "0_val.npy", np.array("-2"))
    for name in ("1_val.npy", "1_aro.npy"):
        (folder / name).unlink()
    clips = made(root, tmp_path).clips.set_index("clip_id")[["valence", "arousal"]]
    assert clips.loc["affectnet-training-0"].isna().tolist() == [True, False]
    assert clips.loc["affectnet-training-1"].isna().all()
    assert clips.loc["affectnet-training-2"].tolist() == [0.1, 0.2]


def made(root: Path, tmp_path: Path, **settings) -> ClipStore:
    AffectNetDataModule.prepare(AffectNetConfig(source=str(root), **settings), tmp_path / "store")
    return ClipStore.open(tmp_path / "store")


def eyes_are_in_place(store: ClipStore) -> bool:
    landmarks = [store.read(row).landmarks[0] for row in range(len(store))]
    return all(np.allclose(eye_centres(face), EYES_64, atol=1e-3) for face in landmarks)


def test_original_release(original, tmp_path: Path) -> None:
    store = made(original(EMOTIONS * 4 + NO_EMOTIONS, EMOTIONS * 2), tmp_path, validation_fraction=0.25)
    assert store.clips["split"].value_counts().to_dict() == {"train": 24, "test": 16, "validation": 8}
    assert store.card.audit["left_out"] == {"none": 1, "uncertain": 2, "no face": 1}
    assert (store.card.label_space, store.card.parameters["release"]) == ("affectnet8", "original")
    assert store.card.landmarks_from == "published"
    assert store.card.geometry == {"eyes": [list(eye) for eye in EYES_64], "colour": "rgb"}
    labels = store.clips.set_index("clip_id")["label"]
    assert labels["affectnet-training-000006"] == "angry"
    assert labels["affectnet-validation-000007"] == "contempt"
    assert eyes_are_in_place(store)


def test_2021_release(numbered, tmp_path: Path) -> None:
    store = made(numbered(EMOTIONS * 3, EMOTIONS), tmp_path)
    assert store.clips["split"].value_counts().to_dict() == {"train": 16, "validation": 8, "test": 8}
    assert store.card.parameters["release"] == "2021"
    assert store.clips["clip_id"].iloc[10] == "affectnet-training-10"  # by number, not 1, 10, 11
    assert eyes_are_in_place(store)


def test_lists_in_their_own_folder(original, tmp_path: Path) -> None:
    root = original(EMOTIONS * 3, EMOTIONS)
    (root / "Manually_Annotated_file_lists").mkdir()
    for name in ("training.csv", "validation.csv"):
        (root / name).rename(root / "Manually_Annotated_file_lists" / name)
    assert len(made(root, tmp_path)) == 32


def test_every_bad_cell_is_reported_before_any_picture_is_opened(original, tmp_path: Path) -> None:
    def change(lines: list[str]) -> None:
        cells = [line.split(",") for line in lines]
        cells[0][6] = "11"
        cells[1][5] = "1;2;3"
        cells[2][5] = cells[2][5].replace(";", ";nan;", 1).rsplit(";", 1)[0]
        cells[3][0] = "../../secret.jpg"
        cells[4][0] = "/etc/secret.jpg"
        cells[5][5] = "a;b"
        cells[6][7], cells[7][8] = "-5", "high"
        lines[:] = [",".join(row) for row in cells]

    root = original(EMOTIONS * 3, EMOTIONS, change)
    (root / "Manually_Annotated_Images" / "0" / "0000.jpg").write_text("no picture")
    cells = ("row 0 (line 2), column expression", "136 numbers x;y;..., not 3", "finite", "row 3 (line 5), column sub")
    cells += ("row 6 (line 8), column valence: expected a number from -1 to 1, or -2 for none", "column arousal")
    with refused(DataError, "training.csv: 8 problems", *cells) as error:
        made(root, tmp_path)
    assert "no picture" not in str(error.value)


def test_bad_pictures_stop_or_are_left_out_and_counted(original, tmp_path: Path) -> None:
    def change(lines: list[str]) -> None:
        cells = lines[9].split(",")
        cells[5] = ";".join(["5"] * 136)  # all points in one place: no eyes to align
        lines[9] = ",".join(cells)

    root = original(EMOTIONS * 4, EMOTIONS, change)
    images = root / "Manually_Annotated_Images"
    (images / "0" / "0000.jpg").unlink()
    (images / "1" / "0001.jpg").write_bytes((images / "1" / "0001.jpg").read_bytes()[:400])
    bad = ("0000.jpg: no such file", "0001.jpg: cannot be decoded", "affectnet-training-000009: eye")
    with refused(DataError, "3 problems", *bad):
        made(root, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["affectnet"]
    store = made(root, tmp_path, unreadable="leave_out")
    assert store.card.audit["left_out"] == {"unreadable": 3}
    assert len(store) == 37


def test_every_bad_annotation_is_reported(numbered, tmp_path: Path) -> None:
    root = numbered(EMOTIONS * 3, EMOTIONS)
    folder = root / "train_set" / "annotations"
    np.save(folder / "0_exp.npy", np.array("12"))
    (folder / "1_exp.npy").unlink()
    np.save(folder / "2_lnd.npy", np.zeros(10))
    np.save(folder / "3_exp.npy", np.array(["harm"], dtype=object), allow_pickle=True)
    (folder / "4_lnd.npy").write_bytes(b"\x93NUMPY")
    np.save(folder / "5_val.npy", np.array("1.01"))
    (folder / "6_aro.npy").unlink()
    bad = ("0_exp.npy: '12'", "1_exp.npy: missing", "2_lnd.npy: expected 136", "3_exp.npy: cannot", "4_lnd")
    bad += ("5_val.npy: '1.01', expected a number from -1 to 1", "6_aro.npy: missing")
    with refused(DataError, "7 problems", *bad):
        made(root, tmp_path)


def test_an_empty_set_and_no_affectnet(numbered, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no AffectNet here"):
        made(tmp_path, tmp_path)
    with pytest.raises(ConfigError, match=r"data\.source is empty"):
        AffectNetDataModule.prepare(AffectNetConfig(), tmp_path / "store")
    with pytest.raises(DataError, match=r"val_set: 1 problem[\s\S]*no .jpg there"):
        made(numbered(EMOTIONS * 3, []), tmp_path)


def test_landmarks_as_published() -> None:
    expected = points(0)
    np.testing.assert_allclose(parse_landmarks(as_text(expected) + ";"), expected, rtol=1e-6)
