"""Images in ``split/class`` folders: labels, splits, and faulty files."""

import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from data_modules.folders import FolderConfig, FolderDataModule, infer_space, list_images
from data_modules.stills import read_image
from fer_id.errors import ConfigError, DataError
from fer_id.labels import FER7, SPACES, TARGET
from fer_id.store.reader import ClipStore
from tests.refusals import refused


def made(source: Path, tmp_path: Path, **settings) -> ClipStore:
    FolderDataModule.prepare(FolderConfig(source=str(source), **settings), tmp_path / "store")
    return ClipStore.open(tmp_path / "store")


def bomb(path: Path, side: int = 60_000) -> Path:
    """PNG of a few bytes with 3.6 thousand million pixels in its header."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    parts = (struct.pack(">I", len(b)) + kind + b + struct.pack(">I", zlib.crc32(kind + b)) for kind, b in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_all_three_splits(image_folder, tmp_path: Path) -> None:
    store = made(image_folder({"train": 3, "val": 1, "test": 1}, TARGET.names), tmp_path)
    assert store.clips["split"].value_counts().to_dict() == {"train": 15, "validation": 5, "test": 5}
    assert store.card.label_space == "target5"
    assert store.card.source == "pictures"


def test_without_a_test_validation_is_the_test(image_folder, tmp_path: Path) -> None:
    store = made(image_folder({"train": 4, "valid": 2}, TARGET.names), tmp_path)
    assert store.clips["split"].value_counts().to_dict() == {"train": 15, "test": 10, "validation": 5}


def test_other_words_for_the_classes(image_folder, tmp_path: Path) -> None:
    words = ("Anger", "disgusted", "fearful", "happiness", "Sadness", "surprised", "neutral")
    assert set(made(image_folder({"train": 3, "test": 1}, words), tmp_path).clips["label"]) == set(FER7.names)


@pytest.mark.parametrize("space", SPACES.values(), ids=str)
def test_the_space_is_inferred_from_its_classes(space) -> None:
    assert set(infer_space(set(space.names)).names) == set(space.names)


def test_a_chosen_space_wins(image_folder, tmp_path: Path) -> None:
    source = image_folder({"train": 3, "test": 1}, SPACES["affectnet8"].names)
    assert made(source, tmp_path, label_space="affectnet8").card.label_space == "affectnet8"


def test_unknown_classes_are_listed(image_folder, tmp_path: Path) -> None:
    source = image_folder({"train": 3, "test": 1}, (*TARGET.names, "bored", "awake"))
    with pytest.raises(DataError, match=r"classes awake, bored: no label space has them\. Known: target5"):
        made(source, tmp_path)
    with pytest.raises(DataError, match=r"4 problems[\s\S]*train/bored: no class of target5"):
        made(source, tmp_path, label_space="target5")


def test_a_class_of_the_space_without_folder_is_reported(image_folder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"class fear has no training image[\s\S]*Expected images of all of"):
        made(image_folder({"train": 3, "test": 1}, ("happy", "sad", "angry", "neutral")), tmp_path)


def test_everything_wrong_with_a_layout_is_reported(image_folder, tmp_path: Path) -> None:
    root = image_folder({"train": 1, "holdout": 1}, ("happy",))
    (root / "train" / "sad").mkdir()
    (root / "train" / "happy" / "notes.txt").write_text("a")
    (root / "labels.csv").write_text("a")
    (root / ".DS_Store").write_text("hidden files are no one's fault")
    wrong = ("holdout: expected one of", "labels.csv", "train/sad: no image", "train/happy/notes.txt")
    with refused(DataError, "4 problems", *wrong):
        list_images(root)


def test_no_folder_no_images_no_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        list_images(tmp_path / "none")
    with pytest.raises(DataError, match="no images"):
        list_images(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.source is empty"):
        FolderDataModule.prepare(FolderConfig(), tmp_path / "store")


def test_every_bad_picture_is_reported_and_nothing_is_written(image_folder, tmp_path: Path) -> None:
    root = image_folder({"train": 6, "test": 1}, TARGET.names)
    bomb(root / "train" / "happy" / "0.png")
    (root / "train" / "sad" / "1.png").write_text("no picture")
    whole = (root / "train" / "fear" / "2.png").read_bytes()
    (root / "train" / "fear" / "2.png").write_bytes(whole[: len(whole) // 2])
    with refused(DataError, "3 problems", "0.png: absurdly large", "1.png: not a picture", "2.png: cannot be decoded"):
        made(root, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_picture_larger_than_any_camera_makes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"8000x8000 pixels, expected at most 50,000,000"):
        read_image(bomb(tmp_path / "large.png", side=8000))


def test_rare_formats_are_not_handed_to_their_decoders(tmp_path: Path, picture) -> None:
    Image.fromarray(picture(0, 40)).save(tmp_path / "disguised.png", format="TIFF")
    with pytest.raises(DataError, match="not a picture"):
        read_image(tmp_path / "disguised.png")


def test_two_images_of_one_name_are_both_named(image_folder, tmp_path: Path) -> None:
    source = image_folder({"train": 1, "test": 1}, ("anger", "angry"))
    both = "train/angry/0.png: the class angry has an image of that name already, train/anger/0.png"
    with refused(DataError, both):
        list_images(source)


def test_class_folders_named_by_numbers_are_refused(image_folder, tmp_path: Path) -> None:
    source = image_folder({"train": 1, "test": 1}, tuple("1234567"))
    for space in (None, "fer7"):
        with pytest.raises(DataError, match="numbers mean something else in every benchmark"):
            FolderDataModule.prepare(FolderConfig(source=str(source), label_space=space), tmp_path / "store")


def test_a_name_that_is_no_text(image_folder) -> None:
    source = image_folder({"train": 1, "test": 1}, TARGET.names)
    Path(os.fsdecode(bytes(source / "train" / "happy") + b"/\xff.png")).touch()
    (source / "train" / "happy" / "a\x1b[31m.png").touch()
    with pytest.raises(DataError) as caught:
        list_images(source)
    assert str(caught.value).count("the name is no printable text") == 2
    assert "\x1b" not in str(caught.value)
    str(caught.value).encode()
