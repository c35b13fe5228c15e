"""Aff-Wild2 in its published layout, generated: windows by majority, masked frames, every fault, resumption."""

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
from data_modules.affwild2 import CODES, AffWild2Config, AffWild2DataModule
from data_modules.frame_jobs import Numbered
from data_modules.frame_sequences import FrameSequence
from experiments.cli import DONE, main
from fer_id.errors import DataError
from fer_id.evaluation.config import SPLITS
from fer_id.preprocessing.alignment import EYES_64, align, eye_centres
from fer_id.preprocessing.video import sample_frames
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from tests.experiments.conftest import QUICK, aff_affect, aff_video, aff_wild2
from tests.refusals import refused


def sequence(labels: list[int]) -> FrameSequence:
    """Return a video with these codes."""
    numbers = range(1, len(labels) + 1)
    return FrameSequence("v", "v", None, Numbered(Path("v"), "{:05d}.jpg"), numbers, np.array(labels, np.int8))


def cut(labels: list[int], **settings: Any) -> tuple[list[tuple[str, str | None, list[int]]], Counter[str]]:
    left_out = Counter[str]()
    clips = AffWild2Config(**settings).clips(sequence(labels), left_out)
    return [(clip.clip_id, clip.label, list(clip.numbers)) for clip in clips], left_out


def test_valence_and_arousal_are_means_over_more_than_half_of_the_frames() -> None:
    nan = np.nan
    affect = np.array([[0.2, 1], [0.4, nan], [nan, nan], [9, 9], [-1, nan], [nan, 0.5], [nan, 0.7], [0.5, 9]])
    video = sequence([4, 4, 4, -1, -1, -1, -1, -1])._replace(affect=affect)
    read, left_out = dict[bool, list[Any]](), Counter[str]()
    for affect_only in (False, True):
        config = AffWild2Config(step=1, window=3, stride=4, affect_only=affect_only)
        read[affect_only] = [(clip.label, clip.valence, clip.arousal) for clip in config.clips(video, left_out)]
    happy = ("happy", pytest.approx(0.3), None)
    assert read == {False: [happy], True: [happy, (None, None, pytest.approx(0.6)), (None, None, pytest.approx(3.4))]}
    assert left_out == {"clip without labels": 2}


