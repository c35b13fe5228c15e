"""Video stream of one file: detection by content, choice among several streams, decoding with damage flagged."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
from av import logging
from av.error import FFmpegError
from av.stream import Disposition

from fer_id import inputs
from fer_id.errors import DataError
from fer_id.preprocessing.display import is_hdr

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"
"""Accepted containers, detected by content; playlists (HLS, concat) are not, since they open other files and URLs."""

FASTEST = 1000.0  # frames per second; a header with more is taken to be damaged
LARGEST = 10_000 * 10_000  # pixels of a frame; a header with more is taken to be damaged
LONGEST_S = 86_400.0  # seconds of a video; a time stamp beyond a day is taken to be damaged
BACK_S = 0.5
"""Seconds by which time stamps may go back; a file with larger steps back holds several recordings in a row."""

_CROPPING = re.compile(r"Stream #\d+:(\d+)|Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)")
_NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
_B_FRAME = 3  # FFmpeg's AV_PICTURE_TYPE_B
_LONGEST_RUN = 16  # B frames between two others, at most; some encoders write nothing but B frames


@dataclass(frozen=True)
class VideoFacts:
    """Properties of a video from its header."""

    width: int  # pixels as stored, before any rotation; so is the height
    height: int
    duration_s: float  # seconds; 0 where the header has none
    fps: float  # mean frames a second
    hdr: bool = False  # whether the transfer curve is HLG or PQ
    # hidden pixels at the left, right, upper and lower edge, from the container
    cropping: tuple[int, int, int, int] = (0, 0, 0, 0)


class Picture(NamedTuple):
    """Decoded frame (PyAV's ``VideoFrame``) at its seconds from the file's beginning; ``damaged``: the decoder or the
    container flags it, or a frame that it may be predicted from."""

    frame: Any
    time: float
    damaged: bool


@dataclass(frozen=True)
class OpenVideo:
    """Video file open for reading: PyAV's container and stream, and the facts of the stream."""

    path: Path
    container: Any
    stream: Any
    facts: VideoFacts
    begin: float  # seconds of the file's first presentation time, the origin of all moments

    def jump(self, time: float) -> None:
        """Seek to a key frame near a moment; without an index in the container it may lie after the moment. Raise
        FFmpegError where the file cannot be read from the middle."""
        self.container.seek(int((time + self.begin) * av.time_base), backward=True)

    def pictures(self) -> Iterator[Picture]:
        """Yield the pictures in order of presentation, damaged ones flagged; DataError where one has no time or is
        unreadable."""
        run: list[Picture] = []
        for picture in self._decoded():
            run.append(picture)
            if picture.frame.pict_type != _B_FRAME or len(run) == _LONGEST_RUN:
                yield from _with_predicted(run)
                run.clear()
        yield from _with_predicted(run)

    def _decoded(self) -> Iterator[Picture]:
        """Yield pictures; ``damaged`` includes damage of the earlier frames since the last key frame."""
        broken: set[int] = set()  # presentation times of packets that the container flags, or that cannot be decoded
        awaited: set[int] = set()  # presentation times of all packets, for HEVC, whose decoder drops frames silently
        time, damaged, last = 0.0, False, None
        for packet in self._packets():
            try:
                frames = packet.decode()
            except FFmpegError:
                frames, broken = [], broken | {packet.pts or packet.dts or 0}
            if packet.is_corrupt and packet.pts is not None:
                broken.add(packet.pts)
            if self.stream.codec_context.name == "hevc" and packet.pts is not None and not packet.is_discard:
                awaited.add(packet.pts)
            for frame in frames:
                if frame.pts is None:
                    raise DataError(
                        f"{self.path}: a frame after {time:.2f} s has no presentation time; convert the video again"
                    )
                lost = any(pts < frame.pts for pts in broken)
                lost |= last is not None and any(last < pts < frame.pts for pts in awaited)
                damaged = frame.is_corrupt or frame.pts in broken or (not frame.key_frame and (damaged or lost))
                broken, awaited = ({pts for pts in some if pts > frame.pts} for some in (broken, awaited))
                time, last = float(frame.time) - self.begin, frame.pts
                yield Picture(frame, time, damaged)

    def _packets(self) -> Iterator[Any]:
        """Yield the packets of the stream, in the order of the file."""
        last = 0.0
        try:
            for packet in self.container.demux(self.stream):
                if packet.pts is not None:
                    last = max(last, float(packet.pts * packet.time_base) - self.begin)
                yield packet
        except FFmpegError as problem:
            raise DataError(f"{self.path}: damaged after {last:.2f} s ({_reason(problem)})") from None

    def end(self) -> float:
        """Compute the seconds from the beginning to the end of the last picture from the packets, without decoding.

        Raise DataError where the file cannot be read on, holds no picture, is longer than :data:`LONGEST_S`, or its
        time stamps go back, which makes moments ambiguous.
        """
        end, latest = -1.0, -1.0
        for packet in self._packets():
            if packet.dts is not None:
                time = float(packet.dts * packet.time_base) - self.begin
                if time < latest - BACK_S:
                    raise DataError(
                        f"{self.path}: its time stamps go back from {latest:.2f} to {time:.2f} s: several recordings "
                        "were put together; cut it into one file for each, or convert it to one with a single time line"
                    )
                latest = max(latest, time)
            if packet.pts is not None:
                lasts = packet.duration or 1 / (self.stream.average_rate * packet.time_base)
                end = max(end, float((packet.pts + lasts) * packet.time_base) - self.begin)
        if end <= 0:
            raise DataError(f"{self.path}: no picture in it")
        if end > LONGEST_S:
            raise DataError(
                f"{self.path}: its last picture is at {end:.0f} s, expected at most {LONGEST_S:.0f} (a day); a time "
                "stamp is damaged, or the video has to be cut into parts"
            )
        return end


@contextmanager
def opened(path: Path) -> Iterator[OpenVideo]:
    """Open the video stream of a file; raise DataError as :func:`fer_id.preprocessing.video.video_facts`."""
    with _container(path) as container:
        stream = _video_stream(path, container)
        stream.codec_context.thread_count = 1  # videos are prepared side by side
        begin = float((container.start_time or 0) / av.time_base)
        yield OpenVideo(path, container, stream, _facts(path, container, stream), begin)


def _with_predicted(run: list[Picture]) -> Iterator[Picture]:
    """Yield a run of B frames and the frame after them; damage spreads over the run, whose frames predict each other.
    The times of a run are sorted: AVI stores decoding times, which are the same times in another order."""
    damaged, times = any(picture.damaged for picture in run), sorted(picture.time for picture in run)
    for picture, time in zip(run, times, strict=True):
        yield Picture(picture.frame, time, picture.damaged or (damaged and not picture.frame.key_frame))


@contextmanager
def _container(path: Path) -> Iterator[Any]:
    with inputs.opened(path, DataError, most=sys.maxsize):  # refuses anything but a regular file, without blocking
        if not path.stat().st_size:
            raise DataError(f"{path}: empty")
    try:
        container = av.open(
            str(path.absolute()), options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        )
    except (FFmpegError, OSError, ValueError) as problem:
        raise DataError(
            f"{path}: not a video that can be opened ({_reason(problem)}); expected mp4, mov, mkv, webm, avi or mpegts"
        ) from None
    with container:
        yield container


def _video_stream(path: Path, container: Any) -> Any:
    """Return the video stream: the one flagged default, else the largest; never a cover picture."""
    streams = [stream for stream in container.streams.video if not stream.disposition & _NO_VIDEO]
    known = [stream for stream in streams if stream.codec_context is not None]
    sizes = {stream.index: stream.codec_context.width * stream.codec_context.height for stream in known}
    known.sort(key=lambda stream: (bool(stream.disposition & Disposition.default), sizes[stream.index]), reverse=True)
    for stream in known:
        if stream.frames > 1 or (stream.frames == 0 and len(known) == 1) or _several_pictures(path, stream.index):
            return stream
    if known:
        raise DataError(f"{path}: a single picture, not a video")
    if streams:
        raise DataError(f"{path}: its pictures are in a format that cannot be decoded here; convert the video")
    kinds = ["cover picture" if stream.type == "video" else stream.type for stream in container.streams]
    raise DataError(f"{path}: no picture in it, only {', '.join(kinds) or 'nothing'}")


def _several_pictures(path: Path, index: int) -> bool:
    """Return whether a stream has more than one picture; counted, since not every header has the number."""
    with _container(path) as container:
        try:
            pictures = (packet for packet in container.demux(container.streams[index]) if packet.size)
            return next(pictures, None) is not None and next(pictures, None) is not None
        except FFmpegError:
            return False


def _facts(path: Path, container: Any, stream: Any) -> VideoFacts:
    width, height, rate = stream.codec_context.width, stream.codec_context.height, stream.average_rate
    if width < 1 or height < 1 or width * height > LARGEST:
        raise DataError(f"{path}: frames of {width}x{height} pixels; the file is damaged")
    if rate is None or not 0 < rate <= FASTEST:
        stated = "none" if rate is None else f"{float(rate):g}"
        raise DataError(
            f"{path}: frame rate {stated}, expected above 0, at most {FASTEST:g} per second; it is damaged, or no video"
        )
    cropping = _cropping(container, stream.index)
    if cropping[0] + cropping[1] >= width or cropping[2] + cropping[3] >= height:
        raise DataError(f"{path}: cropped by more than its {width}x{height} pixels; the file is damaged")
    duration = float((container.duration or 0) / av.time_base)
    return VideoFacts(width, height, duration, float(rate), is_hdr(stream.codec_context), cropping)


def _cropping(container: Any, index: int) -> tuple[int, int, int, int]:
    """Return the cropping of MP4's ``clap`` or Matroska's ``PixelCrop``, which PyAV exposes only in FFmpeg's dump."""
    level, stream = logging.get_level(), -1
    logging.set_level(logging.INFO)
    try:
        description = container.dumps_format()
    finally:
        logging.set_level(level)
    for match in _CROPPING.finditer(description):
        if match[1] is not None:
            stream = int(match[1])
        elif stream == index:
            left, right, top, bottom = map(int, match.groups()[1:])
            return left, right, top, bottom
    return 0, 0, 0, 0


def _reason(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or str(problem)
