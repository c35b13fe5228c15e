"""Display of decoded frames as in a video player: colours, square pixels, orientation, deinterlacing."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from fer_id.preprocessing.hdr import is_hdr, to_bt709

_COMB = (
    10.0  # least difference (of 255) of a line to both its neighbours, in the same direction, where fields are combed
)


class Display:
    """Conversion of a stream's frames to displayed RGB images.

    Matrix coefficients and colour range are applied as the frame states them (unspecified: BT.601, limited, as FFmpeg
    does), the transfer curves and primaries of HDR are mapped to BT.709 (:mod:`fer_id.preprocessing.hdr`), the
    container's cropping and sample aspect ratio are applied, and the display matrix turns and mirrors. A stream whose
    size changes half-way keeps the size of its header, so that positions of faces stay comparable.

    Args:
        stream: PyAV's ``VideoStream``.
        cropping: hidden pixels at the left, right, upper and lower edge.
    """

    def __init__(self, stream: Any, cropping: tuple[int, int, int, int] = (0, 0, 0, 0)) -> None:
        self._coded, aspect = (stream.codec_context.width, stream.codec_context.height), stream.sample_aspect_ratio
        left, right, top, bottom = cropping
        width, height = self._coded[0] - left - right, self._coded[1] - top - bottom
        self._shown = slice(top, top + height), slice(left, left + width)
        self._stored = width, height
        self._reformatter = VideoReformatter()  # for all frames: its tables cost more than converting one
        self._size = max(1, round(width * aspect)) if aspect and 0.1 <= aspect <= 10 else width, height

    def rgb(self, frame: Any) -> NDArray[np.uint8]:
        """Return a PyAV ``VideoFrame`` as uint8 (H, W, 3), RGB."""
        image: NDArray[np.uint8] = to_bt709(frame) if is_hdr(frame) else self._converted(frame)
        if frame.interlaced_frame:
            image = without_combs(image)
        if self._coded == (frame.width, frame.height):
            image = image[self._shown]
        size = image.shape[1], image.shape[0]
        if self._size != size and _same_shape(self._stored, size):
            image = _resized(image, *self._size)
        return oriented(image, _display_matrix(frame))

    def _converted(self, frame: Any) -> NDArray[np.uint8]:
        rgb: NDArray[np.uint8] = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        return rgb


def oriented(image: NDArray[np.uint8], matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    """Turn and mirror an image (H, W, 3) by a display matrix, rounded to quarter turns.

    Args:
        image: as stored.
        matrix: int32 (3, 3) of the container, ``a b u, c d v, x y w``: the pixel stored at (p, q) is displayed at
            (a p + c q, b p + d q). None: unchanged.
    """
    if matrix is None:
        return np.ascontiguousarray(image)
    (a, b), (c, d) = matrix[:2, :2].astype(np.int64)
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def without_combs(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Deinterlace a picture: lines of the second field are interpolated from the first where the fields differ.

    Args:
        image: uint8 (H, W, 3); even lines belong to the first field, odd lines to the second.
    """
    lines, result = image.astype(np.int16), image.copy()
    odd = lines[1::2]
    above = lines[0::2][: len(odd)]
    below = np.concatenate([lines[2::2], above[-1:]])[: len(odd)]
    light = [part.mean(axis=2) for part in (odd, above, below)]
    combed = (light[0] - light[1]) * (light[0] - light[2]) > _COMB**2
    result[1::2] = np.where(combed[..., None], (above + below) // 2, odd)
    return result


def _display_matrix(frame: Any) -> NDArray[np.int32] | None:
    for item in frame.side_data:
        if item.type.name == "DISPLAYMATRIX":
            return np.frombuffer(bytes(item), np.int32).reshape(3, 3)
    return None


def _same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes have the same proportions, within a hundredth."""
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) < 0.01


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    import cv2

    smaller = width * height < image.shape[0] * image.shape[1]
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC))
