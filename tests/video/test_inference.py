"""Inference on whole videos: the model's windows equal those that a store would have."""

from pathlib import Path
from typing import Any

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
from fer_id.video.inference import VideoModel, cut, open_video, predict_windows
from tests.preprocessing.conftest import with_sound


class Brightness(torch.nn.Module):
    """Model whose logits are facts of its input: mean brightness, valid frames, frames."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def forward(self, frames: torch.Tensor, valid: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        logits = frames.new_tensor([[0.0] * 5] * len(frames))
        logits[:, 0] = frames.mean(dim=(1, 2, 3, 4)) * self.scale
        logits[:, 1], logits[:, 2] = valid.sum(dim=1), valid.shape[1]
        return logits


def video_model(**changes: Any) -> VideoModel:
    made: dict[str, Any] = {"model": Brightness(), "labels": TARGET, "fps": 5.0, "frames": 4, "gray": False}
    return VideoModel(**{**made, "min_eye_distance": 8.0, **changes})


@pytest.fixture(scope="module")
def landmarker(landmark_model: str) -> Any:
    with FaceLandmarker(landmark_model, max_faces=MOST_FACES) as made:
        yield made


@given(length=st.integers(1, 60), size=st.integers(1, 12), stride=st.integers(1, 12))
def test_windows_are_cut_one_by_one_without_reading_ahead(length: int, size: int, stride: int) -> None:
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


def test_windows_of_a_real_video_equal_those_of_a_store(shared_data: Path, landmarker: Any) -> None:
    """The model's input equals what ``prepare`` would write for the same stretch."""
    path = shared_data / "videos" / "face_noface.mov"
    video = open_video(path)
    prediction = predict_windows(video, video_model(), landmarker, stride=2)
    times = sample_times(0.0, video.length_s, 5.0)
    stored = list(follow_face(sample_frames(path, times), times, landmarker, min_eye_distance=8.0))
    assert prediction.frames["outcome"].tolist() == [frame.outcome for frame in stored]
    assert {FOUND, NO_FACE} == set(prediction.frames["outcome"])
    judged = zip(prediction.windows, prediction.valid, prediction.logits, strict=True)
    for (start, end), (n_valid, total), logits in judged:
        part = stored[start:end]
        brightness = np.mean([frame.crop for frame in part]) / 255
        assert (n_valid, total) == (sum(frame.outcome == FOUND for frame in part), 4)
        np.testing.assert_allclose(logits[:3], [brightness, n_valid, 4], rtol=1e-5)


def test_a_video_shorter_than_a_window_is_one_window(shared_data: Path, landmarker: Any) -> None:
    video = open_video(shared_data / "videos" / "single_face.mp4")
    prediction = predict_windows(video, video_model(frames=100), landmarker, stride=100)
    assert prediction.windows == [(0, 12)]
    assert prediction.valid == [(12, 12)]


def test_a_video_without_a_face_has_no_valid_frame(shared_data: Path, landmarker: Any) -> None:
    video = open_video(shared_data / "videos" / "no_face.mp4")
    prediction = predict_windows(video, video_model(), landmarker, stride=4)
    assert {n_valid for n_valid, _ in prediction.valid} == {0}


def test_logits_that_are_not_finite_are_refused(shared_data: Path, landmarker: Any) -> None:
    broken = video_model(model=Brightness(float("nan")))
    with pytest.raises(RunError, match="NaN or infinite logits"):
        predict_windows(open_video(shared_data / "videos" / "single_face.mp4"), broken, landmarker, stride=4)


def test_videos_are_identified_by_their_content(shared_data: Path, tmp_path: Path) -> None:
    video = open_video(shared_data / "videos" / "single_face.mp4")
    assert video.length_s == pytest.approx(72 / 30, abs=0.04)
    assert video.fps == pytest.approx(30)
    assert video.size == video.path.stat().st_size
    (tmp_path / "copy.mp4").write_bytes(video.path.read_bytes())
    assert open_video(tmp_path / "copy.mp4").sha256 == video.sha256
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match="not a video"):
        open_video(tmp_path / "text.mp4")


def test_a_videos_length_is_that_of_its_pictures_not_of_its_sound(tmp_path: Path) -> None:
    path = with_sound(tmp_path / "long_sound.mkv", range(20), sound=50)
    assert pictures_end(path) == pytest.approx(2.0, abs=0.01)
    assert open_video(path).length_s == pytest.approx(2.0, abs=0.01)
