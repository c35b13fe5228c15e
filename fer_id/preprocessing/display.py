"""Display of decoded frames as in a video player: colours, square pixels, orientation, deinterlacing.

HDR frames (HLG or PQ) become SDR: BT.709, light up to 203 nits, the reference white of ITU-R BT.2408.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

WHITE_NITS = 203.0  # luminance mapped to white; brighter light is clipped. Faces lie far below it.

HDR_NOTE = (
    f"HDR is shown with its white at {WHITE_NITS:g} nits (ITU-R BT.2408): where a camera put it lower, faces stay dark"
)

_PQ, _HLG = 16, 18  # FFmpeg's AVColorTransferCharacteristic
_P3, _BT709 = 12, 1  # its AVColorPrimaries
_BT2020_MATRIX, _UNSPECIFIED = 9, 2  # its AVColorSpace

_HLG_PEAK_NITS, _HLG_GAMMA = 1000.0, 1.2  # of the reference display, ITU-R BT.2100
_SDR_GAMMA = 2.4  # ITU-R BT.1886
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020
_FROM_BT2020 = np.array(  # linear light, ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_FROM_P3 = np.array([[1.2249, -0.2249, 0.0], [-0.0420, 1.0420, 0.0], [-0.0196, -0.0786, 1.0982]], np.float32)
_ROWS = 128  # rows at a time: a 4K frame of floats would take 100 MB several times over

_COMB = 10.0  # least difference (of 255) of a line to both neighbours, in one direction, where fields are combed


class Display:
    """Conversion of the frames of PyAV's ``VideoStream`` to displayed RGB images.

    Matrix coefficients and colour range are applied as the frame states them (unspecified: BT.601, limited, as FFmpeg
    does), the transfer curves and primaries of HDR are mapped to BT.709, the container's cropping (hidden pixels at the
    left, right, upper and lower edge) and sample aspect ratio are applied, and the display matrix turns and mirrors. A
    stream whose size changes half-way keeps the size of its header, so that positions of faces stay comparable.
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
        if is_hdr(frame):
            image = to_bt709(frame)
        else:
            image = np.asarray(self._reformatter.reformat(frame, format="rgb24").to_ndarray(), np.uint8)
        if frame.interlaced_frame:
            image = without_combs(image)
        if self._coded == (frame.width, frame.height):
            image = image[self._shown]
        size = image.shape[1], image.shape[0]
        same_shape = abs(self._stored[0] * size[1] / (self._stored[1] * size[0]) - 1) < 0.01
        if self._size != size and same_shape:
            image = _resized(image, *self._size)
        matrices = [bytes(item) for item in frame.side_data if item.type.name == "DISPLAYMATRIX"]
        return oriented(image, np.frombuffer(matrices[0], np.int32).reshape(3, 3) if matrices else None)


def oriented(image: NDArray[np.uint8], matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    """Turn and mirror an image (H, W, 3) by a display matrix, rounded to quarter turns; None: unchanged.

    The container's matrix, int32 (3, 3), is ``a b u, c d v, x y w``: the pixel stored at (p, q) is displayed at (a p +
    c q, b p + d q).
    """
    if matrix is None:
        return np.ascontiguousarray(image)
    (a, b), (c, d) = matrix[:2, :2].astype(np.int64)
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def without_combs(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Deinterlace a picture: where the fields differ, odd lines (the second field) are interpolated from the even
    lines."""
    lines, result = image.astype(np.int16), image.copy()
    odd = lines[1::2]
    above = lines[0::2][: len(odd)]
    below = np.concatenate([lines[2::2], above[-1:]])[: len(odd)]
    light = [part.mean(axis=2) for part in (odd, above, below)]
    combed = (light[0] - light[1]) * (light[0] - light[2]) > _COMB**2
    result[1::2] = np.where(combed[..., None], (above + below) // 2, odd)
    return result


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    import cv2

    smaller = width * height < image.shape[0] * image.shape[1]
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC))


def is_hdr(frame: Any) -> bool:
    """Return whether a PyAV ``VideoFrame`` states the transfer curve HLG or PQ."""
    return frame.color_trc in (_PQ, _HLG)


def to_bt709(frame: Any) -> NDArray[np.uint8]:
    """Map an HDR frame (:func:`is_hdr`) to uint8 (H, W, 3), RGB in BT.709, for a display of gamma 2.4; reference white
    (203 nits) becomes 255. Its primaries are BT.2020 unless stated as P3 or BT.709."""
    matrix = _BT2020_MATRIX if frame.colorspace == _UNSPECIFIED else None
    coded: NDArray[np.uint16] = frame.to_ndarray(format="rgb48le", src_colorspace=matrix)
    parts = [_mapped(coded[row : row + _ROWS], frame) for row in range(0, len(coded), _ROWS)]
    return np.concatenate(parts)


def _mapped(coded: NDArray[np.uint16], frame: Any) -> NDArray[np.uint8]:
    light = _curve(frame.color_trc)[coded]
    if frame.color_trc == _HLG:  # from the scene to the display (OOTF)
        light *= np.maximum(light @ _LUMINANCE, 0)[..., None] ** (_HLG_GAMMA - 1) * (_HLG_PEAK_NITS / WHITE_NITS)
    if frame.color_primaries != _BT709:
        light = light @ (_FROM_P3 if frame.color_primaries == _P3 else _FROM_BT2020).T
    return np.asarray(np.clip(light, 0, 1) ** (1 / _SDR_GAMMA) * 255 + 0.5, np.uint8)


@functools.cache
def _curve(transfer: int) -> NDArray[np.float32]:
    """Return the light of each 16-bit code (ITU-R BT.2100): HLG scene light in [0, 1], PQ in :data:`WHITE_NITS`."""
    code = np.linspace(0, 1, 2**16)
    if transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    else:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = code ** (1 / m2)
        light = 10_000 / WHITE_NITS * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light.astype(np.float32)
