"""Fixtures: every shipped dataset as a tiny store, converted by the command line from its published layout."""

import csv
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from experiments.cli import DONE, main
from fer_id.runs.run_dir import RunDir
from tests.conftest import FITTING

MadeOnce = Callable[[str, Callable[[Path], object]], Path]
FER7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
VOTED = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
AFFECTNET_CODES = range(8)
TRAINING, TEST = 6, 2
"""Pictures of each class."""

QUICK = (
    *("trainer.precision=32", "trainer.memory_format=contiguous", "trainer.accelerator=cpu"),
    *("logging.wandb=disabled", "data.num_workers=0", "explain.clips=0"),
)
"""What keeps a training in a test short and in this process."""


@pytest.fixture(scope="module", autouse=True)
def without_figures() -> Iterator[None]:
    """Leave the figures out of the reports of trainings: drawing them takes a third of the time of a tiny one.

    A module that looks at them overrides this fixture; ``test_shipped.py`` has those of every dataset, model and
    protocol, ``test_front_door.py`` renders them.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer_id.reporting.report.draw_figures", lambda run, evaluation, job: {})
        yield


@pytest.fixture(scope="session")
def tiny() -> Callable[..., list[str]]:
    """``tiny(store, runs, *more)``: arguments of a training of about a second, a small CNN-LSTM for one epoch."""

    def make(store: Path, runs: Path, *more: str) -> list[str]:
        model = ("model=cnn_lstm", "model.widths=[4,4,8,8]", "model.convs=[1,2,1,1]", "model.hidden=8")
        common = ("train", "data=synthetic", *model, "protocol=holdout", "batch_size=8", "optim.lr=0.01", *QUICK)
        arguments = [*common, f"data.store={store}", f"runs.root={runs}", "trainer.max_epochs=1", *more]
        return list({argument.partition("=")[0]: argument for argument in arguments}.values())  # the later one wins

    return make


@pytest.fixture(scope="session")
def same() -> Callable[[RunDir, RunDir], bool]:
    """Bitwise equality of two runs: weights, predictions, and learning curves."""
    import torch

    from fer_id.models.checkpoint import read_tensors

    def equal(first: RunDir, second: RunDir) -> bool:
        for which in ("last", "best"):
            mine, theirs = (read_tensors(run.checkpoint(which)) for run in (first, second))
            if mine.keys() != theirs.keys() or not all(torch.equal(mine[name], theirs[name]) for name in mine):
                return False
        curves = [run.learning_curve().drop(columns="seconds") for run in (first, second)]
        return curves[0].equals(curves[1]) and first.predictions().equals(second.predictions())

    return equal


@pytest.fixture(scope="session")
def drawn(made_once: MadeOnce) -> Path:
    """Four drawn children with two short clips of each emotion."""
    return made_once("drawn", lambda out: _run("synth", f"out={out}", "subjects=4", "clips_per_emotion=2", "frames=3"))


@pytest.fixture(scope="session")
def stores(request: pytest.FixtureRequest) -> "Stores":
    """Stores by the name of their dataset, each made at its first use."""
    return Stores(request.getfixturevalue)


class Stores(dict[str, list[Path]]):
    """See :func:`stores`; ``fixture`` gives a fixture by its name."""

    def __init__(self, fixture: Callable[[str], Any]) -> None:
        super().__init__()
        self._fixture = fixture

    def __missing__(self, name: str) -> list[Path]:
        self[name] = self._make(name)
        return self[name]

    def _make(self, name: str) -> list[Path]:
        once: MadeOnce = self._fixture("made_once")
        if name == "synthetic":
            return [self._fixture("drawn")]
        if name == "simulated":
            small = ("subjects=[12,3,4]", "clips_per_emotion=1", "frames=3", "fps=1.5", "workers=1")
            source = f"source={self._fixture('stills_store')}"
            return [once(name, lambda out: _run("simulate", source, f"out={out}", *small, *FITTING))]
        if name == "cohort":  # whose pseudonyms only the key of this process opens
            out = self._fixture("tmp_path_factory").mktemp("cohort") / "store"
            model = f"data.face_landmarker={self._fixture('landmark_model')}"
            _prepare(name, out, f"data.source={self._fixture('drawn_site')}", model, "data.workers=1")
            return [out]
        if name in ("liris_cse", "video_folder"):
            site, model = self._fixture("drawn_site"), f"data.face_landmarker={self._fixture('landmark_model')}"
            layout = partial(named_videos, site=site, model=model)
            return [once("liris_cse", partial(_publish, "liris_cse", layout)) / "store"]
        return [
            once(f"{name}-{layout.__name__}", partial(_publish, name, layout)) / "store" for layout in LAYOUTS[name]
        ]


def _publish(name: str, layout: Callable[[Path], list[str]], out: Path) -> None:
    """Write a dataset in its published layout, and its store beside it."""
    (out / "raw").mkdir(parents=True)
    _prepare(name, out / "store", *layout(out / "raw"))


def _prepare(name: str, out: Path, *settings: str) -> None:
    _run("prepare", f"data={name}", *settings, f"out={out}")


def fer2013_csv(folder: Path) -> list[str]:
    """Write Kaggle's CSV without the private test."""
    path = folder / "fer2013.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["emotion", "pixels", "Usage"])
        for number, (usage, code) in enumerate(_rows(len(FER7))):
            rows.writerow([code, " ".join(map(str, noise(number, 48)[..., 0].ravel())), usage])
    return [f"data.source={path}"]


