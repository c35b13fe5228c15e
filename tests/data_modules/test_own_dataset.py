"""Datasets of somebody's own: the examples of docs/DATASETS.md as they stand, and mistakes in a reader."""

import csv
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_modules import PictureDataModule, Recording, Still, VideoDataModule
from data_modules.pictures import StillsConfig
from data_modules.registry import DATASETS, known_datasets, load_dataset
from data_modules.video_store import VideoConfig
from experiments.cli import DONE, USERS_FAULT, main
from fer_id.errors import ConfigError, DataError, LeakageError
from fer_id.labels import TARGET
from fer_id.store.reader import ClipStore

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 7
Register = Callable[..., Any]
Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("remembered_faces")


def example(heading: str) -> str:
    """Return the first block of Python below a heading of docs/DATASETS.md."""
    page = (ROOT / "docs" / "DATASETS.md").read_text("utf-8")
    code = re.search(r"```python\n(.*?)```", page.partition(heading)[2], re.DOTALL)
    assert code, f"no block of Python below {heading}"
    assert len(code[1].splitlines()) <= 80
    return code[1]


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], Any]]:
    """``register("name", code, "Class")``: write a module, register its class in the table, return it."""
    made = []

    def write(name: str, code: str, of: str) -> Any:
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code" / f"own_{name}.py").write_text(code, "utf-8")
        monkeypatch.syspath_prepend(str(tmp_path / "code"))
        monkeypatch.setitem(DATASETS, name, f"own_{name}:{of}")
        made.append(f"own_{name}")
        return getattr(import_module(f"own_{name}"), of)

    yield write
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture
def documented(register: Register) -> Any:
    """The benchmark of docs/DATASETS.md, registered as ``web_faces``."""
    return register("web_faces", example("\n## A benchmark of pictures"), "WebFacesDataModule")


@pytest.fixture
def web_faces(tmp_path: Path, picture: Callable[..., Any]) -> Path:
    """The layout of the example: of each class six training and two test pictures, one of them in both."""
    root, lines, seed = tmp_path / "raw", list[str](), 0
    (root / "EmoLabel").mkdir(parents=True)
    (root / "Image" / "aligned").mkdir(parents=True)
    for split, count in (("train", 6), ("test", 2)):
        for number in range(count * CLASSES):
            stem = f"{split}_{number + 1:05d}"
            shown = 0 if (split, number) == ("test", 0) else seed  # test_00001 is train_00001
            Image.fromarray(picture(shown, 100)).convert("RGB").save(root / "Image" / "aligned" / f"{stem}_aligned.jpg")
            lines.append(f"{stem}.jpg {number % CLASSES + 1}")
            seed += 1
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return root


