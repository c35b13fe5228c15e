"""CK+ in its published layout, generated: clips from neutral to apex, every fault of the raw data, resumption."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_modules import frame_jobs
from data_modules.ckplus import CKPlusConfig, CKPlusDataModule
from data_modules.frame_jobs import read_points, resampled
from experiments.cli import DONE, main
from fer_id.errors import DataError
from fer_id.preprocessing.alignment import EYES_64, align, eye_centres
from fer_id.preprocessing.video import sample_frames
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from tests.experiments.conftest import QUICK, ck_plus, ck_sequence
from tests.refusals import refused


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two subjects: a happy sequence of eleven pictures, an unlabelled one, and an angry one of three."""
    ck_sequence(tmp_path / "raw", "S005", "001", frames=11, code=5)
    ck_sequence(tmp_path / "raw", "S005", "002", frames=4, code=None)
    ck_sequence(tmp_path / "raw", "S010", "001", frames=3, code=1)
    return tmp_path / "raw"


def prepared(raw: Path, out: Path, **settings: Any) -> ClipStore:
    config = CKPlusConfig(source=str(raw), workers=1, **{"landmarks": "published", **settings})
    CKPlusDataModule.prepare(config, out)
    return ClipStore.open(out)


@pytest.mark.parametrize(
    ("length", "count", "expected"),
    [
        (11, 5, [0, 3, 5, 8, 10]),
        (10, 10, [*range(10)]),
        (3, 5, [0, 1, 1, 2, 2]),  # 0, 0.5, 1, 1.5, 2: halves up
        (1, 3, [0, 0, 0]),
        (7, 1, [6]),
        (22, 10, [0, 2, 5, 7, 9, 12, 14, 16, 19, 21]),
    ],
)
def test_frames_nearest_to_evenly_spaced_places(length: int, count: int, expected: list[int]) -> None:
    assert resampled(length, count) == expected


@given(st.integers(1, 200), st.integers(2, 60))
def test_resampling(length: int, count: int) -> None:
    places = resampled(length, count)
    assert (len(places), places[0], places[-1]) == (count, 0, length - 1)
    assert places == sorted(places)
    assert np.abs(places - np.linspace(0, length - 1, count)).max() <= 0.5 + 1e-9
    assert len(set(places)) == min(length, count)


def test_labelled_sequences_become_clips_aligned_by_the_published_points(raw: Path, tmp_path: Path) -> None:
    store = prepared(raw, tmp_path / "store", frames=5)
    clips = store.clips.set_index("clip_id")
    assert clips["label"].to_dict() == {"S005_001": "happy", "S010_001": "angry"}
    assert clips["length"].tolist() == clips["n_valid"].tolist() == [5, 5]
    assert clips[["t0_s", "fps", "split"]].isna().all(axis=None)
    assert sorted(path.stem for path in (store.path / "frames").iterdir()) == ["S005", "S010"]
    assert (store.card.landmarks_from, store.card.provenance) == ("published", "real")
    assert store.card.geometry == {"eyes": [list(eye) for eye in EYES_64], "colour": "gray"}
    assert store.card.parameters["frames"] == 5
    assert "landmark_model_sha256" not in store.card.parameters
    assert store.card.audit["left_out"] == {"sequence without emotion file": 1}
    clip = store.read(clips.index.get_loc("S005_001"))
    for frame, number in enumerate((1, 4, 6, 9, 11)):
        name = f"S005/001/S005_001_{number:08d}"
        picture = np.asarray(Image.open(raw / "cohn-kanade-images" / f"{name}.png").convert("RGB"))
        crop, points = align(picture, np.loadtxt(raw / "Landmarks" / f"{name}_landmarks.txt"))
        np.testing.assert_allclose(clip.landmarks[frame], points, atol=1e-4)
        np.testing.assert_array_equal(clip.frames[frame], crop)
    np.testing.assert_allclose(eye_centres(clip.landmarks[0]), EYES_64, atol=1e-3)


