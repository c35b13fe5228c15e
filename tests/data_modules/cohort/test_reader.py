"""Conversion of a site's folder to a store: the drawn children's videos, consent, and interruptions."""

import csv
import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_modules import videos as cohort_videos
from data_modules.cohort.reader import CohortConfig, CohortDataModule
from fer_id.consent.audit_log import AuditError, AuditLog
from fer_id.consent.keys import Key
from fer_id.consent.records import ConsentError, remember_withdrawal
from fer_id.errors import ConfigError, DataError, StoreError
from fer_id.files import read_json, write_json
from fer_id.labels import TARGET
from fer_id.preprocessing.alignment import EYES_64, eye_centres
from fer_id.preprocessing.landmarks import MESH_MAPPING
from fer_id.simulation.drawn.acting import perform
from fer_id.simulation.drawn.clip_store import SyntheticConfig
from fer_id.simulation.drawn.rendering import ClipPainter
from fer_id.simulation.drawn.site_videos import VIDEO_FPS, draw_frames
from fer_id.store.reader import ClipStore

pytestmark = pytest.mark.usefixtures("remembered_faces")

Site = Callable[..., Path]
Prepare = Callable[..., ClipStore]


@pytest.fixture
def site(drawn_site: Path, tmp_path: Path) -> Path:
    """Copy of the drawn site."""
    return Path(shutil.copytree(drawn_site, tmp_path / "site"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of this test's own keys, outside the stores."""
    monkeypatch.setenv("FER_ID_KEYS", str(tmp_path / "keys"))
    return tmp_path / "keys"


@pytest.fixture
def prepared(tmp_path: Path, landmark_model: str, home: Path) -> Prepare:
    """``prepared(site, "name", fps=...)``: the opened store."""

    def make(source: Path, name: str = "store", **settings: Any) -> ClipStore:
        chosen = {"workers": 1, "face_landmarker": landmark_model, **settings}
        CohortDataModule.prepare(CohortConfig(source=str(source), **chosen), tmp_path / name)
        return ClipStore.open(tmp_path / name)

    return make


def change(table: Path, *edits: tuple[int, str, str | None]) -> None:
    """Set cells ``(row, column, value)`` of a CSV; value None removes the row."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    for row, column, value in edits:
        if value is not None:
            rows[row][column] = value
    gone = {row for row, _, value in edits if value is None}
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(row for number, row in enumerate(rows) if number not in gone)


def digest(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a store by name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_drawn_clip_comes_back_with_its_landmarks(site: Path, prepared: Prepare) -> None:
    """Drawn, encoded, decoded, detected: eyes within a tenth of their distance, all points within a fifth on average.

    MediaPipe does not know the drawn points; its error on the same drawings without a video is as large.
    """
    store = prepared(site, fps=float(VIDEO_FPS), window=1000)
    config = SyntheticConfig(subjects=3, clips_per_emotion=1, frames=6)
    truth = config.subject(0)
    times = np.arange(round(config.frames / config.fps * VIDEO_FPS)) / VIDEO_FPS
    name = Key.load(Path(os.environ["FER_ID_KEYS"])).pseudonym("clip", "drawn7-000-happy-00")
    row = store.clips["clip_id"].tolist().index(f"{name}-000")
    clip = store.read(row)
    rng = np.random.default_rng([config.seed, 0, TARGET.index("happy"), 0])
    performance = perform(truth, "happy", times, rng, config.subtlety, config.strays)
    drawn = [points for _, points in draw_frames(ClipPainter(truth, performance, times, rng))]
    assert len(clip.valid) == len(drawn)
    assert clip.valid.mean() > 0.9
    off = []
    for points, detected, ok in zip(drawn, clip.landmarks, clip.valid, strict=True):
        if ok and np.isfinite(points).all():
            # Both in interocular distances around the middle of the eyes, so that alignment itself is not compared.
            off.append(np.hypot(*(_normalised(points) - _normalised(detected)).T))
    errors = np.array(off)
    assert errors[:, 36:48].mean() < 0.1
    assert errors.mean() < 0.2
    eyes = np.array([eye_centres(points) for points in clip.landmarks[clip.valid]])
    np.testing.assert_allclose(eyes, np.broadcast_to(EYES_64, eyes.shape), atol=1e-3)


def _normalised(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    left, right = eye_centres(points)
    return np.asarray((points - (left + right) / 2) / np.hypot(*(right - left)))


def test_a_store_holds_pseudonyms_and_its_card_the_audit(site: Path, prepared: Prepare, home: Path) -> None:
    store = prepared(site)
    key = Key.load(home)
    assert sorted(store.clips["subject_id"].unique()) == sorted(
        key.pseudonym("subject", f"drawn7-00{n}") for n in range(3)
    )
    assert store.clips["label"].value_counts().to_dict() == dict.fromkeys(TARGET.names, 3)
    assert (store.card.provenance, store.card.landmarks_from) == ("synthetic", MESH_MAPPING)
    assert store.card.groups == ["age_group", "gender", "severity", "ethnicity", "site", "context"]
    coverage = store.card.audit["coverage"]
    assert (
        coverage["frames"]
        == 15 * 6
        == sum(coverage[key] for key in ("found", "no face", "another face only", "too small"))
    )
    assert store.clips["n_valid"].sum() == coverage["found"] > 80
    assert set(coverage["by_subject"]) == set(store.card.consent) == set(store.clips["subject_id"])
    assert all((store.path / "sheets" / f"{subject}.png").stat().st_mode & 0o077 == 0 for subject in store.card.consent)
    assert store.path.stat().st_mode & 0o077 == 0
    content = b"".join(path.read_bytes() for path in sorted(store.path.rglob("*")) if path.is_file())
    for name in (b"drawn7-00", b".mp4", str(site).encode()):
        assert name not in content
    entry = AuditLog(home, key).verify()[-1]
    assert entry["event"] == "prepared"
    assert set(entry["admitted"]) == set(store.card.consent)
    assert not list(store.path.parent.glob(".store*"))  # nothing half-done is left beside it


@pytest.mark.slow
def test_any_number_of_processes_and_any_spelling_of_a_path_give_the_same_store(site: Path, prepared: Prepare) -> None:
    once = prepared(site, "one")
    change(site / "clips.csv", (0, "video", "./videos//drawn7-000-happy.mp4"))
    assert digest(once.path) == digest(prepared(site, "two", workers=2).path)


def test_an_interrupted_preparation_goes_on_at_the_next_video(
    site: Path, prepared: Prepare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = digest(prepared(site, "whole").path)
    follow, calls = cohort_videos._follow, []

    def stopping(*arguments: Any) -> str:
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(arguments)
        return follow(*arguments)

    monkeypatch.setattr(cohort_videos, "_follow", stopping)
    with pytest.raises(KeyboardInterrupt):
        prepared(site)
    assert not (tmp_path / "store").exists()
    assert (tmp_path / ".store.parts").stat().st_mode & 0o077 == 0
    seen: list[Any] = []
    monkeypatch.setattr(cohort_videos, "_follow", lambda *arguments: seen.append(arguments) or follow(*arguments))
    assert digest(prepared(site).path) == whole
    assert len(seen) == 15 - 4


def test_annotators_give_soft_labels_and_their_agreement(site: Path, prepared: Prepare) -> None:
    rows = list(csv.DictReader((site / "annotations.csv").open(encoding="utf-8")))
    change(site / "clips.csv", (0, "label", ""))
    wanted = rows[0]["clip_id"]
    for number, row in enumerate(rows):
        if row["clip_id"] == wanted:
            change(site / "annotations.csv", (number, "label", "fear"), (number, "confidence", "0.5"))
    store = prepared(site)
    name = Key.load(Path(os.environ["FER_ID_KEYS"])).pseudonym("clip", wanted)
    clip = store.clips[store.clips["clip_id"].str.startswith(name)].iloc[0]
    assert clip["label"] == "fear"  # the majority, where the table names none
    assert list(clip["soft_label"]) == [0, 0, 0, 1, 0]
    assert all(sum(shares) == pytest.approx(1) for shares in store.clips["soft_label"])
    annotators = store.card.audit["annotators"]
    assert annotators["annotators"] == 3
    assert 0 < annotators["alpha"] < 1
    assert annotators["alpha"] < annotators["ceiling"] <= 1


def test_a_child_under_two_names_is_detected_and_not_separated(site: Path, prepared: Prepare, home: Path) -> None:
    from data_modules.base import FerDataModule
    from data_modules.config import DataConfig
    from fer_id.errors import LeakageError
    from fer_id.evaluation.config import ProtocolConfig

    assert prepared(site, "apart").card.audit["alike"] == {}
    for path in (site / "videos").glob("drawn7-002-*"):
        shutil.copy(site / "videos" / path.name.replace("002", "000"), path)
    store = prepared(site)
    key = Key.load(home)
    first, second = sorted(key.pseudonym("subject", name) for name in ("drawn7-000", "drawn7-002"))
    assert list(store.card.audit["alike"]) == [f"{first} & {second}"]
    assert store.card.audit["alike"][f"{first} & {second}"] >= 5

    def folds(**changes: Any) -> int:
        data = DataConfig(name="cohort", store=[str(store.path)], **changes)
        return len(FerDataModule(data, ProtocolConfig("loso"), augment=None, batch_size=4, seed=0).folds)

    with pytest.raises(LeakageError, match=f"{first} and {second} share"):
        folds()
    assert folds(drop_duplicates=False) == 3


# --- consent ----------------------------------------------------------------------------------------------------------


def test_videos_without_consent_are_left_out_unopened(site: Path, prepared: Prepare, home: Path) -> None:
    change(site / "consent.csv", (1, "status", "refused"), (2, "purposes", "inference"))
    for path in (site / "videos").glob("drawn7-00[12]*"):
        path.write_bytes(b"never opened")
    store = prepared(site)
    assert store.clips["subject_id"].unique().tolist() == [Key.load(home).pseudonym("subject", "drawn7-000")]
    assert store.card.audit["left_out"] == {"consent refused": 5, "consent for other purposes only": 5}


def test_a_cohort_without_an_admitted_subject_is_an_error_with_the_reasons(site: Path, prepared: Prepare) -> None:
    change(site / "consent.csv", (0, "status", "withdrawn"), (1, "expires_on", "2020-01-01"), (2, "status", None))
    with pytest.raises(DataError) as error:
        prepared(site)
    for reason in ("5 clips: consent withdrawn", "5 clips: consent expired", "5 clips: no consent row"):
        assert reason in str(error.value)


def test_a_withdrawal_closes_the_store_and_an_older_yes_does_not_open_it(
    site: Path, prepared: Prepare, home: Path
) -> None:
    store = prepared(site)
    subject = Key.load(home).pseudonym("subject", "drawn7-001")
    remember_withdrawal(home, subject, date.today())
    with pytest.raises(ConsentError, match=f"{subject}: consent withdrawn"):
        ClipStore.open(store.path)
    assert subject not in set(prepared(site, "again").clips["subject_id"])


def test_another_key_does_not_open_the_store(
    site: Path, prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepared(site)
    monkeypatch.setenv("FER_ID_KEYS", str(tmp_path / "elsewhere"))
    ClipStore.open(store.path)  # a machine without any key, such as a cluster
    Key.load(tmp_path / "elsewhere", create=True)
    with pytest.raises(ConsentError, match="made with another key"):
        ClipStore.open(store.path)


def test_a_changed_log_stops_preparation_before_anything_is_made(site: Path, prepared: Prepare, home: Path) -> None:
    store = prepared(site)
    (home / "audit.jsonl").write_text("")
    with pytest.raises(AuditError):
        prepared(site, "again")
    assert not (store.path.parent / "again").exists()


def test_a_store_closes_on_its_last_day_and_with_its_consents(site: Path, prepared: Prepare) -> None:
    store = prepared(site, retention_days=30)
    card = read_json(store.path / "card.json", StoreError)
    assert card["expires_on"] == (date.today() + timedelta(days=30)).isoformat()
    write_json(store.path / "card.json", {**card, "expires_on": (date.today() - timedelta(days=1)).isoformat()})
    with pytest.raises(StoreError, match="to be kept until"):
        ClipStore.open(store.path)
    first = next(iter(card["consent"]))
    card["consent"][first]["expires_on"] = "2026-01-01"
    write_json(store.path / "card.json", card)
    with pytest.raises(ConsentError, match=f"{first}: consent expired on 2026-01-01"):
        ClipStore.open(store.path)


# --- videos that are not as they should be ----------------------------------------------------------------------------


def test_all_bad_videos_are_reported_together_or_left_out(site: Path, prepared: Prepare) -> None:
    (site / "videos" / "drawn7-000-sad.mp4").write_bytes(b"")
    (site / "videos" / "drawn7-001-fear.mp4").write_text("#EXTM3U\n")
    change(site / "clips.csv", (14, "end_s", "9.0"))
    with pytest.raises(DataError) as error:
        prepared(site)
    bad = (
        "3 problems",
        "drawn7-000-sad.mp4: empty",
        "drawn7-001-fear.mp4: not a video",
        "drawn7-002-neutral.mp4: ends at",
    )
    assert all(expected in str(error.value) for expected in bad)
    store = prepared(site, "rest", unreadable="leave_out")
    assert store.card.audit["left_out"] == {"unreadable video": 3}
    assert len(store) == 12


def test_no_face_at_all(site: Path, prepared: Prepare, shared_data: Path) -> None:
    for path in (site / "videos").glob("*.mp4"):
        shutil.copy(shared_data / "videos" / "no_face.mp4", path)
    with pytest.raises(DataError, match="no face of a child in any of 90 frames"):
        prepared(site)


def test_a_face_too_small_is_counted(site: Path, prepared: Prepare) -> None:
    with pytest.raises(DataError, match="too small"):
        prepared(site, min_eye_distance=200.0)


def test_gray_crops_for_a_model_that_learned_from_gray_faces(site: Path, prepared: Prepare) -> None:
    store = prepared(site, colour="gray")
    frames = store.read(0).frames
    assert (frames[..., 0] == frames[..., 2]).all()
    assert store.card.geometry["colour"] == "gray"


def test_no_source() -> None:
    with pytest.raises(ConfigError, match=r"data\.source is empty"):
        CohortDataModule.prepare(CohortConfig(), Path("out"))
