"""Conversion of HDR frames (HLG or PQ) to SDR: BT.709, light up to 203 nits, the reference white of ITU-R BT.2408."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHITE_NITS = 203.0
"""Luminance mapped to white; brighter light is clipped. Faces lie far below it."""

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


def is_hdr(frame: Any) -> bool:
    """Return whether a PyAV ``VideoFrame`` states the transfer curve HLG or PQ."""
    return frame.color_trc in (_PQ, _HLG)


def to_bt709(frame: Any) -> NDArray[np.uint8]:
    """Map an HDR frame to BT.709 for a display of gamma 2.4; reference white (203 nits) becomes 255.

    Args:
        frame: PyAV's ``VideoFrame`` in HDR (:func:`is_hdr`); its primaries are BT.2020 unless stated as P3 or BT.709.

    Returns:
        uint8 (H, W, 3), RGB.
    """
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