def test_first_frames_are_neutral_where_asked(raw: Path, tmp_path: Path) -> None:
    store = prepared(raw, tmp_path / "store", frames=4, neutral_frames=2)
    clips = store.clips.set_index("clip_id")["label"]
    assert clips.to_dict() == {"S005_001": "happy", "S005_001-neutral": "neutral", "S010_001": "angry"}
    of_clip = {name: store.read(row).frames for row, name in enumerate(clips.index)}
    neutral = of_clip["S005_001-neutral"]  # frames 1, 1, 2, 2
    np.testing.assert_array_equal(neutral[0], of_clip["S005_001"][0])
    np.testing.assert_array_equal(neutral[[0, 2]], neutral[[1, 3]])
    assert (neutral[0] != neutral[3]).any()
    assert store.card.audit["left_out"]["neutral clip of a sequence shorter than twice its frames"] == 1


def test_the_apex_is_the_frame_that_the_emotion_file_names(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = raw / "Emotion" / "S005" / "001"
    (folder / "S005_001_00000011_emotion.txt").rename(folder / "S005_001_00000009_emotion.txt")
    (folder / "._S005_001_00000009_emotion.txt").write_text("of another system")
    left_out = Counter[str]()
    sequences = {sequence.clip_id: sequence for sequence in CKPlusDataModule.read(raw, left_out)}
    assert sequences["S005_001"].numbers == range(1, 10)
    assert left_out == {"frame after the apex": 2}
    printed = capsys.readouterr().err
    assert "ckplus: 2 subjects, and 123 are published" in printed
    assert "ckplus: 3 sequences, and 593 are published" in printed
    assert "ckplus: 1 sequences of happy, and 69 are published" in printed


def test_every_fault_of_the_raw_data_is_listed(raw: Path, tmp_path: Path) -> None:
    images, emotion = raw / "cohn-kanade-images", raw / "Emotion"
    (images / "S005" / "001" / "S005_001_00000004.png").unlink()
    (images / "S005" / "002" / "S006_002_00000009.png").touch()
    (images / "S010" / "extra").mkdir()
    (images / "S10").mkdir()
    (images / "S010" / "003").mkdir()
    (emotion / "S005" / "001" / "S005_001_00000011_emotion.txt").write_text("   8.0000000e+00\n")
    (emotion / "S005" / "002" / "S005_002_00000007_emotion.txt").write_text("   2.0000000e+00\n")
    shutil.copytree(emotion / "S010" / "001", emotion / "S010" / "002")
    (emotion / "S010" / "002" / "S010_001_00000003_emotion.txt").rename(
        emotion / "S010" / "002" / "S010_002_00000003_emotion.txt"
    )
    (emotion / "S010" / "001" / "S010_001_00000002_emotion.txt").write_text("sad")
    with refused(
        DataError,
        "cohn-kanade-images/S005/001: 1 pictures are missing: 4",
        "cohn-kanade-images/S005/002/S006_002_00000009.png: expected a name such as S005_002_00000001.png",
        "cohn-kanade-images/S010/extra: expected a sequence such as 001",
        "cohn-kanade-images/S10: expected a subject such as S005",
        "cohn-kanade-images/S010/003: no picture",
        "Emotion/S005/001/S005_001_00000011_emotion.txt: '8.0000000e+00', expected a code from 0 to 7",
        "Emotion: S005_002 has its apex at frame 7, and its pictures are 1 to 4",
        "Emotion: S010_002 has a label, and no pictures in cohn-kanade-images",
        "Emotion/S010/001: 2 files, expected one at most",
        "Emotion/S010/001/S010_001_00000002_emotion.txt: 'sad', expected a code from 0 to 7",
    ):
        prepared(raw, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_missing_folders_are_listed(tmp_path: Path) -> None:
    with refused(DataError, "cohn-kanade-images: no such folder", "Emotion: no such folder", "Expected cohn-kanade"):
        prepared(tmp_path, tmp_path / "store")


def test_bad_points_are_listed_with_file_and_line(raw: Path, tmp_path: Path) -> None:
    points = raw / "Landmarks" / "S005" / "001"
    (points / "S005_001_00000001_landmarks.txt").unlink()
    path = points / "S005_001_00000011_landmarks.txt"
    path.write_text(path.read_text().replace("e+01", "", 1).replace("\n", " 3\n", 1))
    short = raw / "Landmarks" / "S010" / "001" / "S010_001_00000003_landmarks.txt"
    short.write_text("1 2\n")
    with refused(
        DataError,
        "S005_001_00000001_landmarks.txt: no such file",
        "S005_001_00000011_landmarks.txt, line 1: expected two numbers x y",
        "S010_001_00000003_landmarks.txt: 1 points, expected 68",
    ):
        prepared(raw, tmp_path / "store")
    short.write_text("1 nan\n" * 68)
    with pytest.raises(DataError, match="line 1: expected two numbers"):
        read_points(short)


def test_a_damaged_picture_is_masked_and_counted(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / "cohn-kanade-images" / "S010" / "001" / "S010_001_00000002.png").write_bytes(b"no picture")
    store = prepared(raw, tmp_path / "store", frames=3)
    assert store.clips.set_index("clip_id")["n_valid"].to_dict() == {"S005_001": 3, "S010_001": 2}
    assert store.card.audit["coverage"]["damaged"] == store.card.audit["frames_without_face"] == 1
    assert "1 of 6 frames: damaged; they count as not found" in capsys.readouterr().err
    for path in (raw / "cohn-kanade-images" / "S010" / "001").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"S010/001: 3 of 3 frames are damaged"):
        prepared(raw, tmp_path / "other", frames=3)
    store = prepared(raw, tmp_path / "other", frames=3, unreadable="leave_out")
    assert store.card.audit["left_out"]["unreadable video"] == 1


def test_an_interrupted_preparation_continues_at_the_next_sequence(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, followed = frame_jobs.write_part, list[str]()

    def interrupted(path: Path, clips: Any) -> Any:
        followed.append(path.name.partition("-")[0])
        if followed == ["S005_001", "S010_001"]:
            raise KeyboardInterrupt
        return write(path, clips)

    monkeypatch.setattr(frame_jobs, "write_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared(raw, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    store = prepared(raw, tmp_path / "store")
    assert followed == ["S005_001", "S010_001", "S010_001"]
    assert store.fingerprint == prepared(raw, tmp_path / "again").fingerprint
    assert not list(tmp_path.glob(".store*"))


def test_mediapipe_follows_the_face_in_whole_pictures(drawn_site: Path, landmark_model: str, tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    ck_sequence(tmp_path / "raw", "S005", "001", frames=3, code=5)
    video = sorted((drawn_site / "videos").iterdir())[0]
    for number, frame in enumerate(sample_frames(video, np.array([0.1, 0.3, 0.5])), start=1):
        place = tmp_path / "raw" / "cohn-kanade-images" / "S005" / "001" / f"S005_001_{number:08d}.png"
        assert not isinstance(frame, str)
        Image.fromarray(frame).save(place)
    store = prepared(tmp_path / "raw", tmp_path / "store", landmarks="mediapipe", face_landmarker=landmark_model)
    (clip,) = (store.read(row) for row in range(len(store)))
    assert (clip.valid.sum(), len(clip.valid), store.card.mesh_mapping) == (10, 10, "mesh-2")
    np.testing.assert_allclose(eye_centres(clip.landmarks[5]), EYES_64, atol=1e-3)
    assert (np.ptp(clip.frames, axis=-1) == 0).all()  # gray


def test_the_commands_prepare_train_evaluate_and_report(tmp_path: Path) -> None:
    arguments = ck_plus(tmp_path / "raw")
    assert main(["prepare", "data=ckplus", *arguments, f"out={tmp_path / 'store'}"]) == DONE
    model = ("model=shallow_cnn", "recipe=demo", "trainer.max_epochs=1", *QUICK)
    protocol = ("protocol.folds=2", "protocol.only=[01]")  # of kfold, since no split is published
    runs = (f"runs.root={tmp_path}", "name=a/b", f"data.store={tmp_path / 'store'}")
    assert main(["train", "data=ckplus", *model, *protocol, *runs]) == DONE
    run = RunDir.open(tmp_path / "a" / "b")
    assert main(["evaluate", str(run.path)]) == DONE
    assert main(["report", str(run.path)]) == DONE
    metrics = run.metrics()
    assert (metrics["n_subjects"], metrics["labels"][0]) == (2, "neutral")
    assert [fold.name for fold in CKPlusDataModule(tmp_path / "store").folds] == [f"{fold:02d}" for fold in range(5)]
    assert metrics["per_class"]["neutral"]["recall"] is None  # no sequence of CK+ is neutral
