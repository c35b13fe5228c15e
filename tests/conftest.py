"""Settings and fixtures of all tests: one thread per process, no network, the real data, and small stores."""

import os

# Before anything imports torch, OpenCV or albumentations: they read these once.
# The suite runs in several processes side by side; more threads than one each would only get in each other's way.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ |= {"NO_ALBUMENTATIONS_UPDATE": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
# Ray reads these when it is imported, which some tests do before a sweep would set them.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.urandom(32).hex()}
os.environ["MPLBACKEND"] = "Agg"
os.environ.pop("WANDB_API_KEY", None)  # a developer's own key must not send test runs anywhere

import tempfile

# Nor must tests see, or write to, the key, the withdrawals and the audit log of the person who runs them.
os.environ["FER_ID_KEYS"] = tempfile.mkdtemp(prefix="fer-id-test-keys-")

import fcntl
import functools
import hashlib
import json
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

# The same examples on every run, and no deadline: a busy machine is not a failure.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]
SLOW_S = 5.0
MadeOnce = Callable[[str, Callable[[Path], object]], Path]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests of more than SLOW_S seconds, fixtures included, that are not marked slow; none fails by it."""
    seconds = Counter[str]()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if isinstance(report, pytest.TestReport) and "slow" not in report.keywords:
            seconds[report.nodeid] += report.duration
    if slow := [(test, took) for test, took in seconds.most_common() if took > SLOW_S]:
        terminalreporter.section(f"over {SLOW_S:g} s and not marked slow")
        for test, took in slow:
            terminalreporter.line(f"{took:.2f}s {test}")


LONG = (
    *("test_a_planted_shortcut", "test_sweep.py", "test_two_processes_learn", "test_killed.py", "test_shipped.py"),
    *("test_the_published_coverage", "test_benchmark.py", "test_online.py", "test_explain.py"),
)
"""Tests of many seconds, or files with such tests: they come first, so that no process ends long after the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long tests."""
    items.sort(key=lambda item: next((place for place, name in enumerate(LONG) if name in item.nodeid), len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def without_waiting_for_the_disk() -> Iterator[None]:
    """Files are flushed as far as the operating system: a test kills processes, never the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture
def without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without bf16 arithmetic, which says so once more."""
    from fer_id.tasks import numerics

    numerics._note_fallback.cache_clear()
    monkeypatch.setattr(numerics, "_has_bf16", lambda device_type: False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real inputs (FER2013, FER+, videos, the landmark model) that is never part of the repository.

    It is $FER_ID_SHARED, or ../shared/data beside the repository. Without it a test that needs it is skipped;
    under CI it fails, where a check that silently does not run would be worse than a red one.
    """
    folder = Path(os.environ.get("FER_ID_SHARED") or ROOT.parent / "shared" / "data")
    if folder.is_dir():
        return folder
    message = f"real test data not found in {folder}; put it there or set FER_ID_SHARED to its folder"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def landmark_model(shared_data: Path) -> str:
    """MediaPipe's official bundle."""
    return str(shared_data / "models" / "face_landmarker.task")


PARTS = ("json", "crops", "landmarks")
"""Files of a followed video; one with several faces has pictures too, with names of children, and is followed anew."""


@pytest.fixture(scope="session")
def _faces() -> dict[tuple[object, ...], list[Any]]:
    return {}


