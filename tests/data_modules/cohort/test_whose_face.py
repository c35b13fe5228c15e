"""Videos with two people: counts, sheets without faces, messages, and the child's face by ``faces.csv``."""

import csv
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data_modules import video_store
from data_modules import videos as cohort_videos
from data_modules.cohort.manifests import read_manifests
from data_modules.cohort.reader import CohortConfig, CohortDataModule
from fer_id.consent.keys import Key
from fer_id.errors import DataError
from fer_id.preprocessing.video import sample_frames
from fer_id.runs.erasure import erase_from_store
from fer_id.store.reader import ClipStore

TABLES = {
    "subjects.csv": "subject_id,age_group,gender,severity,ethnicity,site\nk01,6-9,f,mild,x,A\nk02,6-9,m,mild,x,A\n",
    "clips.csv": "clip_id,subject_id,video,start_s,end_s,label,context\n"
    "q1,k01,videos/two.mp4,0,0.8,happy,home\nq2,k02,videos/one.mp4,0,0.8,sad,home\n",
    "consent.csv": "subject_id,recorded_on,status,guardian,assent,purposes,expires_on,ethics_ref\n"
    "k01,2026-01-01,given,yes,yes,training;evaluation;inference,,\n"
    "k02,2026-01-01,given,yes,yes,training;evaluation;inference,,\n",
}
ROW = "video,time_s,x,y\nvideos/two.mp4,0.9,0.75,0.5\n"

Make = Callable[..., ClipStore]


