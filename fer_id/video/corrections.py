"""Corrections by a person: labelled stretches of one video, and the identity of that video."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from fer_id.errors import DataError
from fer_id.files import sha256
from fer_id.shapes import LATEST_S

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Opinion(NamedTuple):
    """A stretch of video (seconds) that a person labelled; the label is of any label space, unchecked."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class Corrected:
    """Content of a file that a person corrected; DataError where ``sha256`` is no checksum: it belongs to no video."""

    path: Path
    video: str  # name of the reviewed video
    sha256: str  # of its content
    subject: str  # pseudonym of the person whose face was tracked; empty: unknown
    opinions: tuple[Opinion, ...] = ()  # ordered by time

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise DataError(
                f"{self.path}: does not say which video it belongs to; expected a file that `fer-id predict` made and "
                "a person corrected"
            )

    def holding(self, opinions: Iterable[Opinion]) -> Corrected:
        """Return a copy with these opinions."""
        return replace(self, opinions=tuple(sorted(opinions)))

    def is_played_by(self, *addresses: str) -> bool:
        """Return whether an annotation tool's media file is the reviewed video: by content if the file exists, else by
        name.

        Content decides first because a shorter copy of the same name has other times. The addresses are spellings of
        one media file: paths or ``file://`` addresses, relative to the annotation file.
        """
        spelled = [text for address in addresses for text in (address, unquote(address))]
        for place in (self.path.parent / text.removeprefix("file://") for text in spelled if text.isprintable()):
            with suppress(OSError):
                if place.is_file():
                    return _digest(place, place.stat().st_mtime_ns) == self.sha256
        return _file_name(self.video) in map(_file_name, spelled)


def opinion(start_s: float, end_s: float, label: str, expected: str) -> Opinion:
    """Return a labelled stretch of the video, or raise ValueError where its times are outside or reversed."""
    if start_s < 0:
        raise ValueError(f"begins at {start_s:.3f} s of the video, before the video does")
    if not start_s < end_s <= LATEST_S:
        raise ValueError(f"lasts from {start_s:.3f} to {end_s:.3f} s; expected {expected}")
    return Opinion(start_s, end_s, label)


@cache
def _digest(path: Path, changed_ns: int) -> str:
    """Return the SHA-256 of a file, cached until the file changes."""
    return sha256(path)


def _file_name(address: str) -> str:
    return unicodedata.normalize("NFC", re.split(r"[/\\]", address)[-1])