def test_the_example_prepares_an_audited_store(
    documented: Any, web_faces: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "store"
    assert main(["prepare", "data=web_faces", f"data.source={web_faces}", f"out={out}"]) == DONE
    printed = capsys.readouterr().err
    assert "42 images in train, and 12,271 are published" in printed
    assert "1 of these groups across published splits: train_00001 = test_00001\n" in printed
    store = ClipStore.open(out)
    assert (store.card.shard_by, store.card.label_space, store.card.source) == ("split", "fer7", "web_faces")
    assert sorted(path.stem for path in (out / "frames").iterdir()) == ["test", "train", "validation"]
    assert store.clips["split"].value_counts().to_dict() == {"train": 35, "test": 14, "validation": 7}
    assert store.card.audit["prepared"]["training_drops_by_default"]
    clips = store.clips.set_index("clip_id")
    assert clips["subject_id"]["train_00001"] == clips["subject_id"]["test_00001"]
    assert clips["subject_id"].nunique() == 8 * CLASSES - 1
    names = dict.fromkeys(["train_00001", "test_00001"], "surprise") | {"train_00007": "neutral"}
    assert clips.loc[list(names), "label"].to_dict() == names
    data = documented(out, batch_size=4)
    assert "train_00001" not in set(data.clips["clip_id"].iloc[data.fold.train])
    assert (data.images, data.labels.name) == (True, "fer7")


def test_read_that_yields_nothing_is_named(documented: Any, web_faces: Path, tmp_path: Path) -> None:
    documented.read = classmethod(lambda cls, source, left_out: None)
    with pytest.raises(
        DataError, match=r"WebFacesDataModule\.read returns a NoneType, expected a class method that yields"
    ):
        documented.prepare(documented.settings(name="web_faces", source=str(web_faces)), tmp_path / "store")


def test_group_columns_of_pictures_are_checked(documented: Any, web_faces: Path, tmp_path: Path) -> None:
    documented.group_columns = ("gender",)
    with pytest.raises(DataError, match=r"groups names \[\], expected group_columns: \['gender'\]"):
        documented.prepare(documented.settings(name="web_faces", source=str(web_faces)), tmp_path / "store")


def test_prepare_data_makes_a_missing_store_once(
    documented: Any, web_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = documented(tmp_path / "stores" / "web_faces", source=web_faces)
    assert not (tmp_path / "stores").exists()
    data.prepare_data()
    made = ClipStore.open(tmp_path / "stores" / "web_faces").fingerprint
    monkeypatch.setattr(documented, "read", None)
    again = documented(tmp_path / "stores" / "web_faces", source=web_faces)
    again.prepare_data()
    again.setup("fit")
    assert again.fingerprint == made
    with pytest.raises(ConfigError, match="one store, and several are given"):
        documented([tmp_path / "a", tmp_path / "b"], source=web_faces).prepare_data()


def test_several_processes_make_one_store(tmp_path: Path) -> None:
    """Each waits for the lock of the first, and then finds the store; threads with handles of their own lock alike."""
    made = []

    class Counted(PictureDataModule):
        dataset = "counted"

        @classmethod
        def prepare(cls, config: Any, out: Path, *, overwrite: bool = False) -> Any:
            made.append(config.source)
            out.mkdir()

    modules = [Counted(tmp_path / "store", source="raw") for _ in range(4)]
    with ThreadPoolExecutor(len(modules)) as pool:
        list(pool.map(Counted.prepare_data, modules))
    assert made == ["raw"]


@pytest.fixture
def school(drawn_site: Path, tmp_path: Path) -> Path:
    """Two clips of each of two drawn children, and an emotion that has no class."""
    with (drawn_site / "clips.csv").open(newline="") as file:
        clips = list(csv.DictReader(file))
    children = list(dict.fromkeys(clip["subject_id"] for clip in clips))[:2]
    rows, emotions = [], ("joy", "sadness")
    (tmp_path / "school" / "videos").mkdir(parents=True)
    for child in children:
        for emotion, clip in zip(emotions, [c for c in clips if c["subject_id"] == child][:2], strict=True):
            name = Path(clip["video"]).name
            shutil.copy(drawn_site / clip["video"], tmp_path / "school" / "videos" / name)
            rows.append([name, child, clip["start_s"], clip["end_s"], emotion, "f"])
    rows.append([rows[0][0], children[0], "0", "1", "boredom", "f"])
    with (tmp_path / "school" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["video", "child", "start_s", "end_s", "emotion", "gender"], *rows])
    return tmp_path / "school"


def test_the_example_of_people_on_video(
    register: Register, school: Path, tmp_path: Path, landmark_model: str, capsys: Capture
) -> None:
    pytest.importorskip("mediapipe")
    dataset = register("school_clips", example("\n## People on video"), "SchoolClipsDataModule")
    quick = ("data.fps=3", "data.window=3", "data.stride=3", "data.workers=1")
    model, out = f"data.face_landmarker={landmark_model}", tmp_path / "store"
    assert main(["prepare", "data=school_clips", f"data.source={school}", model, *quick, f"out={out}"]) == DONE
    assert "school_clips: left out: emotion boredom (1)" in capsys.readouterr().err
    store = ClipStore.open(out)
    assert (store.card.shard_by, store.card.groups) == ("subject_id", ["gender"])
    assert store.card.audit["left_out"] == {"emotion boredom": 1}
    assert sorted(path.stem for path in (out / "frames").iterdir()) == sorted(store.clips["subject_id"].unique())
    assert store.clips["subject_id"].nunique() == 2
    assert {"clip-00000-000", "clip-00003-000"} <= set(store.clips["clip_id"])
    labels = store.clips.groupby(store.clips["clip_id"].str[:10])["label"].unique().str[0]
    assert labels.tolist() == ["happy", "sad"] * 2
    assert (store.clips["n_valid"] > 0).any()
    assert (store.clips["gender"] == "f").all()
    assert store.card.audit["coverage"]["found"] == store.card.audit["coverage"]["frames"] == 16
    data = dataset(out, "loso")
    assert (data.images, data.has_children) == (False, True)


# ----------------------------------------------------------------------------------------------- mistakes of a reader

GOOD = np.zeros((8, 8, 3), np.uint8)


class Pictures(PictureDataModule):
    """A dataset without a mistake, of which the tests change a part."""

    dataset = "own"
    label_space = "target5"
    splits = {"train": "train", "test": "test"}  # noqa: RUF012
    stills: tuple[Any, ...] = ()

    @classmethod
    def read(cls, source: Path, left_out: Any) -> Iterator[Still]:
        yield from cls.stills


def refusal(dataset: Any, tmp_path: Path) -> str:
    """Return the message; nothing is left behind."""
    source = tmp_path / "raw"
    source.mkdir()
    kind = VideoConfig if issubclass(dataset, VideoDataModule) else StillsConfig
    with pytest.raises((DataError, ConfigError)) as error:
        dataset.prepare(kind(name="own", source=str(source)), tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    return str(error.value)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Still("a", "train", "happy", GOOD[..., 0]), r"image is uint8 \(8, 8\), expected uint8 \(H, W, 3\), RGB"),
        (Still("a", "train", "happy", GOOD / 255.0), r"image is float64 \(8, 8, 3\), expected uint8"),  # type: ignore[arg-type]
        (Still("a", "train", "happy", None), r"image is NoneType, expected uint8"),  # type: ignore[arg-type]
        (Still("a", "train", "happy", GOOD, subject_id="../x"), r"subject_id is '\.\./x', expected letters"),
        (Still("a", "train", "smiling", GOOD), r"label 'smiling' is not in target5: happy, sad"),
        (Still("a", "train", 3, GOOD), r"label is 3, expected a class name or None"),  # type: ignore[arg-type]
        (Still("a", "dev", "happy", GOOD), r"split is 'dev', expected one of train, test"),
        (Still("a/b", "train", "happy", GOOD), r"clip_id is 'a/b', expected text that can name a file"),
        (Still("a", "train", "happy", GOOD, [1.0]), r"soft_label has 1 values, expected the 5 of target5"),
        (Still("first", "train", "happy", GOOD), r"clip_id stands twice"),
        (("a", "train", "happy"), r"yields a tuple, expected Still"),
    ],
)
def test_a_wrong_record_names_the_reader_and_what_was_expected(record: Any, expected: str, tmp_path: Path) -> None:
    dataset = type("Changed", (Pictures,), {"stills": (Still("first", "train", "sad", GOOD), record)})
    message = refusal(dataset, tmp_path)
    assert "Changed.read" in message
    assert re.search(expected, message)