def test_valence_and_arousal_are_read_beside_the_labels(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aff_affect(raw, "Validation_Set", "c", [(-5, -5), (-5, -5), (1, -1), (0.5, -5)])  # shorter, and in the other set
    (raw / "6th ABAW Annotations" / "VA_Estimation_Challenge" / "Train_Set" / "c.txt").unlink()
    aff_video(raw, "Train_Set", "va-only", [0, 0])
    (raw / "6th ABAW Annotations" / "EXPR_Recognition_Challenge" / "Train_Set" / "va-only.txt").unlink()
    aff_affect(raw, "Train_Set", "va-only", [(0.25, 0), (0.75, 0.5)])
    clips = prepared(raw, tmp_path / "store", affect_only=True).clips.set_index("clip_id")
    assert clips.loc["c-00001", ["valence", "arousal"]].isna().all()
    assert clips.loc["c-00003", "valence"] == 0.75
    assert clips.loc["c-00003", "label"] == "angry"
    assert clips.loc["c-00003", "split"] != "test"
    assert np.isnan(clips.loc["c-00003", "arousal"])  # of one of two frames
    assert clips.loc["f-00001", ["label", "valence"]].isna().tolist() == [False, True]
    assert clips.loc["va-only-00001", ["label", "valence", "arousal"]].tolist() == [None, 0.5, 0.25]
    assert "1 videos stand in the other set of VA_Estimation_Challenge" in capsys.readouterr().err


def test_windows_of_every_second_frame_have_the_label_of_the_majority() -> None:
    # taken: frames 1, 3, ..., 23; windows of four of them: 4 4 4 0 | 0 0 4 4 | 7 7 7 -1
    labels = [4, 9, 4, 9, 4, 9, 0, 9, 0, 9, 0, 9, 4, 9, 4, 9, 7, 9, 7, 9, 7, 9, -1, 9]
    clips, left_out = cut(labels, step=2, window=4, stride=4)
    assert clips == [("v-00001", "happy", [1, 3, 5, 7])]
    assert left_out == {"clip without a majority": 1, "clip of class other": 1}
    assert cut(labels, step=2, window=4, stride=4, majority=0.75)[0] == []  # three of four do not exceed it
    assert cut([-1] * 3 + [1] * 2, step=1, window=5) == ([], {"clip without labels": 1})


def test_the_last_window_is_moved_back_and_a_short_video_is_one_clip() -> None:
    clips, _ = cut([1] * 7, step=1, window=3, stride=3)
    assert [numbers for _, _, numbers in clips] == [[1, 2, 3], [4, 5, 6], [5, 6, 7]]
    assert cut([2, 2], step=1, window=3)[0] == [("v-00001", "disgust", [1, 2])]


@given(st.lists(st.integers(-1, 7), min_size=1, max_size=80), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
def test_every_clip_has_its_majority_and_every_window_is_counted(
    labels: list[int], step: int, window: int, stride: int
) -> None:
    clips, left_out = cut(labels, step=step, window=window, stride=stride)
    taken = len(range(0, len(labels), step))
    assert len(clips) + left_out.total() == 1 + max(0, -(-(taken - window) // stride))
    assert len({name for name, _, _ in clips}) == len(clips)
    for _, label, numbers in clips:
        of_clip = [CODES[labels[number - 1]] if labels[number - 1] >= 0 else None for number in numbers]
        assert 2 * of_clip.count(label) > len(numbers) == min(window, taken)
        assert set(np.diff(numbers)) <= {step}


def prepared(raw: Path, out: Path, **settings: Any) -> ClipStore:
    usual: dict[str, Any] = {"landmarks": "none", "step": 1, "window": 2, "stride": 2, "workers": 1}
    AffWild2DataModule.prepare(AffWild2Config(source=str(raw), **{**usual, **settings}), out)
    return ClipStore.open(out)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    aff_wild2(tmp_path / "raw")
    return tmp_path / "raw"


def test_published_crops_masked_frames_and_splits(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(raw / "cropped_aligned" / "b")
    for text in raw.glob("*/*/Train_Set/b.txt"):
        text.unlink()
    aff_video(raw, "Train_Set", "b", [4, 4, 7, 7, 0, -1], missing=(2, 5, 6))
    (raw / "cropped_aligned" / "of_the_test").mkdir()
    (raw / "cropped_aligned_new_50_vids").mkdir()
    (raw / "cropped_aligned" / "c").rename(raw / "cropped_aligned_new_50_vids" / "c")
    shutil.copytree(raw / "cropped_aligned" / "d", raw / "cropped_aligned_new_50_vids" / "d")
    shutil.copy(raw / "cropped_aligned" / "d" / "00001.jpg", raw / "cropped_aligned" / "d" / "00015.jpg")
    store = prepared(raw, tmp_path / "store", split_seed=1)
    clips, card = store.clips.set_index("clip_id"), store.card
    assert clips.loc["b-00001", ["label", "length", "n_valid"]].tolist() == ["happy", 2, 1]
    assert "b-00003" not in clips.index  # other
    assert clips["label"].value_counts().loc[["surprise", "happy"]].tolist() == [8, 9]
    assert (card.geometry["eyes"], card.landmarks_from, card.shard_by) == (None, "none", "subject_id")
    assert card.audit["coverage"]["no picture"] == 1
    assert card.audit["left_out"] == {
        **{"picture after the last label": 1, "video without annotation": 1, "clip of class other": 1},
        **{"further folder of pictures of a video": 1, "clip without a majority": 1},
    }
    assert "some people appear in several" in card.notes[0]
    read = store.read(clips.index.get_loc("b-00001"))
    assert read.valid.tolist() == [True, False]
    picture = np.asarray(Image.open(raw / "cropped_aligned" / "b" / "00001.jpg").convert("RGB"))
    np.testing.assert_array_equal(read.frames[0], align(picture, None)[0])
    of_split = clips.groupby("split")["subject_id"].unique().map(set)
    assert set(of_split.index) == set(SPLITS)
    assert of_split["test"] == {"video1", "video2"}
    pair = {"1-30-1280x720_left", "1-30-1280x720_right"}
    assert pair <= of_split["train"] or pair <= of_split["validation"]
    printed = capsys.readouterr().err
    assert "affwild2: 7 videos in Train_Set, and 248 are published" in printed
    assert "no picture; they count as not found" in printed


def test_every_fault_of_the_raw_data_is_listed(raw: Path, tmp_path: Path) -> None:
    sets = raw / "6th ABAW Annotations" / "EXPR_Recognition_Challenge"
    good = (sets / "Train_Set" / "b.txt").read_text()
    (sets / "Train_Set" / "b.txt").write_text(good.replace("\n3\n", "\n8\n").replace("\n5\n", "\nsad\n"))
    (sets / "Train_Set" / "c.txt").write_text(good.replace("Neutral,Anger", "Anger,Neutral"))
    (sets / "Train_Set" / "d.txt").write_text(good.partition("\n")[0])
    (sets / "Train_Set" / "e.txt").write_text(good.replace(",Other", "").replace("\n6\n", "\n7\n"))
    (sets / "Train_Set" / "f.txt").write_bytes(b"\xff\xfe")
    shutil.copy(sets / "Validation_Set" / "video1.txt", sets / "Train_Set" / "video1.txt")
    aff_affect(raw, "Train_Set", "b", [(0, 0), (1.5, 0), (-5, -2)]).open("a").write("0.1\nnan,0\n")
    aff_affect(raw, "Train_Set", "gone", [(0, 0)])
    aff_affect(raw, "Train_Set", "c", []).write_text("arousal,valence\n0,0\n")
    shutil.rmtree(raw / "cropped_aligned" / "1-30-1280x720_left")
    for path in (raw / "cropped_aligned" / "1-30-1280x720_right").iterdir():
        path.unlink()
    with refused(
        DataError,
        "Train_Set/b.txt, line 8: '8', expected a code from -1 to 7",
        "Train_Set/b.txt, line 12: 'sad', expected a code",
        "Train_Set/c.txt, line 1: 'Anger,Neutral,",
        "Train_Set/d.txt: no label below the header",
        "Train_Set/e.txt, line 14: '7', expected a code from -1 to 6",
        "Train_Set/f.txt: not a text file in UTF-8",
        "video1 stands in both sets",
        "Train_Set/b.txt, line 3: '1.5,0', expected two numbers from -1 to 1, or -5 for none",
        "Train_Set/b.txt: 1 more bad lines",
        "Train_Set/c.txt, line 1: 'arousal,valence', expected valence,arousal",
        "VA_Estimation_Challenge/Train_Set/gone.txt: no folder cropped_aligned/gone",
        "Train_Set/1-30-1280x720_left.txt: no folder cropped_aligned/1-30-1280x720_left",
        "cropped_aligned/1-30-1280x720_right: no picture 00001.jpg to 00014.jpg",
    ):
        prepared(raw, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_annotations_are_one_folder_with_both_sets(raw: Path, tmp_path: Path) -> None:
    annotations = raw / "6th ABAW Annotations"
    shutil.rmtree(annotations / "EXPR_Recognition_Challenge" / "Validation_Set")
    with pytest.raises(DataError, match="EXPR_Recognition_Challenge/Validation_Set: no annotation there"):
        prepared(raw, tmp_path / "store")
    (annotations / "EXPR_Classification_Challenge").mkdir()
    with pytest.raises(DataError, match=r"2 folders EXPR_Recognition_Challenge or .*, expected one; there are "):
        prepared(raw, tmp_path / "store")
    shutil.rmtree(annotations)
    with pytest.raises(DataError, match="0 folders EXPR_Recognition_Challenge or EXPR_Classification_Challenge"):
        prepared(raw, tmp_path / "store")


def test_an_interrupted_preparation_continues_at_the_next_video(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, followed = frame_jobs.write_part, list[str]()

    def interrupted(path: Path, clips: Any) -> Any:
        followed.append(path.stem.rpartition("-")[0])
        if len(followed) == 4:
            raise KeyboardInterrupt
        return write(path, clips)

    monkeypatch.setattr(frame_jobs, "write_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepared(raw, tmp_path / "store")
    picture = raw / "cropped_aligned" / "b" / "00001.jpg"
    picture.write_bytes((raw / "cropped_aligned" / "c" / "00001.jpg").read_bytes())  # a changed video is followed anew
    store = prepared(raw, tmp_path / "store")
    first = ["1-30-1280x720_left", "1-30-1280x720_right", "b"]
    assert followed == [*first, "c", "b", *"cdef", "video1", "video2"]
    assert store.fingerprint == prepared(raw, tmp_path / "again").fingerprint


def test_mediapipe_aligns_faces_that_fill_the_picture(drawn_site: Path, landmark_model: str, tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    for split, video in (("Train_Set", "a"), ("Train_Set", "b"), ("Validation_Set", "c")):
        aff_video(tmp_path / "raw", split, video, [4, 4], missing=(2,))
    drawn = sorted((drawn_site / "videos").iterdir())[0]
    (frame,) = sample_frames(drawn, np.array([0.3]))
    assert not isinstance(frame, str)
    place = tmp_path / "raw" / "cropped_aligned" / "a" / "00002.jpg"
    Image.fromarray(frame).save(place, quality=95)
    store = prepared(tmp_path / "raw", tmp_path / "store", landmarks="mediapipe", face_landmarker=landmark_model)
    clips = store.clips.set_index("clip_id")
    clip = store.read(clips.index.get_loc("a-00001"))
    assert clip.valid.tolist() == [False, True]  # noise shows no face
    np.testing.assert_allclose(eye_centres(clip.landmarks[1]), EYES_64, atol=1e-3)
    outcomes = store.card.audit["coverage"]
    assert {name: outcomes[name] for name in ("found", "no face", "no picture")} == {
        "found": 1,
        "no face": 3,
        "no picture": 2,
    }
    assert store.card.mesh_mapping == "mesh-2"


def test_the_commands_prepare_train_evaluate_and_report(tmp_path: Path) -> None:
    arguments = aff_wild2(tmp_path / "raw")
    assert main(["prepare", "data=affwild2", *arguments, f"out={tmp_path / 'store'}"]) == DONE  # in two processes
    model = ("model=shallow_cnn", "recipe=demo", "trainer.max_epochs=1", "model.affect=true", *QUICK)
    runs = (f"runs.root={tmp_path}", "name=a/b", f"data.store={tmp_path / 'store'}")
    assert main(["train", "data=affwild2", *model, *runs]) == DONE
    run = RunDir.open(tmp_path / "a" / "b")
    assert main(["evaluate", str(run.path)]) == DONE
    assert main(["report", str(run.path)]) == DONE
    metrics, table = run.metrics(), run.predictions()
    assert (metrics["n_subjects"], metrics["n_valence"]) == (2, 14)
    assert metrics.ccc is not None
    assert table["predicted_valence"].between(-1, 1).all()
    assert table.loc[table["subject_id"] == "video1", "valence"].tolist() == pytest.approx(
        [-0.4 + k / 10 for k in range(7)]
    )
    curve = run.learning_curve()
    assert {"train/affect_loss", "val/valence_ccc", "val/arousal_ccc", "val/ccc"} <= set(curve)
    assert "Valence and arousal" in (run.path / "report.html").read_text()
    assert main(["card", str(run.path)]) == DONE
    assert "non-commercial research" in next(run.path.glob("*card*.md")).read_text()
