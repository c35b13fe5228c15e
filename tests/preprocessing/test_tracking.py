"""Tracking of one face among several, and windows over its frames."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.preprocessing.landmarks import Face, FaceLandmarker
from fer_id.preprocessing.tracking import FOUND, MOST_FACES, NO_FACE, Follower, Seen, follow_face, sample_times, windows
from fer_id.preprocessing.video import sample_frames

WIDTH, HEIGHT = 640, 480


def face(x: float, y: float, size: float = 100.0) -> Face:
    """A face of that size around (x, y)."""
    corners = np.array([[x - size / 2, y - size / 2], [x + size / 2, y + size / 2]], np.float32)
    return Face(np.zeros((68, 2), np.float32), corners)


def followed(frames: list[list[Face]], step: float = 0.2) -> list[Face | None]:
    follower = Follower()
    return [follower.choose(faces, number * step, WIDTH, HEIGHT) for number, faces in enumerate(frames)]


def test_the_largest_and_most_central_is_taken_first() -> None:
    central, aside, large_aside = face(320, 240, 100), face(80, 100, 110), face(60, 60, 120)
    assert followed([[aside, central]]) == [central]
    assert followed([[central, large_aside]]) == [central]
    assert followed([[face(320, 240, 40), large_aside]]) == [large_aside]  # far larger: the filmed person


def test_a_larger_face_that_comes_in_does_not_take_over() -> None:
    child = [face(300 + 10 * number, 240, 80) for number in range(6)]
    adult = face(500, 240, 200)
    assert followed([[child[0]], *([adult, moved] for moved in child[1:])]) == child


def test_another_face_alone_is_never_the_target() -> None:
    child, other = face(200, 240), face(500, 240)
    assert followed([[child], [other], [other], [child], *[[other]] * 20]) == [child, None, None, child, *[None] * 20]


def test_a_face_comes_back_near_its_old_place_however_long_it_was_away() -> None:
    child, back, far = face(200, 240), face(330, 240), face(420, 240)
    assert followed([[child], *[[]] * 20, [far], [back]])[-2:] == [None, back]


def test_tracking_starts_anew_only_with_reacquire_s() -> None:
    child, other = face(200, 240), face(500, 240)
    follower = Follower(reacquire_s=1.0)
    seen = [[child], *[[]] * 5, [other], [other]]
    chosen = [follower.choose(faces, number * 0.2, WIDTH, HEIGHT) for number, faces in enumerate(seen)]
    assert (chosen[5:], follower.restarts) == ([None, other, other], 1)
    assert followed(seen)[-1] is None


def test_a_jump_in_size_is_another_face() -> None:
    assert followed([[face(320, 240, 60)], [face(320, 240, 200)]])[1] is None


def test_a_frame_without_faces_has_no_target() -> None:
    assert followed([[], [face(320, 240)], []])[::2] == [None, None]


@given(length=st.integers(0, 200), size=st.integers(1, 30), stride=st.integers(1, 40))
def test_windows_have_their_size_and_end_with_the_clip(length: int, size: int, stride: int) -> None:
    cut = windows(length, size, stride)
    assert all(end - start == min(size, length) for start, end in cut)
    assert sorted(set(cut)) == cut
    if length:
        assert cut[0][0] == 0
        assert cut[-1][1] == length
    if length and stride <= size:
        assert set(range(length)) == {frame for start, end in cut for frame in range(start, end)}


@given(start=st.floats(0, 100), length=st.floats(0.01, 20), fps=st.floats(0.5, 60))
def test_moments_are_evenly_spaced_and_inside_the_clip(start: float, length: float, fps: float) -> None:
    times = sample_times(start, start + length, fps)
    assert times[0] == start
    assert times[-1] < start + length + 1e-3
    assert times[-1] + 1 / fps >= start + length - 1e-3
    assert np.allclose(np.diff(times), 1 / fps)


def seen_in(path: Path, times: np.ndarray, model: str) -> list[Seen]:
    with FaceLandmarker(model, max_faces=MOST_FACES) as landmarker:
        return list(follow_face(sample_frames(path, times), times, landmarker, min_eye_distance=8))


@pytest.mark.parametrize(
    ("name", "fps", "length", "outcomes"),
    [("single_face.mp4", 30, 2.4, {FOUND: 72}), ("no_face.mp4", 5, 3.8, {NO_FACE: 19})],
)
def test_the_real_videos_have_the_faces_they_are_known_for(
    shared_data: Path, landmark_model: str, name: str, fps: float, length: float, outcomes: dict[str, int]
) -> None:
    seen = seen_in(shared_data / "videos" / name, sample_times(0, length, fps), landmark_model)
    assert Counter(frame.outcome for frame in seen) == outcomes
    for frame in seen:
        assert np.isfinite(frame.landmarks).all() == (frame.outcome == FOUND)
        assert frame.crop.any() == (frame.outcome == FOUND)  # without the face no pixel of the picture is stored


def test_a_face_that_leaves_is_found_until_then(shared_data: Path, landmark_model: str) -> None:
    times = sample_times(0, 6.3, 10)
    seen = seen_in(shared_data / "videos" / "face_noface.mov", times, landmark_model)
    detected = [frame.outcome == FOUND for frame in seen]
    leaves = detected.index(False)
    assert 2.0 <= times[leaves] <= 3.2  # its 72nd frame
    assert not any(detected[leaves:])
