"""What comes back from a person: labelled stretches of one video, and which video that is."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from fer_id.errors import DataError

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Opinion(NamedTuple):
    """A stretch that a person gave a label.

    Attributes:
        start_s, end_s: seconds in the video.
        label: of any label space; whoever stores it checks.
    """

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class Corrected:
    """A corrected file.

    Attributes:
        path: the file.
        video: name of the video that was reviewed.
        sha256: of that video's content.
        subject: pseudonym of the person whose face was followed; empty: nobody said.
        opinions: by time.
    """

    path: Path
    video: str
    sha256: str
    subject: str
    opinions: tuple[Opinion, ...]

    def is_played_by(self, *addresses: str) -> bool:
        """Return whether a media file of an annotation tool is the reviewed video: by its content, else by its name.

        Args:
            addresses: of the one media file, as the tool writes them: paths, or ``file://`` addresses; relative ones
                count from the folder of the tool's own file. Where a file is there, its content decides: a shorter
                copy of the same name has other times.
        """
        spelled = [text for address in addresses for text in (address, unquote(address))]
        for place in (self.path.parent / text.removeprefix("file://") for text in spelled if text.isprintable()):
            with suppress(OSError):
                if place.is_file():
                    return _digest(place, place.stat().st_mtime_ns) == self.sha256
        return _file_name(self.video) in map(_file_name, spelled)


def corrected(path: Path, video: str, sha256: str, subject: str, opinions: list[Opinion]) -> Corrected:
    """A corrected file, checked.

    Raises:
        DataError: it does not say which video it speaks of.
    """
    if not _SHA256.fullmatch(sha256):
        raise DataError(
            f"{path}: does not say which video it belongs to; expected a file that `fer-id predict` made and a person "
            "corrected"
        )
    return Corrected(path, video, sha256, subject, tuple(sorted(opinions)))


@cache
def _digest(path: Path, changed_ns: int) -> str:
    """Return the SHA-256 of a file, read once as long as it does not change."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_name(address: str) -> str:
    return unicodedata.normalize("NFC", re.split(r"[/\\]", address)[-1])
