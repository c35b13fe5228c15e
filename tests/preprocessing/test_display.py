"""Displayed frames: colours, square pixels, orientation, deinterlacing, HDR."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fer_id.preprocessing.display import oriented, without_combs
from fer_id.preprocessing.video import sample_frames, video_facts

from .conftest import Encode, colours

TURNS_AND_MIRRORS = [
    *[(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1)],
    *[(0, 1, -1, 0), (0, -1, 1, 0), (0, 1, 1, 0), (0, -1, -1, 0)],
]


def first(path: Path) -> NDArray[np.uint8]:
    image = next(iter(sample_frames(path, [0.0])))
    return image


def off(image: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Return the mean absolute difference, of 255."""
    assert image.shape == expected.shape
    return float(np.abs(image.astype(float) - expected).mean())


def stored(upright: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Return the stored image that the matrix displays upright: pixel by pixel, by QuickTime's specification."""
    a, b, c, d = matrix
    height, width = upright.shape[:2] if a else upright.shape[1::-1]
    left, top = upright.shape[1] - 1 if a + c < 0 else 0, upright.shape[0] - 1 if b + d < 0 else 0
    picture = np.zeros((height, width, 3), np.uint8)
    for q in range(height):
        for p in range(width):
            picture[q, p] = upright[top + b * p + d * q, left + a * p + c * q]
    return picture


@pytest.mark.parametrize("matrix", TURNS_AND_MIRRORS)
def test_every_turn_and_mirror_of_a_container_is_applied(encode: Encode, matrix: tuple[int, int, int, int]) -> None:
    upright = colours(height=48, width=64)
    assert off(first(encode("turned.mp4", [stored(upright, matrix)] * 2, display=matrix)), upright) < 3


@given(matrix=st.sampled_from(TURNS_AND_MIRRORS))
def test_a_turn_or_mirror_moves_every_corner_as_its_matrix_says(matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = matrix
    image = np.zeros((3, 5, 3), np.uint8)
    corners = {(0, 0): 1, (4, 0): 2, (0, 2): 3, (4, 2): 4}
    for (p, q), value in corners.items():
        image[q, p] = value
    seen = oriented(image, np.array([[a, b, 0], [c, d, 0], [0, 0, 1]], np.int32) * 65536)
    places = {value: (a * p + c * q, b * p + d * q) for (p, q), value in corners.items()}
    left, top = (min(place[axis] for place in places.values()) for axis in (0, 1))
    assert {value: int(seen[y - top, x - left, 0]) for value, (x, y) in places.items()} == {v: v for v in places}


def test_a_missing_or_identity_matrix_leaves_a_picture_unchanged() -> None:
    image = colours()
    assert (oriented(image, None) == image).all()
    assert (oriented(image, np.zeros((3, 3), np.int32)) == image).all()


@pytest.mark.parametrize("matrix", [2, 1, 5, 6, 9])
@pytest.mark.parametrize("full", [False, True])
def test_matrix_coefficients_and_colour_range_are_applied(encode: Encode, matrix: int, full: bool) -> None:
    picture = colours()
    assert off(first(encode("coloured.mp4", [picture] * 2, matrix=matrix, full=full)), picture) < 5


def test_pixels_become_square(encode: Encode) -> None:
    narrow = colours(width=96)
    displayed = first(encode("narrow.mp4", [narrow] * 2, aspect=Fraction(4, 3)))
    assert off(displayed, colours(width=128)) < 5


def test_cropping_of_mp4_is_applied(encode: Encode) -> None:
    upright = colours()
    path = encode("clap.mp4", [upright] * 3, display=(0, 1, -1, 0))
    content = bytearray(path.read_bytes())
    width, height, right, down = 64, 48, 20, -10  # right, down: offset of the visible area's centre from the picture's
    box = struct.pack(">I4s8i", 40, b"clap", width, 1, height, 1, right, 1, down, 1)
    entry = content.index(b"avc1", content.index(b"stsd")) - 4
    end = entry + int.from_bytes(content[entry : entry + 4])
    for place in (*(content.index(name) - 4 for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")), entry):
        content[place : place + 4] = (int.from_bytes(content[place : place + 4]) + len(box)).to_bytes(4)
    content[end:end] = box
    path.write_bytes(content)
    top, left = (96 - height) // 2 + down, (128 - width) // 2 + right
    visible = np.rot90(upright[top : top + height, left : left + width], -1)
    assert first(path).shape == visible.shape == (64, 48, 3)
    assert off(first(path), visible) < 5


def test_cropping_of_matroska_is_applied(encode: Encode) -> None:
    upright = colours()
    path = encode("crop.mkv", [upright] * 3, matrix=1, transfer=1, primaries=1)
    content = bytearray(path.read_bytes())
    colour = content.index(b"\x55\xb0")  # the element of colours gives its place to the crop, and to nothing
    length = 3 + (content[colour + 2] & 0x7F)
    crop = b"\x54\xcc\x81\x20\x54\xbb\x81\x08\xec"  # PixelCropLeft 32, PixelCropTop 8, Void
    void = length - len(crop) - 1
    content[colour : colour + length] = crop + bytes([0x80 | void]) + bytes(void)
    tracks = content.index(b"\x16\x54\xae\x6b")
    crc = content.index(b"\xbf\x84", tracks)
    content[crc : crc + 6] = b"\xec\x84" + bytes(4)  # the checksum of the tracks
    path.write_bytes(content)
    assert first(path).shape == (88, 96, 3)


def test_a_stream_that_changes_its_size_keeps_the_size_of_its_header(tmp_path: Path) -> None:
    """Calls recorded in a browser change their size when the network becomes slower."""
    path = tmp_path / "call.webm"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        packets = []
        for begin, height, width in ((0, 96, 128), (5, 48, 64)):
            encoder: Any = av.CodecContext.create("libvpx", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate, encoder.bit_rate = Fraction(1, 10), Fraction(10), 2_000_000
            for number in range(5):
                frame = av.VideoFrame.from_ndarray(colours(height=height, width=width), format="rgb24")
                frame.pts, frame.time_base = begin + number, Fraction(1, 10)
                packets += encoder.encode(frame)
            packets += encoder.encode()
        for packet in packets:
            packet.stream = stream
            container.mux(packet)
    early, late = sample_frames(path, [0.0, 0.8])
    assert off(late, early) < 5


def test_combs_are_taken_out_and_still_pictures_stay() -> None:
    still = colours()
    assert (without_combs(still) == still).mean() > 0.99
    moved = np.roll(still, 40, axis=1)
    combed = still.copy()
    combed[1::2] = moved[1::2]
    assert (without_combs(combed)[::2] == still[::2]).all()
    assert off(without_combs(combed), still) < 0.25 * off(combed, still)


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_mapped_to_the_brightness_of_its_sdr_original(encode: Encode, transfer: int) -> None:
    """Reference white at 203 nits, BT.1886; coded with the formulas of BT.2100."""
    picture = colours()
    wide = (_hdr(picture / 255.0, transfer) * 65535 + 0.5).astype(np.uint16)
    options = {"x265-params": "log-level=none", "crf": "4", "preset": "ultrafast"}
    path = encode(
        "hdr.mp4", [wide] * 2, codec="libx265", options=options, pixels="yuv420p10le", matrix=9, transfer=transfer,
        primaries=9,
    )  # fmt: skip
    displayed = first(path)
    assert abs(float(displayed.mean()) - float(picture.mean())) < 5
    assert off(displayed, picture) < 5
    raw = next(av.open(str(path)).decode(video=0)).to_ndarray(format="rgb24")
    assert off(raw, picture) > 15  # what an SDR reading would make of it


@pytest.mark.parametrize(("transfer", "hdr"), [(18, True), (16, True), (1, False)])
def test_a_header_says_whether_its_colours_are_hdr(encode: Encode, transfer: int, hdr: bool) -> None:
    path = encode("tagged.mp4", [colours()] * 2, matrix=9, transfer=transfer, primaries=9)
    assert video_facts(path).hdr is hdr


def _hdr(signal: NDArray[np.float64], transfer: int) -> NDArray[np.float64]:
    """An SDR signal in [0, 1], BT.709, as HLG (18) or PQ (16), BT.2020, both in [0, 1]."""
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
    nits = 203 * signal**2.4 @ to_2020.T
    if transfer == 16:
        power = (nits / 10000) ** 0.1593017578125
        return np.asarray(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)
    light = nits / 1000
    scene = light * (light @ np.array([0.2627, 0.6780, 0.0593]))[..., None] ** (1 / 1.2 - 1)
    upper = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), upper))