@pytest.fixture(scope="module")
def two_people(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """Cohort with a video of a real face on the left, and a smaller one, mirrored and reddened, on the right."""
    site = tmp_path_factory.mktemp("two") / "site"
    (site / "videos").mkdir(parents=True)
    for name, text in TABLES.items():
        (site / name).write_text(text)
    source = shared_data / "videos" / "single_face.mp4"
    frames = [image for image in sample_frames(source, np.arange(11) / 10) if not isinstance(image, str)]
    _write(site / "videos" / "two.mp4", [_beside(image[20:, 124:464]) for image in frames])
    _write(site / "videos" / "one.mp4", [image[20:, 124:464] for image in frames])
    return site


def _beside(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = cv2.resize(image[:, ::-1], (260, 260), interpolation=cv2.INTER_AREA) // np.array([1, 2, 2], np.uint8)
    right = np.zeros_like(image)
    right[40:300, 40:300] = small
    return np.concatenate([image, right], axis=1)


def _write(path: Path, frames: list[NDArray[np.uint8]], tenths: Sequence[int] = range(100)) -> None:
    """Write a video of the frames, each from its tenth of a second on."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10, options={"crf": "8", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for number, picture in zip(tenths, frames, strict=False):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def site(two_people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FER_ID_KEYS", str(tmp_path / "keys"))
    return Path(shutil.copytree(two_people, tmp_path / "site"))


@pytest.fixture
def prepared(site: Path, tmp_path: Path, landmark_model: str) -> Make:
    def make(name: str = "store", **settings: Any) -> ClipStore:
        config = CohortConfig(source=str(site), workers=1, face_landmarker=landmark_model, **settings)
        CohortDataModule.prepare(config, tmp_path / name)
        return ClipStore.open(tmp_path / name)

    return make


def names(tmp_path: Path) -> tuple[str, str]:
    key = Key.load(tmp_path / "keys")
    return key.pseudonym("subject", "k01"), key.pseudonym("video", "videos/two.mp4")


def redness(store: ClipStore, subject: str) -> float:
    frames = store.read(store.clips["subject_id"].tolist().index(subject)).frames.astype(float)
    return float(frames[..., 0].mean() / frames[..., 1].mean())


def test_a_second_face_is_counted_and_reported_and_its_sheet_shows_no_face(
    site: Path, prepared: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepared()
    subject, video = names(tmp_path)
    assert store.card.audit["several_faces"] == {"frames": 4, "by_subject": {subject: {video: 4}}}
    line = next(line for line in capsys.readouterr().err.splitlines() if "more than one face" in line)
    sheet = store.path / "sheets" / f"{subject}-{video}-faces.png"
    assert all(words in line for words in ("two.mp4", "4 of 4 frames", "NEEDS A ROW in faces.csv", str(sheet)))
    assert sheet.stat().st_mode & 0o077 == 0
    assert redness(store, subject) < 2  # the larger face
    coarse = _detail(sheet, left=True), _detail(sheet, left=False)
    assert coarse[0] < 3
    assert coarse[1] < 1
    erase_from_store(store.path, subject)
    assert not list((store.path / "sheets").glob(f"{subject}*"))
    assert ClipStore.open(store.path).card.audit["several_faces"] == {"frames": 0, "by_subject": {}}


def test_an_interruption_keeps_the_sheets_of_finished_videos(
    prepared: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(video_store, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepared()
    subject, video = names(tmp_path)
    assert (prepared().path / "sheets" / f"{subject}-{video}-faces.png").exists()


def _detail(sheet: Path, *, left: bool) -> float:
    """Return the mean change from pixel to pixel in the middle of the face on one side: small for a coarse picture."""
    image = cv2.imread(str(sheet), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    height, width = image.shape
    half = image[height - 480 :, : width // 2] if left else image[height - 480 :, width // 2 :]
    return float(np.abs(np.diff(half[180:330, 170:310].astype(float), axis=1)).mean())


def test_a_row_chooses_the_followed_face(
    site: Path, prepared: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row marks the smaller face, after the clip's last frame: it is followed backwards from there."""
    (site / "faces.csv").write_text(ROW)
    store = prepared()
    subject, video = names(tmp_path)
    assert redness(store, subject) > 2
    assert store.clips.set_index("subject_id").loc[subject, "n_valid"] == 4
    assert "the face that faces.csv says was followed" in capsys.readouterr().err
    sheet = store.path / "sheets" / f"{subject}-{video}-faces.png"
    assert _detail(sheet, left=True) < 3  # of the faces only the child's is shown
    assert _detail(sheet, left=False) > 1.5


def test_a_row_on_no_face_stops_and_names_itself_and_a_mended_row_redoes_its_video(
    site: Path, prepared: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (site / "faces.csv").write_text(ROW.replace("0.5\n", "0.99\n"))
    follow, done = cohort_videos._follow, list[str]()
    monkeypatch.setattr(
        cohort_videos, "_follow", lambda job, *others: (done.append(job.path.name), follow(job, *others))[1]
    )
    with pytest.raises(DataError, match=r"faces.csv, line 2: no face at x 0.75, y 0.99; faces are seen at") as error:
        prepared(unreadable="leave_out")
    assert "two.mp4" in str(error.value)
    (site / "faces.csv").write_text(ROW)
    assert redness(prepared(), names(tmp_path)[0]) > 2
    assert done == ["two.mp4", "one.mp4", "two.mp4"]


def test_moments_of_a_frozen_recorder_are_counted_and_not_valid(
    site: Path, prepared: Make, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = list(sample_frames(shared_data / "videos" / "single_face.mp4", [0.0] * 4))
    _write(site / "videos" / "one.mp4", [image for image in frames if not isinstance(image, str)], [0, 1, 10, 11])
    store = prepared()
    subject = Key.load(tmp_path / "keys").pseudonym("subject", "k02")
    counts = store.card.audit["coverage"]["by_subject"][subject]
    assert (counts["found"], counts["no picture"]) == (2, 2)
    assert store.read(store.clips["subject_id"].tolist().index(subject)).valid.tolist() == [True, True, False, False]
    assert "2 of 8 frames: no picture" in capsys.readouterr().err


def problems(site: Path, table: str) -> str:
    (site / "faces.csv").write_text("video,time_s,x,y\n" + table)
    with pytest.raises(DataError) as error:
        read_manifests(site)
    return str(error.value)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("videos/two.mp4,0.1,1.2,0.5\n", "faces.csv, line 2, column x: '1.2', expected a share"),
        ("videos/two.mp4,0.1,0.5,\n", "faces.csv, line 2, column y: nothing"),
        ("videos/two.mp4,-1,0.5,0.5\n", "line 2, column time_s"),
        ("videos/else.mp4,0.1,0.5,0.5\n", "line 2, column video: 'videos/else.mp4' is in no row of clips.csv"),
        ("videos/two.mp4,0.1,0.5,0.5\nvideos/./two.mp4,0.10,0.6,0.5\n", "line 3: the same video and time as"),
    ],
)
def test_wrong_rows_are_named(site: Path, table: str, words: str) -> None:
    assert words in problems(site, table)


def test_a_row_belongs_to_the_child_whose_clip_it_lies_in(site: Path) -> None:
    rows = list(csv.reader(TABLES["clips.csv"].splitlines()))
    rows[2] = ["q2", "k02", "videos/two.mp4", "0.9", "1.0", "sad", "home"]
    (site / "clips.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    assert "lies in no clip, and several children are in" in problems(site, "videos/two.mp4,0.85,0.5,0.5\n")
    rows[2][3] = rows[1][4]
    (site / "clips.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    assert "lies in clips of several children: " in problems(site, f"videos/two.mp4,{rows[1][4]},0.5,0.5\n")
    (site / "faces.csv").write_text("video,time_s,x,y\nvideos/two.mp4,0.5,0.5,0.5\nvideos/two.mp4,0.95,0.5,0.5\n")
    faces = read_manifests(site).faces
    assert faces is not None
    assert faces["subject_id"].tolist() == ["k01", "k02"]