@pytest.mark.parametrize(
    ("splits", "stills", "expected"),
    [
        ({}, (Still("a", None, "sad", GOOD),), r"subject_id is None, expected a person, as no split is published"),
        ({}, (Still("a", "train", "sad", GOOD, subject_id="s"),), r"split is 'train', and Changed.splits names none"),
        (
            Pictures.splits,
            (Still("a", "train", "sad", GOOD, subject_id="s"), Still("b", "test", "sad", GOOD)),
            r"own: 1 of 2 images without a subject_id \(b\); give all or none",
        ),
    ],
)
def test_subjects_are_given_for_all_pictures_or_for_none(
    splits: dict[str, str], stills: tuple[Still, ...], expected: str, tmp_path: Path
) -> None:
    assert re.search(expected, refusal(type("Changed", (Pictures,), {"splits": splits, "stills": stills}), tmp_path))


def test_missing_pictures_are_listed_together_and_counted(tmp_path: Path) -> None:
    stills = tuple(Still(f"p{n:02d}", "train", "sad", tmp_path / f"{n}.png") for n in range(13))
    message = refusal(type("Changed", (Pictures,), {"stills": (Still("p", "train", "sad", GOOD), *stills)}), tmp_path)
    assert len(re.findall(r"p\d\d: .*\.png: no such file", message)) == 10
    assert "3 more pictures are missing, 13 in all" in message


# ----------------------------------------------------------------------------------------- pictures of known subjects

PEOPLE = [f"s{number}" for number in range(6)]


def people(picture: Callable[..., Any], splits: dict[str, str], *, shared: bool = False) -> type[PictureDataModule]:
    """Return a dataset with five pictures of each of six persons; where published, the last two are the test."""

    def still(number: int, subject: str, label: str) -> Still:
        split = ("train" if int(subject[1:]) < 4 else "test") if splits else None
        image = np.repeat(picture(0 if shared and subject in ("s0", "s5") else number)[..., None], 3, axis=2)
        return Still(f"{subject}-{label}", split, label, image, subject_id=subject)

    pairs = [(subject, label) for subject in PEOPLE for label in TARGET.names]
    stills = [still(number, *pair) for number, pair in enumerate(pairs, 1)]
    return type("People", (Pictures,), {"splits": splits, "stills": stills})


def made(dataset: Any, tmp_path: Path, **settings: Any) -> ClipStore:
    (tmp_path / "raw").touch()
    dataset.prepare(StillsConfig(name="own", source=str(tmp_path / "raw"), **settings), tmp_path / "store")
    return ClipStore.open(tmp_path / "store")


