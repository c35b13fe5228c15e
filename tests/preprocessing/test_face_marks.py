"""A marked face is followed forwards and backwards, in the presence of other faces."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_id.preprocessing.face_marks import Mark, MarkError, follow_marks
from fer_id.preprocessing.landmarks import Face
from fer_id.preprocessing.tracking import FOUND, NO_FACE, SOMEONE_ELSE, Follower, follow_face, sample_times
from fer_id.preprocessing.video import sample_frames

from .conftest import Encode

HEIGHT, WIDTH = 120, 240
RED, GREEN = 0, 1


class Squares:
    """Stand-in for MediaPipe: a face for each red and each green square, the larger first."""

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        faces = []
        for channel in (RED, GREEN):
            rows, columns = np.nonzero(image[..., channel].astype(int) - image[..., 1 - channel] > 100)
            if len(rows):
                box = np.array([[columns.min(), rows.min()], [columns.max(), rows.max()]], np.float32)
                faces.append(Face(_points(box), box))
        return sorted(faces, key=lambda face: -float(np.ptp(face.points478[:, 0])))


def _points(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """68 points with the eyes inside a box."""
    (left, top), (right, _) = box
    points = np.zeros((68, 2), np.float32) + (left + right) / 2
    points[36:42], points[42:48] = (left + 5, top + 10), (right - 5, top + 10)
    return points


def picture(red: int | None, green: int | None, size: int = 40) -> NDArray[np.uint8]:
    """Return a frame with squares at these left edges: red of 50 pixels, green of ``size``."""
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    for channel, left, side in ((RED, red, 50), (GREEN, green, size)):
        if left is not None:
            image[30 : 30 + side, left : left + side] = 20
            image[30 : 30 + side, left : left + side, channel] = 230
    return image


def colours_of(path: Path, times: list[float], follower: Any) -> list[str]:
    """Return the colour of the face in each crop, red or green, or the outcome of a frame without a face."""
    seen = follow_face(sample_frames(path, times), times, Squares(), min_eye_distance=8, follower=follower)
    return [
        frame.outcome
        if frame.outcome != FOUND
        else "red"
        if frame.crop[..., RED].mean() > frame.crop[..., GREEN].mean()
        else "green"
        for frame in seen
    ]


@pytest.fixture
def two(encode: Encode) -> Path:
    """Video of four seconds: the larger red face leaves for a second; the smaller green face stays."""
    return encode("two.mp4", [picture(None if 15 <= n < 25 else 60 + n // 4, 170 - n // 4) for n in range(41)])


def test_without_a_mark_the_larger_face_is_followed_and_with_one_the_marked(two: Path) -> None:
    times = sample_times(0.0, 4.0, 5.0).tolist()
    assert set(colours_of(two, times, Follower())) == {"red", SOMEONE_ELSE}
    marked = follow_marks(two, [Mark(2.0, 0.77, 0.4)], times, 5.0, Squares())
    assert set(colours_of(two, times, marked)) == {"green"}


def test_a_mark_outside_the_clip_is_followed_into_it(two: Path) -> None:
    for mark in (Mark(0.1, 0.79, 0.4), Mark(3.9, 0.75, 0.4)):
        times = sample_times(1.6, 2.4, 5.0).tolist()
        assert set(colours_of(two, times, follow_marks(two, [mark], times, 5.0, Squares()))) == {"green"}


def test_of_several_marks_the_nearest_in_time_counts(two: Path) -> None:
    times = [0.0, 0.4, 0.8, 3.0, 3.4]
    marks = [Mark(3.2, 0.76, 0.4), Mark(0.2, 0.35, 0.4)]
    chosen = follow_marks(two, marks, times, 5.0, Squares())
    assert colours_of(two, times, chosen) == ["red"] * 3 + ["green"] * 2


def test_no_other_face_replaces_an_absent_marked_face(two: Path) -> None:
    times = sample_times(0.0, 3.0, 5.0).tolist()
    colours = colours_of(two, times, follow_marks(two, [Mark(0.4, 0.36, 0.4)], times, 5.0, Squares()))
    assert colours[8:12] == [SOMEONE_ELSE] * 4
    assert set(colours) == {"red", SOMEONE_ELSE}


def test_all_marks_on_no_face_stand_in_one_message(two: Path, encode: Encode) -> None:
    marks = [Mark(1.0, 0.99, 0.99, "row 1"), Mark(2.0, 0.77, 0.4, "row 2"), Mark(3.0, 0.62, 0.4, "row 3")]
    refusal = r"row 1: no face at x 0.99, y 0.99; faces are seen at \(0\..* at 1 s"
    with pytest.raises(MarkError, match=refusal) as raised:
        follow_marks(two, marks, [0.0], 5.0, Squares())
    assert "row 3" in str(raised.value)
    assert "row 2" not in str(raised.value)
    with pytest.raises(MarkError, match=r"row 4: 9 s is after the end of .*two.mp4 at 4.10 s"):
        follow_marks(two, [Mark(9.0, 0.5, 0.5, "row 4")], [0.0], 5.0, Squares())
    empty = encode("empty.mp4", [picture(None, None)] * 11)
    with pytest.raises(MarkError, match="no face is seen at 0 s"):
        follow_marks(empty, [Mark(0.0, 0.5, 0.5)], [0.0], 5.0, Squares())
    assert colours_of(empty, [0.5], Follower()) == [NO_FACE]