def ferplus_csv(folder: Path) -> list[str]:
    """Write votes on the rows of :func:`fer2013_csv`: eight of ten for a class, the eight classes in turn."""
    path = folder / "fer2013new.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Usage", "Image name", *VOTED])
        for number, (usage, _) in enumerate(_rows(len(FER7))):
            votes = [8 * (column == number % 8) for column in range(len(VOTED))]
            votes[(number + 1) % 8] += 2
            rows.writerow([usage, f"fer{number:07d}.png", *votes])
    return [*fer2013_csv(folder), f"data.votes={path}"]


def class_folders(folder: Path) -> list[str]:
    """Write images as ``split/class/image``."""
    for number, (usage, code) in enumerate(_rows(len(FER7))):
        path = folder / "pictures" / ("train" if usage == "Training" else "test") / FER7[code] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(number, 64)).save(path)
    return [f"data.source={folder / 'pictures'}"]


def affectnet_original(folder: Path) -> list[str]:
    """Write CSVs with boxes and 68 points, images in numbered folders, and a row without a face."""
    header = ["subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks"]
    (folder / "1").mkdir(parents=True)
    for split, usage in (("training", "Training"), ("validation", "PublicTest")):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow([*header, "expression", "valence", "arousal"])
            numbered = [(n, code) for n, (of, code) in enumerate(_rows(len(AFFECTNET_CODES))) if of == usage]
            for number, code in numbered:
                Image.fromarray(noise(number, 96)).save(folder / "1" / f"{number}.png")
                points = ";".join(f"{value:.2f}" for value in landmarks(number).ravel())
                rows.writerow([f"1/{number}.png", 0, 0, 96, 96, points, code, *affect_of(number)])
            rows.writerow(["1/none.png", 0, 0, 96, 96, "", 10, -2, -2])
    return [f"data.source={folder}"]


def affectnet_2021(folder: Path) -> list[str]:
    """Write pictures by number, with a ``.npy`` for each annotation."""
    for split, usage in (("train_set", "Training"), ("val_set", "PublicTest")):
        for part in ("images", "annotations"):
            (folder / split / part).mkdir(parents=True)
        for number, (of, code) in enumerate(_rows(len(AFFECTNET_CODES))):
            if of == usage:
                Image.fromarray(noise(number + 1000, 96)).save(folder / split / "images" / f"{number}.jpg")
                annotation = folder / split / "annotations"
                np.save(annotation / f"{number}_exp.npy", np.array(str(code)))
                np.save(annotation / f"{number}_lnd.npy", landmarks(number).ravel().astype(np.float64))
    return [f"data.source={folder}"]


