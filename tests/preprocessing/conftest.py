"""Fixtures that encode videos from known frames."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

Encode = Callable[..., Path]


@pytest.fixture
def encode(tmp_path: Path) -> Encode:
    """``encode(name, frames)``: RGB frames (8 or 16 bits), one each tenth of a second, as a video; colours are tagged.

    ``matrix``, ``full``, ``transfer`` and ``primaries`` are FFmpeg's numbers; unspecified colours are BT.601, limited.
    """

    def make(
        name, frames, *, codec="libx264", options=None, pixels="yuv420p", matrix=2, full=False, transfer=2, primaries=2,
        aspect=None, display=None,
    ) -> Path:  # fmt: skip
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=10, options=options or {"crf": "1"})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = pixels
            context = stream.codec_context
            context.colorspace, context.color_range = matrix, 2 if full else 1
            context.color_trc, context.color_primaries = transfer, primaries
            if aspect:
                context.sample_aspect_ratio = aspect
            if display is not None:
                a, b, c, d = display
                stream.set_display_matrix([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
            for number, picture in enumerate(frames):
                layout = "rgb48le" if picture.dtype == np.uint16 else "rgb24"
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=layout)
                coded = 5 if matrix == 2 else matrix  # what swscale calls BT.601
                frame = frame.reformat(format=pixels, dst_colorspace=coded, dst_color_range=2 if full else 1)
                frame.colorspace, frame.color_range = matrix, 2 if full else 1
                frame.color_trc, frame.color_primaries = transfer, primaries
                frame.pts, frame.time_base = number, Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make


def with_sound(path: Path, pictures: Sequence[int], sound: int) -> Path:
    """Write a video with black pictures at these tenths of a second, and ``sound`` tenths of silence."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio: Any = container.add_stream("pcm_s16le", rate=8000)
        for number in range(sound):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 8000, 800 * number
            container.mux(audio.encode(samples))
        for number in pictures:
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def colours(seed: int = 0, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """A smooth coloured picture that no turn or mirror maps to itself."""
    coarse = np.random.default_rng(seed).uniform(30, 225, (4, 5, 3)).astype(np.float32)
    large = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.uint8)
