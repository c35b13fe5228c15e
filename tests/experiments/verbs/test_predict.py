"""``fer-id predict`` by the command line: drawn and real videos, a tiny model, and the import of corrections."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
from pympi.Elan import Eaf

from experiments.cli import DONE, USERS_FAULT, main
from experiments.verbs.predict import parse_marks
from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import Key, keys_home
from fer_id.labels import TARGET
from fer_id.preprocessing.landmarker_file import BUNDLE_VARIABLE
from fer_id.preprocessing.landmarks import MESH_MAPPING
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from tests.experiments.messages import Capture, Tiny, edited, reconfigure, refusal

pytestmark = pytest.mark.usefixtures("remembered_faces")

Predict = Callable[..., Path]
FILES = {
    *("windows.csv", "windows.parquet", "frames.csv", "timeline.png", "timeline.svg", "index.html"),
    *("review.eaf", "review_boris.csv", "review.boris", "prediction.json"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, drawn_site: Path, landmark_model: str, tiny: Tiny) -> Path:
    """Store of the drawn site, a run on it, and a video of one child with a gap in its middle; read-only."""
    folder = tmp_path_factory.mktemp("predict")
    source = (f"data.source={drawn_site}", f"data.face_landmarker={landmark_model}", "data.workers=1")
    assert main(["prepare", "data=cohort", *source, f"out={folder / 'store'}"]) == DONE
    assert main(tiny(folder / "store", folder / "runs", "data=cohort", "name=one")) == DONE
    _film(drawn_site, folder / "child.mp4")
    return folder


def _film(site: Path, path: Path) -> None:
    """Write a video of two expressions of a child, with gray frames between them."""
    pictures: list[Any] = []
    for emotion in ("happy", "fear"):
        with av.open(str(site / "videos" / f"drawn7-000-{emotion}.mp4")) as container:
            pictures += [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        pictures += [np.full_like(pictures[0], 90)] * (27 if emotion == "happy" else 0)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=15)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def run(place: Path, tmp_path: Path) -> RunDir:
    """Copy of the run, which a test may change."""
    return RunDir(shutil.copytree(place / "runs" / "one", tmp_path / "run"))


def judged(run: RunDir, threshold: float | None, temperature: float | None = 1.0, risk: float = 0.2) -> None:
    """Write calibration and review into the metrics, as in those of a larger run."""
    fold = str(run.predictions()["fold"].iloc[0])
    with edited(run.path / "metrics.json") as metrics:
        metrics["calibration"]["temperatures"] = {} if temperature is None else {fold: temperature}
        metrics["review"] = {"risk": risk, "thresholds": {fold: threshold}}


@pytest.fixture
def predict(place: Path, run: RunDir, tmp_path: Path, landmark_model: str) -> Predict:
    """``predict("stride=2")``: output folder of the changed run, by default for the filmed child."""

    def make(*more: str, code: int = DONE, video: Path | None = None) -> Path:
        out = tmp_path / "prediction"
        keys = {argument.partition("=")[0] for argument in more}
        model = [] if keys & {"run", "bundle"} else [f"run={run.path}"]
        arguments = [str(video or place / "child.mp4"), f"out={out}", f"face_landmarker={landmark_model}", *model]
        assert main(["predict", *arguments, *more]) == code
        return out

    return make


def test_the_folder_is_for_its_owner_only_and_states_its_purpose(
    run: RunDir, predict: Predict, capsys: Capture
) -> None:
    judged(run, 0.0)
    out = predict()
    output = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {*FILES, "thumbnails"}
    assert out.stat().st_mode & 0o777 == 0o700
    for path in out.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    for words in ("does not diagnose", "synthetic", "Nobody's consent was checked", str(out)):
        assert words in output
    for name in FILES - {"windows.parquet", "timeline.png"}:
        text = (out / name).read_text()
        assert "synthetic" in text, name
        assert "diagnose" in text, name
    parquet = pd.read_parquet(out / "windows.parquet")
    assert set(parquet["model_provenance"]) == {"synthetic"}
    assert list(parquet.columns) == list(pd.read_csv(out / "windows.csv").columns)
    assert str(out) in (out / "index.html").read_text()  # where it has to be deleted


def test_windows_frames_and_gaps_agree_with_the_film(run: RunDir, predict: Predict) -> None:
    judged(run, 0.0)
    out = predict()
    windows, frames = pd.read_csv(out / "windows.csv"), pd.read_csv(out / "frames.csv")
    assert frames["time_s"].tolist() == pytest.approx([n / 5 for n in range(21)])  # 1.2 + 1.8 + 1.2 s
    gap = frames["time_s"].between(1.2, 2.95)
    assert (frames["outcome"][gap] == "no face").all()
    assert (frames["outcome"][~gap] == "found").mean() > 0.8
    assert windows["status"].tolist() == ["answered", "no face", "answered", "answered"]
    assert windows["start_s"].tolist() == pytest.approx([0, 1.2, 2.4, 3.0])
    assert windows["from_s"].iloc[1:].tolist() == pytest.approx(windows["to_s"].iloc[:-1].tolist())
    faces = windows[windows["n_valid"] > 0]
    np.testing.assert_allclose(faces[[f"p_{name}" for name in TARGET.names]].sum(axis=1), 1, atol=1e-5)
    assert windows.loc[1, [f"p_{name}" for name in TARGET.names]].isna().all()


def test_a_window_has_the_probabilities_of_its_clip_in_the_store(
    place: Path, run: RunDir, predict: Predict, drawn_site: Path
) -> None:
    """The same video by ``prepare`` and ``train`` has the same logits, hence the same probabilities."""
    judged(run, 0.0)
    table = run.predictions()
    store = ClipStore.open(place / "store").clips.set_index("clip_id")
    key = Key.load(keys_home())
    row = table[table["split"] == "test"].iloc[0]
    video = store.loc[row["clip_id"], "video_id"]
    paths = {key.pseudonym("video", f"videos/{path.name}"): path for path in (drawn_site / "videos").iterdir()}
    windows = pd.read_csv(predict(video=paths[video]) / "windows.csv")
    assert len(windows) == 1
    for name in TARGET.names:
        assert windows.loc[0, f"p_{name}"] == pytest.approx(row[f"p_{name}"], abs=1e-4)


def test_flagged_windows_name_no_label_in_any_output(run: RunDir, predict: Predict, tmp_path: Path) -> None:
    judged(run, 0.0)
    first = pd.read_csv(predict() / "windows.csv")
    top = first[[f"q_{name}" for name in TARGET.names]].max(axis=1)
    shutil.rmtree(tmp_path / "prediction")
    values = np.sort(top.dropna())
    widest = int(np.argmax(np.diff(values)))  # between the two most different confidences
    judged(run, float(values[widest : widest + 2].mean()))
    out = predict()
    windows = pd.read_csv(out / "windows.csv", keep_default_na=False)
    assert windows["status"].tolist() == [
        "no face" if np.isnan(q) else "answered" if q > values[widest] else "for review" for q in top
    ]
    answers = windows.loc[windows["status"] == "answered", "answer"].tolist()
    assert 0 < len(answers) < len(values)
    assert set(windows.loc[windows["status"] != "answered", "answer"]) == {""}
    assert set(answers) <= set(TARGET.names)
    eaf = Eaf(str(out / "review.eaf"))
    stretches = groupby(zip(windows["status"], windows["answer"], strict=True))  # windows that touch and agree are one
    merged = [answer for (status, answer), _ in stretches if status == "answered"]
    assert [annotation[2] for annotation in eaf.get_annotation_data_for_tier("emotion")] == merged
    for start, end, words in eaf.get_annotation_data_for_tier("for_review"):
        row = windows[(windows["from_s"].astype(float) * 1000).round() == start].iloc[0]
        assert (row["status"], end) == ("for review", round(float(row["to_s"]) * 1000))
        assert all(name in words for name in TARGET.names)
    assert {annotation[2] for annotation in eaf.get_annotation_data_for_tier("corrected")} == {""}
    behaviors = [f"model: {answer}" for answer in merged]
    events = list(csv.DictReader((out / "review_boris.csv").open()))
    assert [row["Behavior"] for row in events if row["Behavior"] not in ("no face", "for review")] == behaviors
    page = (out / "index.html").read_text()
    cells = re.findall(r'<td class="keep">(?!<a)(.*?)</td>', page)
    pictures = re.findall(r'<img src="(thumbnails/[0-9]{4}[.]jpg)"', page)
    assert len(pictures) == (windows["status"] != "no face").sum()
    assert all((out / picture).read_bytes().startswith(b"\xff\xd8") for picture in pictures)
    assert "base64,/9j/" not in page  # the page alone shows nobody
    assert sorted(cells) == sorted(
        [*answers, "no face", *["<b>for review</b>"] * (windows["status"] == "for review").sum()]
    )
    project = json.loads((out / "review.boris").read_text())
    coded = [event[2] for event in next(iter(project["observations"].values()))["events"]]
    assert {code for code in coded if code not in ("no face", "for review")} == set(behaviors)


@pytest.mark.parametrize(
    ("review", "reason", "message"),
    [
        pytest.param(None, None, "the run has no threshold of confidence", marks=pytest.mark.slow),
        pytest.param(
            *({"risk": 0.2, "thresholds": {}}, None, "no threshold kept the share of wrong answers at 0.2"),
            marks=pytest.mark.slow,
        ),
        ({"risk": 0.2, "thresholds": {"holdout": None}}, "2 subjects to choose on", "review: 2 subjects to choose on."),
    ],
)
def test_without_a_threshold_everything_is_for_review(
    run: RunDir, predict: Predict, capsys: Capture, review: dict[str, Any] | None, reason: str | None, message: str
) -> None:
    with edited(run.path / "metrics.json") as metrics:
        metrics["reasons"] = {} if reason is None else {"review.thresholds.holdout": reason}
        metrics["review"] = review
    out = predict()
    assert message in capsys.readouterr().out
    assert message in (out / "index.html").read_text()
    assert set(pd.read_csv(out / "windows.csv")["status"]) == {"for review", "no face"}


def test_without_a_temperature_raw_probabilities_decide(run: RunDir, predict: Predict) -> None:
    judged(run, 0.0, temperature=None)
    out = predict()
    windows = pd.read_csv(out / "windows.csv")
    assert windows[[f"q_{name}" for name in TARGET.names]].isna().all(axis=None)
    assert "answered" in set(windows["status"])
    page = (out / "index.html").read_text()
    assert "raw, uncalibrated" in page
    assert "Its probabilities are raw" in page


def test_a_window_with_few_faces_has_no_answer_and_seconds_of_video_are_counted(
    run: RunDir, predict: Predict, capsys: Capture
) -> None:
    judged(run, 0.0)
    out = predict("least_face=0.9")
    windows = pd.read_csv(out / "windows.csv", keep_default_na=False)
    little = (windows["n_valid"] > 0) & (windows["n_valid"] < 0.9 * windows["n_frames"])
    assert little.any()
    assert set(windows.loc[little, "status"]) <= {"too little of the face", "no face"}
    assert set(windows.loc[little, "answer"]) == {""}
    output = capsys.readouterr().out
    assert "too little of the face to say" in output
    assert "Of 4.2 s of video" in output
    assert "%" not in output.splitlines()[0]
    project = (out / "review.boris").read_text()
    assert "too little of the face" in project
    shutil.rmtree(out)
    assert set(pd.read_csv(predict("least_face=0", "thumbnails=false") / "windows.csv")["status"]) == {
        "answered",
        "no face",
    }
    assert not (out / "thumbnails").exists()


def test_a_temperature_divides_the_logits(run: RunDir, predict: Predict) -> None:
    judged(run, 0.0, temperature=4.0)
    table = pd.read_csv(predict() / "windows.csv").dropna(subset="p_happy")
    p = np.log(table[[f"p_{name}" for name in TARGET.names]].to_numpy())
    expected = np.exp(p / 4) / np.exp(p / 4).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(table[[f"q_{name}" for name in TARGET.names]], expected, atol=1e-5)


# --- real videos, and what is none ------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, None])
def test_a_video_without_a_face_is_reported_in_all_outputs(
    threshold: float | None, run: RunDir, predict: Predict, shared_data: Path, capsys: Capture
) -> None:
    judged(run, threshold)
    out = predict(video=shared_data / "videos" / "no_face.mp4")
    output = capsys.readouterr().out
    assert "No face in any frame" in output
    page = (out / "index.html").read_text()
    assert "No face in any frame." in page
    for words in (output, page):
        assert words.count("nothing to review") == 1
        assert "is for review" not in words
        assert "Every window" not in words
    assert not (out / "thumbnails").exists()
    assert set(pd.read_csv(out / "windows.csv")["status"]) == {"no face"}
    assert {row["Behavior"] for row in csv.DictReader((out / "review_boris.csv").open())} == {"no face"}
    eaf = Eaf(str(out / "review.eaf"))
    assert not eaf.get_annotation_data_for_tier("corrected")
    assert len(eaf.get_annotation_data_for_tier("no_face")) == 1


def test_a_real_face_that_leaves_the_picture_ends_the_answers(run: RunDir, predict: Predict, shared_data: Path) -> None:
    judged(run, 0.0)
    out = predict("stride=2", video=shared_data / "videos" / "face_noface.mov")
    windows = pd.read_csv(out / "windows.csv")
    assert windows["status"].iloc[0] == "answered"
    assert windows["status"].iloc[-1] == "no face"
    gone = Eaf(str(out / "review.eaf")).get_annotation_data_for_tier("no_face")
    assert max(end for _, end, _ in gone) == pytest.approx(6400, abs=200)
    answered = windows[windows["status"] == "answered"]
    assert answered["to_s"].max() * 1000 <= min(start for start, _, _ in gone) + 400  # one window's own time


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b"", "empty"), (b"no video at all", "not a video")]
)
def test_a_file_that_is_no_video_leaves_no_output(
    predict: Predict, tmp_path: Path, capsys: Capture, content: bytes | None, message: str
) -> None:
    path = tmp_path / "wrong.mp4"
    if content is not None:
        path.write_bytes(content)
    out = predict(video=path, code=USERS_FAULT)
    assert message in capsys.readouterr().err
    assert not out.exists()
    assert not list(tmp_path.glob(".prediction*"))


def test_an_older_folder_is_replaced_only_with_overwrite(
    run: RunDir, predict: Predict, capsys: Capture, tmp_path: Path
) -> None:
    judged(run, 0.0)
    predict()
    predict(code=USERS_FAULT)
    assert "overwrite=true" in capsys.readouterr().err
    predict("overwrite=true")
    (tmp_path / "prediction" / "prediction.json").unlink()
    predict("overwrite=true", code=USERS_FAULT)
    assert "holds no prediction.json" in capsys.readouterr().err


# --- models that are none for a video ---------------------------------------------------------------------------------


def test_clashing_settings_are_reported_together(predict: Predict, capsys: Capture) -> None:
    predict("run=a", "bundle=b", "subject=s", "stride=0", "face=0.3,1.2@4", code=USERS_FAULT)
    output = capsys.readouterr().err
    assert all(words in output for words in ("give one of them", "subject", "stride", "expected x,y@t"))


def test_the_file_of_face_landmarks_is_missed_before_a_model_is_opened(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv(BUNDLE_VARIABLE, str(tmp_path / "none.task"))
    arguments = ["predict", "video.mp4", "run=nowhere", f"out={tmp_path / 'out'}"]
    assert f"none.task (from {BUNDLE_VARIABLE}): no such file" in refusal(capsys, arguments)


@pytest.mark.parametrize("face", ["0.3", "0.3,0.4", "a,b@1", "0.3,0.4@-1", "0.1,0.1@1;0.2,0.2@1", "0.1,0.1@1;"])
def test_a_malformed_face_setting_is_refused(face: str) -> None:
    assert parse_marks(face) is None


def test_the_marked_face_is_followed_or_none(run: RunDir, predict: Predict, shared_data: Path, capsys: Capture) -> None:
    judged(run, 0.0)
    video = shared_data / "videos" / "single_face.mp4"
    predict("face=0.02,0.02@1", video=video, code=USERS_FAULT)
    assert "face=0.02,0.02@1: no face at x 0.02, y 0.02; faces are seen at (0.4" in capsys.readouterr().err
    frames = pd.read_csv(predict("face=0.46, 0.55@1;0.46,0.5@2.1", video=video) / "frames.csv")
    assert set(frames["outcome"]) == {"found"}
    predict("face=0.46,0.55@1", "reacquire_s=1", video=video, code=USERS_FAULT)
    assert "contradict each other" in capsys.readouterr().err


def test_a_stride_beyond_the_window_is_refused(predict: Predict, capsys: Capture) -> None:
    predict("stride=7", code=USERS_FAULT)
    assert "a window has 6 frames" in capsys.readouterr().err


def test_a_cross_validation_has_no_model_for_a_new_child(
    run: RunDir, predict: Predict, tmp_path: Path, capsys: Capture
) -> None:
    parent = Path(shutil.copytree(run.path, tmp_path / "loso"))
    shutil.copytree(run.path, parent / "folds" / "s0123456789abcdef")
    predict(f"run={parent}", code=USERS_FAULT)
    output = capsys.readouterr().err
    assert "is a cross-validation" in output
    fold = output.split("run=")[1].strip()
    assert fold == str(parent / "folds" / "s0123456789abcdef")
    predict(f"run={fold}")


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"eyes": None, "colour": "gray"}, "cropped in another way"),
        ({"eyes": [[1.0, 2.0], [3.0, 2.0]], "colour": "rgb"}, "cropped in another way"),
        (None, "does not say how its faces were cropped"),
    ],
)
def test_crops_of_another_kind_are_refused(
    run: RunDir, predict: Predict, capsys: Capture, geometry: dict[str, Any] | None, message: str
) -> None:
    with edited(run.path / "job.json") as job:
        job["store"]["geometry"] = geometry
    predict(code=USERS_FAULT)
    assert message in capsys.readouterr().err


def test_landmarks_of_another_mapping_are_refused_where_they_are_an_input(
    run: RunDir, predict: Predict, capsys: Capture
) -> None:
    with edited(run.path / "job.json") as job:
        assert job["store"].pop("mesh_mappings") == [MESH_MAPPING]  # as older versions wrote it
    predict()
    different = f"landmarks of different mappings from MediaPipe's mesh: {run.path} (mesh-1), the video (mesh-2)"
    assert f"note: {different}" in capsys.readouterr().err
    reconfigure(run, "model", landmarks=8)
    predict("overwrite=true", code=USERS_FAULT)
    assert f"{different}. Landmarks are an input" in capsys.readouterr().err


def test_a_gray_model_gets_gray_faces(run: RunDir, predict: Predict) -> None:
    with edited(run.path / "job.json") as job:
        job["store"]["geometry"]["colour"] = "gray"
    assert json.loads((predict() / "prediction.json").read_text())["settings"]["colour"] == "gray"


def test_frames_per_second_are_those_of_the_training(
    place: Path, run: RunDir, predict: Predict, capsys: Capture, tmp_path: Path
) -> None:
    assert run.job().store.fps == 5.0
    assert run.job().store.min_eye_distance == 8.0
    predict("fps=4", code=USERS_FAULT)
    assert "learned from 5 frames a second" in capsys.readouterr().err
    with edited(run.path / "job.json") as job:
        del job["store"]["fps"]  # as older versions wrote it
    settings = json.loads((predict() / "prediction.json").read_text())["settings"]
    assert (settings["fps"], settings["precision"]) == (5.0, "32")  # its store says so, and its configuration
    reconfigure(run, "data", store=[str(tmp_path / "gone")])
    predict("overwrite=true", code=USERS_FAULT)
    assert "say fps=NUMBER" in capsys.readouterr().err
    predict("overwrite=true", "fps=5")


# --- consent ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(drawn_site: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn_site, tmp_path / "site"))


def test_consent_is_checked_logged_and_stated(run: RunDir, predict: Predict, site: Path) -> None:
    judged(run, 0.0)
    out = predict(f"cohort={site}", video=site / "videos" / "drawn7-001-sad.mp4")
    key = Key.load(keys_home())
    subject = key.pseudonym("subject", "drawn7-001")
    line = AuditLog(keys_home(), key).verify()[-1]
    assert (line["event"], line["subject"]) == ("predicted", subject)
    assert line["video"] == key.pseudonym("video", "videos/drawn7-001-sad.mp4")
    page = (out / "index.html").read_text()
    assert f"Consent to inference of {subject} holds until 2099-12-31" in page
    seen = run.job().subjects
    assert ("learned from this very person" in page) == (subject in {*seen["train"], *seen["validation"]})


def test_without_consent_the_video_is_not_opened(predict: Predict, site: Path, capsys: Capture) -> None:
    table = site / "consent.csv"
    table.write_text(table.read_text().replace("training;evaluation;inference;media_sharing", "training;evaluation"))
    video = site / "videos" / "drawn7-001-sad.mp4"
    video.write_bytes(b"never opened")
    out = predict(f"cohort={site}", video=video, code=USERS_FAULT)
    assert "does not cover inference" in capsys.readouterr().err
    assert not out.exists()


# --- there and back ---------------------------------------------------------------------------------------------------


def test_a_correction_in_elan_becomes_a_soft_label(
    run: RunDir, predict: Predict, site: Path, landmark_model: str, tmp_path: Path, capsys: Capture
) -> None:
    judged(run, None)
    out = predict(f"cohort={site}", video=site / "videos" / "drawn7-001-sad.mp4")
    eaf = Eaf(str(out / "review.eaf"))
    ((start, end, _),) = eaf.get_annotation_data_for_tier("corrected")
    eaf.remove_annotation("corrected", start)
    eaf.add_annotation("corrected", start, end, "fear")
    eaf.to_file(str(out / "review.eaf"))
    arguments = ["prepare", "data=cohort", f"data.source={site}", f"data.face_landmarker={landmark_model}"]
    back = [f"data.corrections={out / 'review.eaf'}", "data.annotator=therapist", "data.workers=1"]
    assert main([*arguments, *back, f"out={tmp_path / 'again'}"]) == DONE
    assert "opinions about 1 clip\n" in capsys.readouterr().err
    rows = list(csv.DictReader((site / "annotations.csv").open()))
    own = [row for row in rows if row["clip_id"] == "drawn7-001-sad-00"]
    assert list(own[-1].values()) == ["drawn7-001-sad-00", "therapist", "fear", ""]
    assert list(own[-1]) == ["clip_id", "annotator", "label", "confidence"]
    weights = dict.fromkeys(TARGET.names, 0.0)
    for row in own:
        weights[row["label"]] += float(row["confidence"] or 1)
    store = ClipStore.open(tmp_path / "again").clips
    name = Key.load(keys_home()).pseudonym("clip", "drawn7-001-sad-00")
    soft = store[store["clip_id"].str.startswith(name)]["soft_label"].iloc[0]
    np.testing.assert_allclose(soft, np.array(list(weights.values())) / sum(weights.values()))
    assert store[store["clip_id"].str.startswith(name)]["label"].iloc[0] == "sad"  # the site's own word stays


def test_corrections_need_the_name_of_an_annotator(site: Path, capsys: Capture, tmp_path: Path) -> None:
    arguments = ["prepare", "data=cohort", f"data.source={site}", f"out={tmp_path / 'again'}"]
    assert "belong together" in refusal(capsys, [*arguments, "data.corrections=a.eaf"])
    assert "no formula" in refusal(capsys, [*arguments, "data.corrections=a.eaf", "data.annotator==1+1"])