def test_pictures_of_known_subjects_are_divided_by_subject(picture: Callable[..., Any], tmp_path: Path) -> None:
    dataset = people(picture, {"train": "train", "test": "test"})
    store = made(dataset, tmp_path, validation_fraction=0.3)
    assert store.card.shard_by == "subject_id"
    assert sorted(path.stem for path in (store.path / "frames").iterdir()) == PEOPLE
    of_subject = store.clips.groupby("subject_id")["split"].unique()
    assert of_subject.map(len).tolist() == [1] * 6
    assert of_subject.str[0].value_counts().to_dict() == {"train": 3, "test": 2, "validation": 1}
    assert store.card.audit["alike"] == {}
    data = dataset(store.path)
    assert (data.images, data.has_children, data.n_children(data.fold.test)) == (False, True, 2)


def test_pictures_of_known_subjects_need_no_published_split(picture: Callable[..., Any], tmp_path: Path) -> None:
    dataset = people(picture, {})
    store = made(dataset, tmp_path)
    assert store.clips["split"].isna().all()
    folds = dataset(store.path, "loso").folds
    assert [fold.name for fold in folds] == PEOPLE
    subject = store.clips["subject_id"].to_numpy()
    for fold in folds:
        parts = [set(subject[rows]) for rows in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 6
    with pytest.raises(DataError, match="the store has no train and no validation and no test split"):
        dataset(store.path).setup()


def test_subjects_who_share_a_picture_are_not_separated(picture: Register, tmp_path: Path, capsys: Capture) -> None:
    dataset = people(picture, {"train": "train", "test": "test"}, shared=True)
    store = made(dataset, tmp_path)
    assert store.card.audit["alike"] == {"s0 & s5": 1}
    named = "10 images in 1 group are equal or near-identical, 1 of these groups across published splits: s0-happy = s0"
    assert named in capsys.readouterr().err
    with pytest.raises(LeakageError, match="s0 and s5 share 1 pictures"):
        dataset(store.path).setup()


@pytest.mark.usefixtures("documented")
def test_a_reader_that_raises_ends_with_2(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "raw" / "EmoLabel").mkdir(parents=True)
    (tmp_path / "raw" / "EmoLabel" / "list_patition_label.txt").write_text("train_00001.jpg\n")
    assert (
        main(["prepare", "data=web_faces", f"data.source={tmp_path / 'raw'}", f"out={tmp_path / 'out'}"]) == USERS_FAULT
    )
    message = capsys.readouterr().err
    raises = (
        r"own_web_faces\.WebFacesDataModule\.read raises ValueError \(own_web_faces\.py, line \d+\) after 0 records: "
    )
    expected = r"not enough values to unpack.*Expected: it yields Still, and a DataError for each faulty one"
    assert re.search(raises + expected, message)
    assert not {"fault of fer-id", "Traceback"} & set(re.findall("fault of fer-id|Traceback", message))
    assert not (tmp_path / "out").exists()


def test_an_error_within_a_reader_names_file_and_line(tmp_path: Path) -> None:
    def broken(cls: Any, source: Path, left_out: Any) -> Iterator[Still]:
        yield Still("a", "train", "happy", GOOD)
        raise KeyError("emotion")

    dataset = type("Broken", (Pictures,), {"read": classmethod(broken)})
    raises = r"Broken\.read raises KeyError \(test_own_dataset\.py, line \d+\) after 1 records: 'emotion'"
    assert re.search(raises, refusal(dataset, tmp_path))


def test_all_faults_of_a_reader_are_listed_a_mistyped_class_once(tmp_path: Path) -> None:
    def faulty(cls: Any, source: Path, left_out: Any) -> Iterator[Any]:
        yield DataError("labels.csv, line 1: no picture a.jpg, expected its name")
        yield from (Still(f"p{i}", "train", "smiling" if i % 3 else "hapy", GOOD) for i in range(90))
        yield DataError("labels.csv, line 92: age 'x', expected a number")
        raise KeyError("emotion")

    message = refusal(type("Faulty", (Pictures,), {"read": classmethod(faulty)}), tmp_path)
    first, *lines, hint = message.splitlines()
    assert first.endswith("Faulty.read: 5 problems")
    for line, begins, ends in zip(
        lines,
        (
            "raises KeyError",
            "labels.csv, line 1:",
            "Still 2 (p0): label 'hapy'",
            "Still 3 (p1): label",
            "labels.csv",
        ),
        ("a DataError for each faulty one", "its name", "(and so 29 more)", "(and so 59 more)", "expected a number"),
        strict=True,
    ):
        assert line.startswith(f"  - {begins}")
        assert line.endswith(ends)
    assert "docs/DATASETS.md" in hint


def test_a_missing_licence_is_noted_on_the_card(picture: Callable[..., Any], tmp_path: Path, capsys: Capture) -> None:
    assert made(people(picture, {}), tmp_path).card.notes == ["licence not given"]
    assert "own: licence not given; People.licence says it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"label_space": "emotions"}, "label_space is 'emotions', expected one of target5"),
        ({"label_space": ""}, "label_space is ''"),
        ({"splits": {"train": "train"}}, "splits is {'train': 'train'}, expected .*name -> .*train and test among"),
        ({"splits": {"a": "train", "b": "exam"}}, "expected published name -> train, validation, test"),
        ({"counts": {"dev": 3}}, "counts has dev, which are no names of splits"),
    ],
)
def test_missing_or_wrong_facts(facts: dict[str, Any], expected: str, tmp_path: Path) -> None:
    message = refusal(type("Facts", (Pictures,), facts), tmp_path)
    assert re.search(expected, message)
    assert "Facts" in message


