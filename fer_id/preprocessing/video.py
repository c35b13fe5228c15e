"""Frames of a video file at chosen moments, upright, by presentation time; and nothing but that one file is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from fer_id.errors import DataError

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"
"""What is opened, by content and not by name: a playlist (HLS, concat) would open other files and addresses."""

FASTEST = 1000.0
"""Frames per second beyond which a header is taken to be damaged."""

LARGEST = 10_000 * 10_000
"""Pixels of a frame, likewise."""

MISSING_S = 0.5
"""Seconds that may lack at the end against what the header says; many recorders round it up."""

_SEEK_S = 5.0  # from here on it pays to jump to the key frame before the first moment asked for


@dataclass(frozen=True)
class VideoFacts:
    """What a file's header says.

    Attributes:
        width, height: pixels as stored, before any rotation.
        duration_s: seconds; 0 where the header does not say.
        fps: mean frames a second.
    """

    width: int
    height: int
    duration_s: float
    fps: float


def video_facts(path: Path) -> VideoFacts:
    """Reads the header.

    Raises:
        DataError: no such file, empty, not a video, audio only, an absurd size or frame rate.
    """
    with _opened(path) as (container, stream):
        return _facts(path, container, stream)


def pictures_end(path: Path) -> float:
    """Seconds from the video's beginning to the end of its last picture, from the packets, without decoding them.

    The header may say more, where sound outlasts the pictures or the file is cut short, or nothing at all, as what a
    browser recorded.

    Raises:
        DataError: as :func:`video_facts`, or there is no picture in it.
    """
    with _opened(path) as (container, stream):
        _facts(path, container, stream)
        begin = float((container.start_time or 0) / av.time_base)
        last = -1.0
        try:
            for packet in container.demux(stream):
                if packet.pts is not None:
                    shown = packet.duration or 1 / (stream.average_rate * packet.time_base)
                    last = max(last, float((packet.pts + shown) * packet.time_base) - begin)
        except FFmpegError as problem:
            raise DataError(f"{path}: damaged after {max(last, 0):.2f} s ({_reason(problem)})") from None
    if last <= 0:
        raise DataError(f"{path}: no picture in it")
    return last


def sample_frames(path: Path, times: Iterable[float]) -> Iterator[NDArray[np.uint8]]:
    """For each moment the frame nearest to it in presentation time (of two equally near the earlier one).

    So variable frame rates come out right. A rotation that the recorder noted is applied: phones film lying down.

    Args:
        path: the file.
        times: seconds from the video's beginning, ascending.

    Yields:
        uint8 (H, W, 3), RGB, one for each of ``times``.

    Raises:
        DataError: as :func:`video_facts`; damaged inside; or it ends before the last moment.
    """
    with _opened(path) as (container, stream):
        facts = _facts(path, container, stream)
        begin = float((container.start_time or 0) / av.time_base)
        asked = [float(time) for time in times]
        if asked and asked[0] > _SEEK_S:
            container.seek(int((asked[0] + begin) * av.time_base), backward=True)
        place, before = 0, None
        for frame, time in _decode(path, container, stream, begin):
            while place < len(asked) and asked[place] <= time:
                earlier = before is not None and asked[place] - before[1] <= time - asked[place]
                yield _upright(before[0] if before is not None and earlier else frame)
                place += 1
            if place == len(asked):
                return
            before = (frame, time)
        last = -1.0 if before is None else before[1]
        while before is not None and place < len(asked) and asked[place] <= last + MISSING_S:
            yield _upright(before[0])
            place += 1
        if place < len(asked):
            says = f"; its header says {facts.duration_s:.2f} s" if facts.duration_s > last + MISSING_S else ""
            raise DataError(
                f"{path}: ends at {max(last, 0):.2f} s{says}, but {asked[place]:.2f} s is asked for; the file is "
                "truncated, or the clip's times belong to another video"
            )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream."""
    if not path.is_file():
        raise DataError(f"{path}: {'a folder, not a video' if path.is_dir() else 'no such file'}")
    if not path.stat().st_size:
        raise DataError(f"{path}: empty")
    try:
        container = av.open(
            str(path.absolute()), options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        )
    except (FFmpegError, OSError, ValueError) as problem:
        raise DataError(
            f"{path}: not a video that can be opened ({_reason(problem)}); expected mp4, mov, mkv, webm or avi"
        ) from None
    with container:
        if not container.streams.video:
            raise DataError(
                f"{path}: no picture in it, only {', '.join(s.type for s in container.streams) or 'nothing'}"
            )
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # videos are prepared side by side
        yield container, stream


def _facts(path: Path, container: Any, stream: Any) -> VideoFacts:
    width, height, rate = stream.codec_context.width, stream.codec_context.height, stream.average_rate
    if width < 1 or height < 1 or width * height > LARGEST:
        raise DataError(f"{path}: frames of {width}x{height} pixels; the file is damaged")
    if rate is None or not 0 < rate <= FASTEST:
        said = "none" if rate is None else f"{float(rate):g}"
        raise DataError(
            f"{path}: frame rate {said}, expected above 0, at most {FASTEST:g} per second; it is damaged, or no video"
        )
    return VideoFacts(width, height, float((container.duration or 0) / av.time_base), float(rate))


def _decode(path: Path, container: Any, stream: Any, begin: float) -> Iterator[tuple[Any, float]]:
    """Frames with their seconds from the beginning, in order of presentation."""
    time = 0.0
    try:
        for frame in container.decode(stream):
            if frame.pts is None:
                raise DataError(f"{path}: a frame after {time:.2f} s has no presentation time; convert the video again")
            time = float(frame.time) - begin
            yield frame, time
    except FFmpegError as problem:
        raise DataError(f"{path}: damaged after {time:.2f} s ({_reason(problem)})") from None


def _upright(frame: Any) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))


def _reason(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or str(problem)