def raf_db(folder: Path) -> list[str]:
    """Write the list of names and codes, aligned pictures, and an attribute file for each, one of an unsure gender."""
    for part in ("EmoLabel", "Image/aligned", "Annotation/manual"):
        (folder / part).mkdir(parents=True)
    lines, points = list[str](), "\n".join("12.5\t40.25" for _ in range(5))
    for number, (usage, code) in enumerate(_rows(len(FER7))):
        name = f"{'train' if usage == 'Training' else 'test'}_{number + 1:05d}"
        Image.fromarray(noise(number, 100)).save(folder / "Image" / "aligned" / f"{name}_aligned.jpg")
        codes = f"{2 if number == 0 else number % 2}\n{number % 3}\n{number % 5}\n"
        (folder / "Annotation" / "manual" / f"{name}_manu_attri.txt").write_text(f"{points}\n{codes}")
        lines.append(f"{name}.jpg {code + 1}")
    (folder / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return [f"data.source={folder}", "data.landmarks=none"]


def ck_plus(folder: Path) -> list[str]:
    """Write five subjects with a sequence of each emotion and an unlabelled one, and points of every picture."""
    for subject, sequence in product(range(5), range(8)):
        ck_sequence(folder, f"S{subject + 5:03d}", f"{sequence + 1:03d}", frames=4, code=(sequence + 1) % 8 or None)
    return [f"data.source={folder}", "data.landmarks=published", "data.frames=3", "data.workers=1"]


def ck_sequence(folder: Path, subject: str, sequence: str, *, frames: int, code: int | None) -> None:
    """Write a sequence of CK+: pictures, their points and, with a code, the emotion at the last of them."""
    place, name = Path(subject, sequence), f"{subject}_{sequence}"
    for part in ("cohn-kanade-images", "Emotion", "Landmarks"):
        (folder / part / place).mkdir(parents=True)
    for number in range(1, frames + 1):
        seed = int(subject[1:]) * 10_000 + int(sequence) * 100 + number
        Image.fromarray(noise(seed, 96)).save(folder / "cohn-kanade-images" / place / f"{name}_{number:08d}.png")
        np.savetxt(folder / "Landmarks" / place / f"{name}_{number:08d}_landmarks.txt", landmarks(seed), "%16.7e")
    if code is not None:
        (folder / "Emotion" / place / f"{name}_{frames:08d}_emotion.txt").write_text(f"   {code:.7e}\n")


def affect_of(number: int) -> tuple[float, float]:
    """Return valence and arousal in steps of a tenth."""
    return (number % 9 - 4) / 10, (number % 5 - 2) / 10


def aff_wild2(folder: Path) -> list[str]:
    """Write seven training and two validation videos, two people in one of them, with two frames of each class, and
    valence and arousal of all but one of them."""
    names = {
        "Train_Set": ["1-30-1280x720_left", "1-30-1280x720_right", *"bcdef"],
        "Validation_Set": ["video1", "video2"],
    }
    labels = [code for code in range(7) for _ in range(2)]
    for split, videos in names.items():
        for video in videos:
            aff_video(folder, split, video, labels)
            if video != "f":
                aff_affect(folder, split, video, [affect_of(number // 2) for number in range(len(labels))])
    return [f"data.source={folder}", "data.step=1", "data.window=2", "data.stride=2", "data.landmarks=none"]


def aff_video(folder: Path, split: str, video: str, labels: list[int], *, missing: tuple[int, ...] = ()) -> None:
    """Write a video of Aff-Wild2: a label for each frame, and the pictures of the frames but the ``missing`` ones."""
    header = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    text = folder / "6th ABAW Annotations" / "EXPR_Recognition_Challenge" / split / f"{video}.txt"
    pictures = folder / "cropped_aligned" / video
    text.parent.mkdir(parents=True, exist_ok=True)
    pictures.mkdir(parents=True)
    text.write_text("\n".join([header, *map(str, labels)]) + "\n")
    for number in {*range(1, len(labels) + 1)}.difference(missing):
        seed = int.from_bytes(video.encode()) * 1000 + number
        Image.fromarray(noise(seed, 112)).save(pictures / f"{number:05d}.jpg")


def aff_affect(folder: Path, split: str, video: str, pairs: list[tuple[float, float]]) -> Path:
    """Write valence and arousal of each frame of a video of Aff-Wild2; return the file."""
    text = folder / "6th ABAW Annotations" / "VA_Estimation_Challenge" / split / f"{video}.txt"
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text("\n".join(["valence,arousal", *(f"{valence:g},{arousal:g}" for valence, arousal in pairs)]) + "\n")
    return text


def databrary(folder: Path) -> list[str]:
    """Write CAFE's photographs as Databrary's download names them: of four children, by session, with a table."""
    words = ("angryopen", "disgustwithtongue", "fearful", "happyopen", "sad", "surprise", "neutralopen")
    sessions, children = folder / "databrary30" / "sessions", ("F-AA-01", "M-EA-02", "F-LA-03", "M-AS-04")
    for asset, (child, word) in enumerate(product(children, words)):
        path = sessions / f"628{asset % 3}" / f"{9900 + asset}-{word}_{child}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(asset, 90)).save(path)
    (folder / "people.csv").write_text("subject_id,age_group\n" + "".join(f"{child},4\n" for child in children))
    return [f"data.source={folder / 'databrary30'}", f"data.people={folder / 'people.csv'}", "data.landmarks=none"]


def named_videos(folder: Path, site: Path, model: str) -> list[str]:
    """Write the videos of a drawn site as clips of three children with ids in their names."""
    rows = list(csv.DictReader((site / "clips.csv").read_text().splitlines()))
    videos = {row["subject_id"]: row["video"] for row in rows}
    for number, video in enumerate(videos.values(), start=1):
        for label in ("happy", "sad"):
            shutil.copy(site / video, folder / f"S{number}_{label}_1{Path(video).suffix}")
    return [f"data.source={folder}", model, "data.workers=1"]


LAYOUTS: dict[str, tuple[Callable[[Path], list[str]], ...]] = {
    "fer2013": (fer2013_csv,),
    "ferplus": (ferplus_csv,),
    "affectnet": (affectnet_original, affectnet_2021),
    "rafdb": (raf_db,),
    "ckplus": (ck_plus,),
    "affwild2": (aff_wild2,),
    "folder": (class_folders,),
    "cafe": (databrary,),
}
"""Dataset -> functions that write it in a published layout and return the settings of ``prepare``."""


def noise(seed: int, side: int) -> NDArray[np.uint8]:
    """Return a gray RGB picture, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 1), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse[..., 0]).resize((side, side)).convert("RGB"), np.uint8)


def landmarks(seed: int) -> NDArray[np.float32]:
    """Return 68 points in a picture 96 pixels wide, with the eyes at the given height."""
    points = np.random.default_rng(seed).uniform(20, 76, (68, 2)).astype(np.float32)
    points[36:42], points[42:48] = (34, 40), (62, 40)
    return points


def _rows(classes: int) -> list[tuple[str, int]]:
    usages = ["Training"] * TRAINING + ["PublicTest"] * TEST
    return [(usage, code) for usage in usages for code in range(classes)]


def _run(*arguments: str) -> None:
    code = main(arguments)
    if code != DONE:
        raise RuntimeError(f"fer-id {' '.join(arguments)} ended with {code}")