def test_a_dataset_without_read(tmp_path: Path) -> None:
    facts = {"dataset": "own", "label_space": "fer7", "splits": Pictures.splits}
    assert "NotImplementedError" in refusal(type("Empty", (PictureDataModule,), facts), tmp_path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"video": "a.mp4"}, "video is str, expected Path"),
        ({"video": Path("nowhere.mp4")}, "video nowhere.mp4: no such file"),
        ({"subject_id": "../x"}, "subject_id is '../x', expected letters"),
        ({"start_s": "0:10"}, "start_s is '0:10', end_s is None, expected seconds"),
        ({"start_s": 2.0, "end_s": 1.0}, "start_s is 2.0, end_s is 1.0, expected .* the end after the start"),
        ({"groups": {"age": "7"}}, r"groups names \['age'\], expected group_columns: \[\]"),
        ({"split": "train"}, "split is 'train', and .*Changed.splits names none"),
        ({"label": "joy"}, "label 'joy' is not in target5"),
    ],
)
def test_a_wrong_recording(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"clip_id": "a", "subject_id": "s", "label": "happy", "video": Path(__file__), **changes}

    class Changed(VideoDataModule):
        dataset = "own"
        label_space = "target5"

        @classmethod
        def read(cls, source: Path, left_out: Any) -> Iterator[Recording]:
            yield Recording(**fields)

    assert re.search(expected, refusal(Changed, tmp_path))


# ---------------------------------------------------------------------------------------------------------- registry


def test_an_installed_package_offers_a_dataset_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "faces_package.py").write_text(example("\n## A benchmark of pictures"), "utf-8")
    info = tmp_path / "faces_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faces-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fer_id.datasets]\nweb_faces = faces_package:WebFacesDataModule\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "web_faces" in known_datasets()
    assert load_dataset("web_faces").counts["test"] == 3068
    assert main(["prepare", "data=web_faces", "--help"]) == DONE
    assert "data.landmarks=" in capsys.readouterr().out
    sys.modules.pop("faces_package")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (
            "no_such_module:A",
            "fer-id: no_such_module: cannot be imported as dataset wrong, no_such_module:A",
        ),
        (
            "data_modules.stills:Nothing",
            "as dataset wrong, data_modules.stills:Nothing: AttributeError",
        ),
        ("data_modules.stills:Still", "expected a subclass of FerDataModule"),
        ("data_modules.folders:FolderDataModule", "has dataset = 'folder', expected 'wrong', as it is registered"),
    ],
)
def test_a_wrong_registration(target: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(DATASETS, "wrong", target)
    assert main(["prepare", "data=wrong", "data.source=x", "out=y"]) == USERS_FAULT
    assert expected in capsys.readouterr().err


def test_a_module_that_fails_to_import_heads_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "own_broken.py").write_text("import csv\n\nFACES = csv.no_such_thing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(DATASETS, "broken", "own_broken:Faces")
    assert main(["prepare", "data=broken", "data.source=x", "out=y"]) == USERS_FAULT
    message = capsys.readouterr().err
    assert message.startswith("fer-id: own_broken: cannot be imported as dataset broken, own_broken:Faces")
    assert f"({tmp_path / 'own_broken.py'}, line 3)" in message
    assert main(["prepare", "data=broken", "data.source=x"]) == USERS_FAULT  # beside other problems
    assert "settings: 2 problems" in capsys.readouterr().err
