"""Sampling of a video file's frames by presentation time, as displayed by a player; no other file is opened."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from fer_id.errors import DataError
from fer_id.preprocessing.container import OpenVideo, Picture, VideoFacts, opened
from fer_id.preprocessing.display import Display

NO_PICTURE, DAMAGED = "no picture", "damaged"
"""Reasons for a moment without a frame: no picture was recorded near it, or it cannot be decoded faithfully."""

MISSING_S = 0.5  # seconds by which a video may end before its header's duration, which many recorders round up
SHORTEST_GAP_S = 0.1  # seconds; a picture this near stands for a moment at any sampling rate
MOST_DAMAGED = 0.5  # share of sampled moments that may be damaged; a video with more is unreadable
_SEEK_S = 5.0  # first moment from which seeking to the key frame before it is faster than decoding from the start
_BACK_S = 2.0  # seconds by which a second jump goes farther back where the first lands late; doubled at every jump


def video_facts(path: Path) -> VideoFacts:
    """Return the properties in a video's header. Raise DataError for no such file, empty, not a video, audio only,
    single pictures only, an absurd size or frame rate."""
    with opened(path) as video:
        return video.facts


def pictures_end(path: Path) -> float:
    """Compute the seconds from a video's beginning to the end of its last picture from the packets, without decoding.

    The header's duration may be longer (sound outlasts the pictures, or the file is truncated) or missing (recordings
    of a browser). Raise DataError as :func:`video_facts`, or as :meth:`fer_id.preprocessing.container.OpenVideo.end`.
    """
    with opened(path) as video:
        return video.end()


def gap_s(fps: float) -> float:
    """Return the largest distance (s) from a moment to its picture: a step at ``fps`` frames a second.

    >>> gap_s(5.0), gap_s(30.0)
    (0.2, 0.1)
    """
    return max(1 / fps, SHORTEST_GAP_S)


def sample_frames(path: Path, times: Iterable[float], gap_s: float = math.inf) -> Iterator[NDArray[np.uint8] | str]:
    """Yield for each moment (s, ascending) the frame nearest in presentation time (of two equally near frames the
    earlier).

    Variable frame rates are therefore correct. The frames do not depend on where reading begins: a jump that lands
    after the first moment, as in a transport stream without an index, is repeated from farther back.

    A frame is uint8 (H, W, 3), RGB, as :class:`fer_id.preprocessing.display.Display` returns it, or the reason of a
    missing frame: :data:`NO_PICTURE` where the nearest is farther than ``gap_s`` (see :func:`gap_s`), or
    :data:`DAMAGED`. Raise DataError as :func:`video_facts`, or where the file cannot be read on, or ends before the
    last moment.
    """
    moments = [float(time) for time in times]
    if not moments:
        return
    with _from(path, moments[0]) as (video, pictures):
        display, place = Display(video.stream, video.facts.cropping), 0
        before: Picture | None = None
        for picture in pictures:
            while place < len(moments) and moments[place] <= picture.time:
                earlier = before is not None and moments[place] - before.time <= picture.time - moments[place]
                yield _frame(display, before if before is not None and earlier else picture, moments[place], gap_s)
                place += 1
            if place == len(moments):
                return
            before = picture
        while before is not None and place < len(moments) and moments[place] <= before.time + MISSING_S:
            yield _frame(display, before, moments[place], gap_s)
            place += 1
        if place < len(moments):
            raise DataError(_too_short(video, before, moments[place]))


def check_damage(path: Path, times: Sequence[float], outcomes: Sequence[str]) -> None:
    """Raise DataError where more than :data:`MOST_DAMAGED` of the moments (s) of a video have a damaged picture."""
    damaged = [time for time, outcome in zip(times, outcomes, strict=True) if outcome == DAMAGED]
    if len(damaged) > MOST_DAMAGED * len(outcomes):
        raise DataError(
            f"{path}: damaged inside: {len(damaged)} of {len(outcomes)} moments cannot be decoded faithfully, the "
            f"first at {min(damaged):.2f} s; copy the video again from where it was recorded"
        )


@contextmanager
def _from(path: Path, moment: float) -> Iterator[tuple[OpenVideo, Iterator[Picture]]]:
    """Open the video and its pictures from a key frame at or before a moment, else from the beginning."""
    for target in _targets(moment):
        with opened(path) as video:
            pictures = video.pictures() if target is None else _after_jump(video, target, moment)
            if pictures is not None:
                yield video, pictures
                return


def _targets(moment: float) -> Iterator[float | None]:
    """Yield seek targets (s), each farther back than the last; None: read from the beginning."""
    target, back = moment if moment > _SEEK_S else 0.0, _BACK_S
    while target > 0:
        yield target
        target, back = moment - back, 2 * back
    yield None


def _after_jump(video: OpenVideo, target: float, moment: float) -> Iterator[Picture] | None:
    """Return the pictures after a jump; None where the jump reached no key frame at or before the moment."""
    try:
        video.jump(target)
        pictures = video.pictures()
        first = next(pictures, None)
    except (FFmpegError, DataError):
        return None
    if first is None or first.time > moment or not first.frame.key_frame:
        return None
    return chain([first], pictures)


def _frame(display: Display, picture: Picture, moment: float, gap_s: float) -> NDArray[np.uint8] | str:
    if abs(picture.time - moment) > gap_s + 1e-3:  # time stamps are commonly whole milliseconds
        return NO_PICTURE
    return DAMAGED if picture.damaged else display.rgb(picture.frame)


def _too_short(video: OpenVideo, last: Picture | None, moment: float) -> str:
    """Return the message for a video whose pictures end before a moment."""
    if last is None:
        return f"{video.path}: damaged; no picture in it can be decoded"
    duration = video.facts.duration_s
    says = f"; its header says {duration:.2f} s" if duration > last.time + MISSING_S else ""
    return (
        f"{video.path}: ends at {max(last.time, 0):.2f} s{says}, but {moment:.2f} s is asked for; the file is "
        "truncated, or the clip's times belong to another video"
    )
