"""Corrections by a person: labelled stretches of one video, and the identity of that video."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from fer_id.errors import DataError
from fer_id.files import sha256

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Opinion(NamedTuple):
    """A stretch of video that a person labelled.

    Attributes:
        start_s, end_s: seconds in the video.
        label: of any label space, unchecked.
    """

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class Corrected:
    """Content of a file that a person corrected.

    Attributes:
        path: the file.
        video: name of the reviewed video.
        sha256: of that video's content.
        subject: pseudonym of the person whose face was tracked; empty: unknown.
        opinions: ordered by time.
    """

    path: Path
    video: str
    sha256: str
    subject: str
    opinions: tuple[Opinion, ...]

    def is_played_by(self, *addresses: str) -> bool:
        """Return whether an annotation tool's media file is the reviewed video: by content if the file exists,
        else by name.

        Content decides first because a shorter copy of the same name has other times.

        Args:
            addresses: spellings of one media file: paths or ``file://`` addresses, relative to the annotation file.
        """
        spelled = [text for address in addresses for text in (address, unquote(address))]
        for place in (self.path.parent / text.removeprefix("file://") for text in spelled if text.isprintable()):
            with suppress(OSError):
                if place.is_file():
                    return _digest(place, place.stat().st_mtime_ns) == self.sha256
        return _file_name(self.video) in map(_file_name, spelled)


def corrected(path: Path, video: str, sha256: str, subject: str, opinions: list[Opinion]) -> Corrected:
    """Return checked corrections, ordered by time.

    Raises:
        DataError: ``sha256`` is no checksum, so that the file belongs to no video.
    """
    if not _SHA256.fullmatch(sha256):
        raise DataError(
            f"{path}: does not say which video it belongs to; expected a file that `fer-id predict` made and a person "
            "corrected"
        )
    return Corrected(path, video, sha256, subject, tuple(sorted(opinions)))


@cache
def _digest(path: Path, changed_ns: int) -> str:
    """Return the SHA-256 of a file, cached until the file changes."""
    return sha256(path)


def _file_name(address: str) -> str:
    return unicodedata.normalize("NFC", re.split(r"[/\\]", address)[-1])
