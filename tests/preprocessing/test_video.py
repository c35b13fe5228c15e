"""Frames of a video by presentation time, upright, without opening any other file."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fer_id.errors import DataError
from fer_id.preprocessing.video import (
    DAMAGED,
    NO_PICTURE,
    check_damage,
    gap_s,
    pictures_end,
    sample_frames,
    video_facts,
)

from .conftest import Encode, colours, with_sound

Write = Callable[..., Path]
MS = 1000  # the time base of what is written here


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """``write(name, times)``: a video whose frame n is 8 n gray, shown from ``times[n]`` seconds on."""
    folder = tmp_path_factory.mktemp("videos")

    def make(name: str, times: list[float]) -> Path:
        path = folder / name
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("libx264", rate=30, options={"crf": "0"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.time_base = stream.codec_context.time_base = Fraction(1, MS)
            for number, time in enumerate(times):
                _mux_frame(container, stream, np.full((48, 64, 3), 8 * number, np.uint8), time)
            container.mux(stream.encode())
        return path

    return make


def numbers(path: Path, times: list[float]) -> list[int]:
    """Return the numbers of the sampled frames, encoded in their gray value."""
    return [round(float(image[-1].mean()) / 8) for image in sample_frames(path, times)]


VARIABLE = [0.0, 0.04, 0.08, 0.4, 0.44, 1.0, 1.02, 1.5, 1.9, 2.0]


@pytest.fixture(scope="module")
def variable(write: Write) -> Path:
    return write("variable.mp4", VARIABLE)


def test_the_nearest_frame_comes_also_where_the_rate_varies(variable: Path) -> None:
    moments = [0.0, 0.05, 0.2, 0.25, 0.41, 0.7, 0.75, 1.01, 1.3, 2.0]
    expected = [int(np.argmin([abs(frame_time - time) for frame_time in VARIABLE])) for time in moments]
    assert numbers(variable, moments) == expected


@settings(max_examples=25, deadline=None)
@given(moments=st.lists(st.floats(0, 2.0), min_size=1, max_size=12).map(sorted))
def test_any_moments_give_their_nearest_frames(variable: Path, moments: list[float]) -> None:
    for time, number in zip(moments, numbers(variable, moments), strict=True):
        assert abs(VARIABLE[number] - time) <= min(abs(frame_time - time) for frame_time in VARIABLE) + 1e-9


def test_a_late_clip_is_reached_by_a_jump_and_is_the_same(write: Write) -> None:
    path = write("long.mp4", [number / 2 for number in range(30)])
    assert numbers(path, [12.0, 12.5, 14.4]) == [24, 25, 29]


def test_the_last_frame_is_shown_a_little_longer(write: Write) -> None:
    assert numbers(write("short.mp4", [0.0, 0.1]), [0.1, 0.2]) == [1, 1]


def test_a_video_that_begins_late_is_counted_from_its_own_beginning(write: Write) -> None:
    assert numbers(write("late.mp4", [3.0, 3.1, 3.2]), [0.0, 0.2]) == [0, 2]


H264 = ("libx264", {"crf": "1", "g": "100", "keyint_min": "100", "sc_threshold": "0"})
FILES = {
    **dict.fromkeys(("long.mp4", "long.mkv", "long.ts", "b_frames.avi"), H264),
    "open_gop.ts": ("libx264", {"crf": "1", "x264-params": "keyint=100:open-gop=1:bframes=3:scenecut=0"}),
    "long.avi": ("mpeg4", {"g": "100", "qscale": "1", "sc_threshold": "1000000000"}),
    "long.webm": ("libvpx", {"g": "100", "b": "1M", "cpu-used": "8", "deadline": "realtime", "threads": "1"}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_frame_is_the_same_wherever_reading_begins(encode: Encode, name: str) -> None:
    """Key frames are 10 s apart, and a transport stream has no index of them."""
    codec, options = FILES[name]
    path = encode(name, [counted(number) for number in range(130)], codec=codec, options=options)
    early, late = list(sample_frames(path, [0.0, 7.0, 8.2, 12.1])), list(sample_frames(path, [7.0, 8.2, 12.1]))
    assert all(np.array_equal(image, other) for image, other in zip(early[1:], late, strict=True))
    delay = 1 if name == "b_frames.avi" else 0  # AVI notes the times of decoding only
    assert [count(image) + delay for image in late] == [70, 82, 121]
    assert [count(image) + delay for image in sample_frames(path, [10.0])] == [100]


def counted(number: int) -> NDArray[np.uint8]:
    """Return a picture that encodes a number below 256 as eight dark or light bars."""
    bars = np.array([40 + 180 * (number >> bit & 1) for bit in range(8)], np.uint8)
    return np.broadcast_to(np.repeat(bars, 16)[None, :, None], (48, 128, 3)).copy()


def count(image: NDArray[np.uint8] | str) -> int:
    assert not isinstance(image, str)
    bars = image.reshape(48, 8, 16, 3)[:, :, 4:12].mean(axis=(0, 2, 3))
    return sum(1 << bit for bit in range(8) if bars[bit] > 128)


def test_a_moment_without_a_picture_near_it_has_none(write: Write) -> None:
    path = write("frozen.mp4", [*np.arange(11) / 10, *(3 + np.arange(11) / 10)])
    moments = [0.9, 1.1, 1.3, 2.0, 2.7, 2.9, 3.0]
    seen = ["picture" if not isinstance(image, str) else image for image in sample_frames(path, moments, 0.2)]
    assert seen == ["picture", "picture", NO_PICTURE, NO_PICTURE, NO_PICTURE, "picture", "picture"]
    assert all(not isinstance(image, str) for image in sample_frames(path, moments))


def test_pictures_that_begin_after_the_sound_are_not_shown_before(tmp_path: Path) -> None:
    path = with_sound(tmp_path / "late.mkv", range(10, 30), sound=30)
    seen = list(sample_frames(path, [0.0, 0.5, 1.0, 1.5], gap_s(5.0)))
    assert [isinstance(image, str) for image in seen] == [True, True, False, False]


@pytest.mark.parametrize("preview", ["cover", "track"])
@pytest.mark.parametrize("flagged", [True, False])
def test_the_video_is_read_and_no_cover_or_preview(tmp_path: Path, preview: str, flagged: bool) -> None:
    """``cover``: one picture of more pixels in front; ``track``: a small moving one in front."""
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w", options={"default_mode": "passthrough"}) as container:
        before: Any = container.add_stream("mjpeg", rate=1)
        before.width, before.height = (160, 120) if preview == "cover" else (32, 24)
        before.pix_fmt = "yuvj420p"
        video: Any = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 128, 48, "yuv420p"
        if flagged:
            video.disposition = Disposition.default
        for number in range(1 if preview == "cover" else 3):
            white = np.full((before.height, before.width, 3), 255, np.uint8)
            _mux_frame(container, before, white, Fraction(number))
        for number in range(25):
            _mux_frame(container, video, counted(number), Fraction(number, 10))
        container.mux(video.encode())
    assert (video_facts(path).width, video_facts(path).height) == (128, 48)
    assert [count(image) for image in sample_frames(path, [0.0, 2.0])] == [0, 20]
    assert pictures_end(path) == pytest.approx(2.5, abs=0.02)


def _mux_frame(container: Any, stream: Any, picture: NDArray[np.uint8], time: float | Fraction) -> None:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
    frame.pts, frame.time_base = round(time * MS), Fraction(1, MS)
    container.mux(stream.encode(frame))


def test_a_single_picture_is_no_video(encode: Encode) -> None:
    fails(encode("single.mp4", [counted(1)]), "a single picture, not a video")


@pytest.mark.parametrize("name", ["rot.mp4", "rot.mkv", "cut.ts"])
def test_damage_extends_to_the_next_key_frame(encode: Encode, name: str) -> None:
    """Bytes overwritten inside a frame, which the decoder notices; a piece of a stream lost: the container notices."""
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 255, (48, 128, 3), dtype=np.uint8) for _ in range(60)]
    path = encode(name, frames, options={"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=2:cabac=0"})
    times = [number / 10 for number in range(60)]
    assert not any(isinstance(image, str) for image in sample_frames(path, times))
    with av.open(str(path)) as container:
        packets: Any = [packet for packet in container.demux(video=0) if packet.size]
        begin = min(packet.pts for packet in packets)
        frame_numbers = [round(float((packet.pts - begin) * packet.time_base) * 10) for packet in packets]
    bad = next(n for n in range(25, 40) if not packets[n].is_disposable)  # others are predicted from it
    keys = [number for number, packet in zip(frame_numbers, packets, strict=True) if packet.is_keyframe]
    key = min(number for number in keys if number > 30)
    content, place = bytearray(path.read_bytes()), packets[bad].pos + packets[bad].size // 3 // 188 * 188
    content[place : place + 188] = b"" if name == "cut.ts" else noise.bytes(188)
    path.write_bytes(content)
    damaged = [number for number, image in enumerate(sample_frames(path, times)) if isinstance(image, str)]
    assert set(range(frame_numbers[bad], key)) <= set(damaged) <= set(range(frame_numbers[bad] - 2, key))
    check_damage(path, times, [DAMAGED if number in damaged else "found" for number in range(60)])
    with pytest.raises(DataError, match=r"damaged inside: \d+ of 20 moments .* first at 2\.\d0 s"):
        check_damage(path, times[20:40], [DAMAGED if number in damaged else "found" for number in range(20, 40)])


def test_no_real_video_is_taken_for_a_damaged_one(shared_data: Path) -> None:
    for path in sorted((shared_data / "videos").iterdir()):
        assert not any(isinstance(image, str) for image in sample_frames(path, [0.5, 1.0, 2.0], 0.2))


def fails(path: Path, *words: str, times: tuple[float, ...] = (0.0,)) -> None:
    with pytest.raises(DataError) as raised:
        list(sample_frames(path, times))
    assert all(word in str(raised.value) for word in (str(path), *words)), raised.value


def test_no_file_a_folder_nothing_and_text(tmp_path: Path) -> None:
    fails(tmp_path / "none.mp4", "no such file")
    fails(tmp_path, "a folder")
    (tmp_path / "empty.mp4").touch()
    fails(tmp_path / "empty.mp4", "empty")
    (tmp_path / "text.mp4").write_text("not a video" * 100)
    fails(tmp_path / "text.mp4", "not a video that can be opened")


def test_a_pipe_a_device_and_a_link_to_itself_are_not_called_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "link.mp4")
    fails(tmp_path / "pipe.mp4", "a pipe, expected a file")
    fails(Path("/dev/zero"), "a device, expected a file")
    fails(tmp_path / "link.mp4", "a link that leads to itself")


def test_recordings_that_were_put_together_have_no_moments(encode: Encode, tmp_path: Path) -> None:
    parts = [encode(f"{n}.ts", [colours(n)] * n).read_bytes() for n in (10, 20)]
    whole = tmp_path / "both.ts"
    whole.write_bytes(b"".join(parts))
    with pytest.raises(DataError, match=r"both\.ts: its time stamps go back from \S+ to \S+ s: several recordings"):
        pictures_end(whole)


def test_a_time_stamp_weeks_later_is_refused_before_its_moments_are_listed(write: Write) -> None:
    with pytest.raises(DataError, match=r"its last picture is at 2592000 s, expected at most 86400 \(a day\)"):
        pictures_end(write("weeks.mkv", [0.0, 0.1, 0.2, 30 * 86_400.0]))


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


def test_facts_of_the_real_videos(shared_data: Path) -> None:
    facts = video_facts(shared_data / "videos" / "single_face.mp4")
    assert (facts.width, facts.height) == (640, 360)
    assert facts.duration_s == pytest.approx(72 / 30, abs=0.05)
    last = len(list(sample_frames(shared_data / "videos" / "no_face.mp4", [0.0, 95 / 23.976])))
    assert last == 2  # its header promises three frames more than it has; that much may lack
