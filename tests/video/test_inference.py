"""A whole video before a model: the windows it sees are those that a store would have."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_id.errors import DataError, RunError
from fer_id.labels import TARGET
from fer_id.preprocessing.landmarks import FaceLandmarker
from fer_id.preprocessing.tracking import FOUND, MOST_FACES, NO_FACE, Seen, follow_face, sample_times, windows
from fer_id.preprocessing.video import pictures_end, sample_frames
from fer_id.types import CROP, LANDMARKS
from fer_id.video.inference import Watcher, cut, open_video, watch


class Brightness(torch.nn.Module):
    """Logits that tell what it was shown: mean brightness, valid frames, frames."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def forward(self, frames: torch.Tensor, valid: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        found = frames.new_tensor([[0.0] * 5] * len(frames))
        found[:, 0] = frames.mean(dim=(1, 2, 3, 4)) * self.scale
        found[:, 1], found[:, 2] = valid.sum(dim=1), valid.shape[1]
        return found


def watcher(**changes: Any) -> Watcher:
    made: dict[str, Any] = {"model": Brightness(), "labels": TARGET, "fps": 5.0, "frames": 4, "gray": False}
    return Watcher(**{**made, "min_eye_distance": 8.0, **changes})


@pytest.fixture(scope="module")
def landmarker(landmark_model: str) -> Any:
    with FaceLandmarker(landmark_model, max_faces=MOST_FACES) as made:
        yield made


@given(length=st.integers(1, 60), size=st.integers(1, 12), stride=st.integers(1, 12))
def test_windows_come_one_by_one_and_whole(length: int, size: int, stride: int) -> None:
    cuts = windows(length, size, min(stride, size))
    nobody = np.full((LANDMARKS, 2), np.nan, np.float32)
    pulled: list[int] = []

    def frames() -> Any:
        for number in range(length):
            pulled.append(number)
            outcome = NO_FACE if number % 3 else FOUND
            yield Seen(np.full((CROP, CROP, 3), number, np.uint8), nobody, outcome)

    for (start, end), clip in zip(cuts, cut(frames(), cuts), strict=True):
        assert clip.frames[:, 0, 0, 0].tolist() == list(range(start, end))
        assert clip.valid.tolist() == [number % 3 == 0 for number in range(start, end)]
        assert pulled[-1] == end - 1  # nothing is read ahead


def test_a_real_video_as_a_store_would_have_it(shared_data: Path, landmarker: Any) -> None:
    """What the model is shown is what ``prepare`` would write for the same stretch."""
    path = shared_data / "videos" / "face_noface.mov"
    video = open_video(path)
    watched = watch(video, watcher(), landmarker, stride=2)
    times = sample_times(0.0, video.length_s, 5.0)
    stored = list(follow_face(sample_frames(path, times), times, landmarker, min_eye_distance=8.0))
    assert watched.frames["outcome"].tolist() == [one.outcome for one in stored]
    assert {FOUND, NO_FACE} == set(watched.frames["outcome"])
    for (start, end), (found, total), logits in zip(watched.windows, watched.valid, watched.logits, strict=True):
        part = stored[start:end]
        brightness = np.mean([one.crop for one in part]) / 255
        assert (found, total) == (sum(one.outcome == FOUND for one in part), 4)
        np.testing.assert_allclose(logits[:3], [brightness, found, 4], rtol=1e-5)


def test_a_video_shorter_than_a_window_is_one_window(shared_data: Path, landmarker: Any) -> None:
    watched = watch(open_video(shared_data / "videos" / "single_face.mp4"), watcher(frames=100), landmarker, stride=100)
    assert watched.windows == [(0, 12)]
    assert watched.valid == [(12, 12)]


def test_a_video_without_a_face_has_no_valid_frame(shared_data: Path, landmarker: Any) -> None:
    watched = watch(open_video(shared_data / "videos" / "no_face.mp4"), watcher(), landmarker, stride=4)
    assert {found for found, _ in watched.valid} == {0}


def test_logits_that_are_no_numbers_are_refused(shared_data: Path, landmarker: Any) -> None:
    broken = watcher(model=Brightness(float("nan")))
    with pytest.raises(RunError, match="NaN or infinite logits"):
        watch(open_video(shared_data / "videos" / "single_face.mp4"), broken, landmarker, stride=4)


def test_videos_are_told_apart_by_their_content(shared_data: Path, tmp_path: Path) -> None:
    one = open_video(shared_data / "videos" / "single_face.mp4")
    assert one.length_s == pytest.approx(72 / 30, abs=0.04)
    assert one.fps == pytest.approx(30)
    assert one.size == one.path.stat().st_size
    (tmp_path / "copy.mp4").write_bytes(one.path.read_bytes())
    assert open_video(tmp_path / "copy.mp4").sha256 == one.sha256
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match="not a video"):
        open_video(tmp_path / "text.mp4")


def test_the_pictures_end_where_they_end_whatever_sound_or_header_say(tmp_path: Path) -> None:
    path = tmp_path / "long_sound.mkv"
    with av.open(str(path), "w") as container:
        pictures: Any = container.add_stream("libx264", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream("pcm_s16le", rate=8000)
        for _ in range(20):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode())
        for number in range(50):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 8000, 800 * number
            container.mux(sound.encode(samples))
    assert pictures_end(path) == pytest.approx(2.0, abs=0.01)
    assert open_video(path).length_s == pytest.approx(2.0, abs=0.01)
