"""What all tests share: one thread per process, no network, the real data, and small stores made on the spot."""

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

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# The same examples on every run, and no deadline: a busy machine is not a failure.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]


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


@pytest.fixture(scope="session")
def drawn_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort folder of three drawn children with a clip of each emotion; tests only read it."""
    from fer_id.simulation.synthetic import SyntheticConfig
    from fer_id.simulation.videos import write_cohort_folder

    out = tmp_path_factory.mktemp("drawn") / "site"
    write_cohort_folder(SyntheticConfig(subjects=3, clips_per_emotion=1, frames=6), out, workers=1)
    return out


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
        from fer_id.card import StoreCard
        from fer_id.labels import get_space
        from fer_id.preprocessing.alignment import EYES_64
        from fer_id.store_writer import ClipStoreWriter

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


@pytest.fixture(scope="session")
def stills_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of stills with landmarks, as ``prepare ... data.landmarks=mediapipe`` leaves one.

    Its faces are drawn adults at the apex, which the card does not tell: a simulation takes real faces only.
    """
    from fer_id.card import StoreCard
    from fer_id.preprocessing.alignment import crop_geometry
    from fer_id.simulation.synthetic import SyntheticConfig, draw_clip
    from fer_id.store_writer import ClipStoreWriter

    out = tmp_path_factory.mktemp("stills") / "store"
    config = SyntheticConfig(subjects=90, clips_per_emotion=1, frames=2, fps=0.8, seed=3, population="adults")
    card = StoreCard("real", "fer7", "split", "fer2013", geometry=crop_geometry(aligned=True, colour="rgb"))
    with ClipStoreWriter(out, card) as writer:
        for index in range(config.subjects):
            split = "train" if index < 64 else ("validation", "test")[index % 2]
            subject = config.subject(index)
            for emotion in ("neutral", ("happy", "sad", "angry", "fear")[index // 2 % 4]):
                row, clip = draw_clip(subject, emotion, 0, config)
                name, one = row["clip_id"], slice(1, 2)
                writer.add_clip(
                    {"clip_id": name, "subject_id": name, "label": emotion, "split": split, "source": "fer2013"},
                    clip.frames[one], clip.landmarks[one], clip.valid[one],
                )  # fmt: skip
        for name, label in (("odd", "surprise"), ("lost", "happy")):
            writer.add_clip(
                {"clip_id": name, "subject_id": name, "label": label, "split": "train", "source": "fer2013"},
                np.zeros((1, 64, 64, 3), np.uint8),
            )
    return out


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
