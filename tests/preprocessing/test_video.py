"""Frames by presentation time, upright, from one file and nothing else."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_id.errors import DataError
from fer_id.preprocessing.video import sample_frames, video_facts

Write = Callable[..., Path]
MS = 1000  # the time base of what is written here


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """``write(name, times)``: a video whose frame n is 8 n gray, shown from ``times[n]`` seconds on."""
    folder = tmp_path_factory.mktemp("videos")

    def make(name: str, times: list[float], *, rotation: int = 0, size: tuple[int, int] = (64, 48)) -> Path:
        path = folder / name
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("libx264", rate=30, options={"crf": "0"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.time_base = stream.codec_context.time_base = Fraction(1, MS)
            if rotation:
                stream.set_display_rotation(rotation)
            for number, time in enumerate(times):
                picture = np.full((size[1], size[0], 3), 8 * number, np.uint8)
                picture[: size[1] // 2] = np.minimum(picture[: size[1] // 2] + 60, 255)  # the upper half is lighter
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = round(time * MS), Fraction(1, MS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make


def numbers(path: Path, times: list[float]) -> list[int]:
    """Which frames came, told from their gray."""
    return [round(float(image[-1].mean()) / 8) for image in sample_frames(path, times)]


VARIABLE = [0.0, 0.04, 0.08, 0.4, 0.44, 1.0, 1.02, 1.5, 1.9, 2.0]


@pytest.fixture(scope="module")
def variable(write: Write) -> Path:
    return write("variable.mp4", VARIABLE)


def test_the_nearest_frame_comes_also_where_the_rate_varies(variable: Path) -> None:
    asked = [0.0, 0.05, 0.2, 0.25, 0.41, 0.7, 0.75, 1.01, 1.3, 2.0]
    expected = [int(np.argmin([abs(shown - time) for shown in VARIABLE])) for time in asked]
    assert numbers(variable, asked) == expected


@settings(max_examples=25, deadline=None)
@given(asked=st.lists(st.floats(0, 2.0), min_size=1, max_size=12).map(sorted))
def test_any_moments_give_their_nearest_frames(variable: Path, asked: list[float]) -> None:
    for time, number in zip(asked, numbers(variable, asked), strict=True):
        assert abs(VARIABLE[number] - time) <= min(abs(shown - time) for shown in VARIABLE) + 1e-9


def test_a_late_clip_is_reached_by_a_jump_and_is_the_same(write: Write) -> None:
    path = write("long.mp4", [number / 2 for number in range(30)])
    assert numbers(path, [12.0, 12.5, 14.4]) == [24, 25, 29]


def test_the_last_frame_is_shown_a_little_longer(write: Write) -> None:
    assert numbers(write("short.mp4", [0.0, 0.1]), [0.1, 0.2]) == [1, 1]


@pytest.mark.parametrize(("rotation", "lighter"), [(0, "top"), (90, "left"), (180, "bottom"), (-90, "right")])
def test_frames_come_upright(write: Write, rotation: int, lighter: str) -> None:
    """A quarter turn counter-clockwise brings what was above to the left."""
    image = next(iter(sample_frames(write(f"turned{rotation}.mp4", [0.0, 0.1], rotation=rotation), [0.0])))
    sides = {"top": image[0], "bottom": image[-1], "left": image[:, 0], "right": image[:, -1]}
    assert max(sides, key=lambda side: float(sides[side].mean())) == lighter
    assert image.shape == ((48, 64, 3) if rotation in (0, 180) else (64, 48, 3))


def test_a_video_that_begins_late_is_counted_from_its_own_beginning(write: Write) -> None:
    assert numbers(write("late.mp4", [3.0, 3.1, 3.2]), [0.0, 0.2]) == [0, 2]


# --- bad input --------------------------------------------------------------------------------------------------------


def fails(path: Path, *words: str, times: tuple[float, ...] = (0.0,)) -> None:
    with pytest.raises(DataError) as told:
        list(sample_frames(path, times))
    assert all(word in str(told.value) for word in (str(path), *words)), told.value


def test_no_file_a_folder_nothing_and_text(tmp_path: Path) -> None:
    fails(tmp_path / "none.mp4", "no such file")
    fails(tmp_path, "a folder")
    (tmp_path / "empty.mp4").touch()
    fails(tmp_path / "empty.mp4", "empty")
    (tmp_path / "text.mp4").write_text("not a video" * 100)
    fails(tmp_path / "text.mp4", "not a video that can be opened")


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile '{video}'\n",
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXTINF:1,\nfile://{video}\n#EXT-X-ENDLIST\n",
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "ffconcat"])
def test_a_playlist_opens_nothing(write: Write, tmp_path: Path, content: str, suffix: str) -> None:
    playlist = tmp_path / f"list.{suffix}"
    playlist.write_text(content.format(video=write("target.mp4", [0.0, 0.1])))
    fails(playlist, "not a video that can be opened")


def test_sound_without_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    fails(path, "no picture in it, only audio")


def test_a_clip_past_the_end(write: Write) -> None:
    fails(write("brief.mp4", [0.0, 0.1, 0.2]), "ends at 0.20 s", "2.00 s is asked for", times=(0.0, 0.1, 2.0))


def test_a_truncated_file(write: Write, tmp_path: Path, shared_data: Path) -> None:
    whole = write("whole.mp4", [number / 30 for number in range(30)]).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # its table of frames stands at the end
    fails(tmp_path / "cut.mp4", "not a video that can be opened")
    real = (shared_data / "videos" / "face_noface.mov").read_bytes()
    (tmp_path / "cut.mov").write_bytes(real[: len(real) // 2])
    with pytest.raises(DataError, match=r"truncated|damaged|not a video"):
        list(sample_frames(tmp_path / "cut.mov", [0.0, 6.0]))


# --- real videos ------------------------------------------------------------------------------------------------------


def test_facts_of_the_real_videos(shared_data: Path) -> None:
    facts = video_facts(shared_data / "videos" / "single_face.mp4")
    assert (facts.width, facts.height) == (640, 360)
    assert facts.duration_s == pytest.approx(72 / 30, abs=0.05)
    last = len(list(sample_frames(shared_data / "videos" / "no_face.mp4", [0.0, 95 / 23.976])))
    assert last == 2  # its header promises three frames more than it has; that much may lack