@pytest.fixture(scope="module")
def remembered_faces(
    _faces: dict[tuple[object, ...], list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Find the faces of a picture, and follow the face of a video, once per process and settings, however many tests
    prepare the same videos.

    ``test_landmarks.py`` shows that the same image gives the same points, whatever came before.
    """
    from data_modules import videos
    from fer_id.preprocessing.landmarks import FaceLandmarker

    begin, detect, follow = FaceLandmarker.__init__, FaceLandmarker.detect, videos._follow
    parts = tmp_path_factory.getbasetemp() / "parts"
    parts.mkdir(exist_ok=True)

    def begin_noting(self: Any, *settings: Any, **more: Any) -> None:
        self.settings = (settings, tuple(more.items()))
        begin(self, *settings, **more)

    def detect_once(self: Any, image: NDArray[np.uint8]) -> list[Any]:
        if not hasattr(self, "settings"):
            return detect(self, image)
        key = (self.settings, image.shape, hashlib.sha256(image.tobytes()).digest())
        if key not in _faces:
            _faces[key] = detect(self, image)
        return [*_faces[key]]

    @functools.wraps(follow)  # by whose name processes that follow videos side by side get it, unpatched
    def follow_once(job: videos.VideoJob, folder: Path, bundle: Path) -> Any:
        settings = (job.fps, job.min_eye_distance, job.gray, [(s.start_s, s.end_s, s.marks) for s in job.stretches])
        remembered = parts / hashlib.sha256(job.path.read_bytes() + repr(settings).encode()).hexdigest()
        if remembered.is_dir():
            for path in remembered.iterdir():
                shutil.copy(path, folder / f"{job.part}{path.suffix}")
            return None
        problem = follow(job, folder, bundle)
        made = [*folder.glob(f"{job.part}.*")]
        if problem is None and {path.name for path in made} == {f"{job.part}.{kind}" for kind in PARTS}:  # no sheets
            draft = Path(tempfile.mkdtemp(dir=parts))
            for path in made:
                shutil.copy(path, draft / f"part{path.suffix}")
            draft.rename(remembered)
        return problem

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FaceLandmarker, "__init__", begin_noting)
        patch.setattr(FaceLandmarker, "detect", detect_once)
        patch.setattr(videos, "_follow", follow_once)
        yield


@pytest.fixture(scope="module")
def sketched_figures() -> Iterator[None]:
    """Save SVG figures as a list of their texts: rendering them takes more time than the rest of a tiny training.

    The figures are still made from the numbers of each run.
    """
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    savefig = Figure.savefig

    def save(figure: Figure, file: Any, **settings: Any) -> None:
        if settings.get("format") != "svg":
            return savefig(figure, file, **settings)
        texts = "".join(f"<!-- {text.get_text()} -->" for text in figure.findobj(Text))
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg">{texts}</svg>'.encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """``made_once("name", write)``: a folder that one of the processes of this run writes, and all of them read."""
    base = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, write: Callable[[Path], object]) -> Path:
        folder, whole = common / name, common / f"{name}.whole"
        with (common / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                write(folder)
                whole.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def drawn_site(made_once: MadeOnce) -> Path:
    """A cohort folder of three drawn children with a clip of each emotion; tests only read it."""
    from fer_id.simulation.drawn.clip_store import SyntheticConfig
    from fer_id.simulation.drawn.site_videos import write_cohort_folder

    config = SyntheticConfig(subjects=3, clips_per_emotion=1, frames=6)
    return made_once("drawn_site", lambda out: write_cohort_folder(config, out, workers=1))


@pytest.fixture
def tiny_store(tmp_path: Path) -> Callable[..., Path]:
    """A factory of small noisy ClipStores: ``tiny_store(subjects=3)`` writes ``tmp_path/store`` and returns that path.

    Every subject has ``clips`` clips of every class, so that any split by subject has all classes. The brightness of a
    frame depends on the class: what has to learn something can.
    """

    def make(
        name: str = "store",
        *,
        subjects: int = 4,
        clips: int = 2,
        length: int = 3,
        label_space: str = "target5",
        provenance: str = "synthetic",
        seed: int = 0,
    ) -> Path:
        from fer_id.labels import get_space
        from fer_id.preprocessing.alignment import EYES_64
        from fer_id.store.card import StoreCard
        from fer_id.store.writer import ClipStoreWriter

        rng = np.random.default_rng(seed)
        geometry = {"eyes": [list(eye) for eye in EYES_64], "colour": "rgb"}
        card = StoreCard(provenance, label_space, "subject_id", "tiny", geometry=geometry, groups=["age_group"])
        classes = get_space(label_space).names
        with ClipStoreWriter(tmp_path / name, card) as writer:
            for subject in range(subjects):
                for index in range(clips * len(classes)):
                    label = index % len(classes)
                    brightness = 40 + 150 * label // len(classes)
                    frames = rng.integers(brightness, brightness + 60, (length, 64, 64, 3), dtype=np.uint8)
                    landmarks = rng.uniform(8, 56, (length, 68, 2)).astype(np.float32)
                    row = {
                        "clip_id": f"s{subject:02d}-{index:03d}",
                        "subject_id": f"s{subject:02d}",
                        "label": classes[label],
                        "age_group": ("6-9", "10-13")[subject % 2],
                    }
                    writer.add_clip(row, frames, landmarks)
        return tmp_path / name

    return make


FITTING = ("max_turn=0.3", "max_misfit=0.06", *(f"{name}=9" for name in ("max_residual", "max_base_residual")))
"""Settings of a simulation of which the drawn faces of ``stills_store`` are usual."""


@pytest.fixture(scope="session")
def stills_store(made_once: MadeOnce) -> Path:
    """A benchmark of stills with landmarks, as ``prepare ... data.landmarks=mediapipe`` leaves one.

    Its faces are drawn adults at the apex, which the card does not tell: a simulation takes real faces only.
    """
    return made_once("stills_store", _write_stills)


def _write_stills(out: Path) -> None:
    from fer_id.preprocessing.alignment import crop_geometry
    from fer_id.simulation.drawn.clip_store import SyntheticConfig, draw_clip
    from fer_id.store.card import StoreCard
    from fer_id.store.writer import ClipStoreWriter

    config = SyntheticConfig(subjects=90, clips_per_emotion=1, frames=2, fps=0.8, seed=3, population="adults")
    geometry = crop_geometry(aligned=True, colour="rgb")
    card = StoreCard("real", "fer7", "split", "fer2013", geometry=geometry, landmarks_from="mesh-1")
    with ClipStoreWriter(out, card) as writer:
        for index in range(config.subjects):
            split = "train" if index < 64 else ("validation", "test")[index % 2]
            subject = config.subject(index)
            for emotion in ("neutral", ("happy", "sad", "angry", "fear")[index // 2 % 4]):
                row, clip = draw_clip(subject, emotion, 0, config)
                name, still = row["clip_id"], slice(1, 2)
                writer.add_clip(
                    {"clip_id": name, "subject_id": name, "label": emotion, "split": split, "source": "fer2013"},
                    clip.frames[still], clip.landmarks[still], clip.valid[still],
                )  # fmt: skip
        for name, label in (("odd", "surprise"), ("lost", "happy")):
            writer.add_clip(
                {"clip_id": name, "subject_id": name, "label": label, "split": "train", "source": "fer2013"},
                np.zeros((1, 64, 64, 3), np.uint8),
            )


@pytest.fixture(scope="session")
def wandb_run() -> Callable[[Path], SimpleNamespace]:
    """Reader of the one offline W&B run in a RunDir: the data that a sync would send.

    It has ``name``, ``group``, ``job_type``, ``tags``, ``config``, ``rows`` (logged), ``summary`` (as it ends), and
    ``axes`` (the x axis of each defined name)."""

    def read(folder: Path) -> SimpleNamespace:
        (path,) = (folder / "wandb").glob("offline-run-*/*.wandb")
        found = SimpleNamespace(config={}, rows=[], summary={}, axes={})
        for record in _records(path.read_bytes()):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                one = record.run
                found.name, found.group, found.job_type = one.display_name, one.run_group, one.job_type
                found.id, found.tags = one.run_id, list(one.tags)
                found.config = {item.key: json.loads(item.value_json) for item in one.config.update}
            elif kind == "history":
                found.rows.append(_items(record.history.item))
            elif kind == "summary":
                found.summary |= _items(record.summary.update)
            elif kind == "metric":
                found.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        return found

    return read


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[Any]:
    """The records of a ``.wandb`` file: LevelDB's log format (blocks of 32 KiB) after a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    place, held = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        held += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(held)
            held = b""


UNFIT: tuple[object, ...] = (None, "a text", [], {}, [5], True, -1, float("inf"), float("nan"), 10**400)
"""What a hand or another program may leave in the place of a value of JSON."""


def _spoilt(value: object) -> Iterator[tuple[str, object]]:
    yield from ((f" = {str(other)[:20]!r}", other) for other in UNFIT)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        for place, other in _spoilt(item):
            copy = value.copy()  # type: ignore[union-attr]
            copy[key] = other
            yield f".{key}{place}", copy
        if isinstance(value, dict):
            yield f".{key} gone", {name: value[name] for name in value if name != key}


@pytest.fixture(scope="session")
def spoilt() -> Callable[[object], Iterator[tuple[str, object]]]:
    """Copies of a value of JSON in which one leaf or branch is replaced, or gone; each with its place."""
    return _spoilt
