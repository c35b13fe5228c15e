"""Datasets whose file names hold their facts: patterns, labels, people and counts, of pictures and of videos."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_modules.folders import FolderConfig, FolderDataModule
from data_modules.patterns import compile_pattern
from data_modules.video_folders import VideoFolderConfig, VideoFolderDataModule
from experiments.cli import main
from fer_id.errors import ConfigError, DataError
from fer_id.settings import faults
from fer_id.store.reader import ClipStore
from tests.data_modules.conftest import smooth
from tests.refusals import refused

PATTERN = "**/{subject}-{label}-{age_group}.jpg"
WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
Folder = Callable[..., Path]


@pytest.fixture
def named_folder(tmp_path: Path) -> Folder:
    """``named_folder("a-happy-5.jpg", ...)``: a folder of pictures of these names, no two alike."""

    def write(*places: str) -> Path:
        for seed, place in enumerate(places):
            path = tmp_path / "raw" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(smooth(seed, 70)).save(path)
        return tmp_path / "raw"

    return write


def made(root: Path, pattern: str = PATTERN, **settings: object) -> ClipStore:
    config = FolderConfig(source=str(root), pattern=pattern, **settings)  # type: ignore[arg-type]
    assert not list(faults(config))
    FolderDataModule.prepare(config, root.parent / "store")
    return ClipStore.open(root.parent / "store")


@given(subject=WORD, label=WORD, folder=WORD, split=WORD)
def test_a_pattern_reads_back_what_a_name_was_made_of(subject: str, label: str, folder: str, split: str) -> None:
    pattern = compile_pattern("{split}/**/{subject}_{label}-*.png")
    for place in (f"{split}/{subject}_{label}-x.png", f"{split}/{folder}/{folder}/{subject}_{label}-.PNG"):
        match = pattern.fullmatch(place)
        assert match is not None
        assert match.groupdict() == {"split": split, "subject": subject, "label": label}
    assert not pattern.fullmatch(f"{split}/{subject}-{label}-x.png")


def test_a_field_that_stands_twice_has_one_value() -> None:
    pattern = compile_pattern("{subject}/{subject}_{label}.jpg")
    assert pattern.fullmatch("a/a_sad.jpg")
    assert not pattern.fullmatch("a/b_sad.jpg")


def test_what_a_pattern_does_not_say_stands_for_itself() -> None:
    assert not compile_pattern("a.b({label}).jpg").fullmatch("axb(sad).jpg")
    assert compile_pattern("a.b({label}).jpg").fullmatch("a.b(sad).jpg")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{subject}.jpg", "no field {label}"),
        ("{subject}{label}.jpg", "nothing separates {subject} from {label}"),
        ("{label}*.jpg", "nothing separates"),
        ("{label.jpg", "a brace is not closed"),
        ("{Label Name}-{label}.jpg", "'Label Name' is no field"),
        ("{clip_id}-{label}.jpg", "the fields clip_id mean something else"),
        ("(?P<label>[a-z+.jpg", "no regular expression"),
    ],
)
def test_faulty_patterns(pattern: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_pattern(pattern)
    assert message in str(caught.value)


def test_subjects_labels_and_groups_come_from_the_names(named_folder: Folder) -> None:
    places = [f"{kind}/s{n}-{label}-{n}.jpg" for n in (1, 2, 3) for kind, label in (("x", "h"), ("y", "Sadness"))]
    store = made(named_folder(*places), names={"H": "happy"}, licence="ask", title="faces")
    clips = store.clips.set_index("clip_id")
    assert clips.loc["x-s2-h-2.jpg", ["subject_id", "label", "age_group"]].tolist() == ["s2", "happy", "2"]
    assert set(clips["label"]) == {"happy", "sad"}
    assert (store.card.shard_by, store.card.groups, store.card.source) == ("subject_id", ["age_group"], "faces")
    assert store.card.parameters["licence"] == "ask"
    assert clips["split"].isna().all()


def test_without_subjects_alike_pictures_are_grouped_and_splits_published(named_folder: Folder) -> None:
    labels = ("happy", "sad", "angry", "fear", "neutral")
    places = [f"{split}_{label}_{n}.png" for split in ("train", "val", "test") for label in labels for n in (1, 2)]
    root = named_folder(*places)
    shutil.copy(root / "train_sad_1.png", root / "train_sad_3.png")
    store = made(root, "{split}_{label}_*.png")
    assert store.card.shard_by == "split"
    assert store.clips["split"].value_counts().to_dict() == {"train": 11, "validation": 10, "test": 10}
    assert store.clips.set_index("clip_id").loc["train_sad_3.png", "subject_id"] == "train_sad_1.png"


def test_a_table_of_people_adds_groups(named_folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("subject_id,gender\na,female\nb,\nc,male\n")
    store = made(named_folder("a-sad-1.jpg", "b-sad-1.jpg"), people=str(tmp_path / "people.csv"))
    assert store.card.groups == ["age_group", "gender"]
    assert store.clips.set_index("subject_id")["gender"].to_dict() == {"a": "female", "b": None}


def test_what_is_left_out_is_counted_and_named(named_folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    root = named_folder("a-sad-1.jpg", "b-sad-1.jpg", "a-tired-1.jpg", "cover.jpg", ".hidden.jpg")
    (root / "readme.txt").write_text("about")
    store = made(root, names={"tired": ""}, counts={"files": 3, "subjects": 2})
    left_out = {"name without the pattern": 1, "file of another kind": 1, "label tired": 1}
    assert store.card.audit["left_out"] == left_out
    stderr = capsys.readouterr().err
    assert "data.pattern does not match 1 of 4 files: cover.jpg" in stderr
    assert "raw: 2 files, and 3 are published" in stderr
    assert "subjects found" not in stderr


def test_all_faults_of_the_names_are_listed_together(named_folder: Folder, tmp_path: Path) -> None:
    places = ("x/a-sad-1.jpg", "x/b-tired-1.jpg", "y/b-tired-1.jpg", "x/b-bored-1.jpg", "x/a b-sad-1.jpg")
    (tmp_path / "people.csv").write_text("subject_id,gender\na,female\n")
    clashing, contradicting = "x-a-sad-1.jpg", "y/a-sad-2.jpg"
    root = named_folder(*places, clashing, contradicting)
    expected = (
        "label 'tired' (2 files, such as x/b-tired-1.jpg): no class of target5",
        "label 'bored' (1 file",
        "x/a b-sad-1.jpg: subject_id is 'a b'",
        "people.csv: no row of b",
        "y/a-sad-2.jpg: age_group of a is '2', and '1' in x/a-sad-1.jpg",
    )
    with refused(DataError, *expected):
        made(root, people=str(tmp_path / "people.csv"))
    with refused(DataError, "cannot be told from"):
        made(root, r"(?:.*/)?(?P<subject>[^/]+)-(?P<label>[a-z]+)-1\.jpg")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("{subject}_{label}.jpg", "matches none of 1 files; there are a-sad-1.jpg"), (PATTERN[:-3] + "png", "none of 1")],
)
def test_nothing_matches(named_folder: Folder, pattern: str, message: str) -> None:
    with refused(DataError, message):
        made(named_folder("a-sad-1.jpg"), pattern)


def test_splits_that_are_none(named_folder: Folder) -> None:
    with refused(DataError, "split 'holdout' (1 file): expected one of train"):
        made(named_folder("holdout-sad.jpg", "train-sad.jpg"), "{split}-{label}.jpg")


@pytest.mark.parametrize(
    ("dataset", "settings", "messages"),
    [
        ("folder", ["data.pattern={label}.jpg"], ["has neither {subject} nor {split}"]),
        ("folder", ["data.names={a: sad}"], ["data.names: belongs to data.pattern, which is empty"]),
        ("folder", ["data.pattern={a}.jpg", "data.names=sad"], ["no field {label}", "expected a mapping such as"]),
        ("video_folder", [], ["data.pattern: is empty"]),
        ("video_folder", ["data.pattern={label}.mp4"], ["has no field {subject}"]),
    ],
)
def test_settings_that_do_not_fit_are_listed_by_the_command(
    dataset: str, settings: list[str], messages: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", f"data={dataset}", f"data.source={tmp_path}", f"out={tmp_path / 'out'}", *settings]) == 2
    stderr = capsys.readouterr().err
    assert all(message in stderr for message in messages)


def test_single_labels_are_added_to_those_of_a_file(
    named_folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = named_folder("a-h-1.jpg", "b-s-1.jpg", "b-x-1.jpg")
    yaml = tmp_path / "faces.yaml"
    yaml.write_text(f"data:\n  name: folder\n  pattern: '{PATTERN}'\n  names: {{h: happy, s: angry}}\n")
    arguments = [f"data={yaml}", f"data.source={root}", f"out={tmp_path / 'out'}", "data.names.s=sad", "data.names.x="]
    assert main(["prepare", *arguments]) == 0
    assert sorted(ClipStore.open(tmp_path / "out").clips["label"]) == ["happy", "sad"]
    assert main(["prepare", f"data={yaml}", "--help"]) == 0
    assert "data.pattern=" in capsys.readouterr().out


def test_videos_have_their_facts_in_their_names(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "s1_joy_1.avi").write_bytes(b"no video")
    config = VideoFolderConfig(source=str(tmp_path / "raw"), pattern="{subject}_{label}_*.avi", names={"joy": "happy"})
    recordings, card = VideoFolderDataModule.recorded(config, Counter())
    assert [(r.clip_id, r.subject_id, r.label, r.end_s) for r in recordings] == [("s1_joy_1.avi", "s1", "happy", None)]
    assert (card.label_space, card.source) == ("target5", "raw")
