"""What comes back from a person: labelled stretches of one video, and which video that is."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
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
        opinions: by time.
    """

    path: Path
    video: str
    sha256: str
    opinions: tuple[Opinion, ...]

    @property
    def reviewed(self) -> tuple[Path, str, str]:
        """What :func:`plays` compares a media file with."""
        return self.path, self.video, self.sha256


def corrected(path: Path, video: str, sha256: str, opinions: list[Opinion]) -> Corrected:
    """A corrected file, checked.

    Raises:
        DataError: it does not say which video it speaks of.
    """
    if not _SHA256.fullmatch(sha256):
        raise DataError(
            f"{path}: does not say which video it belongs to; expected a file that `fer-id predict` made and a person "
            "corrected"
        )
    return Corrected(path, video, sha256, tuple(sorted(opinions)))


def plays(address: str, path: Path, video: str, sha256: str) -> bool:
    """Return whether a media file of an annotation tool is the reviewed video: by its name, or by its content.

    Args:
        address: of the media file, as the tool writes it: a path, or a ``file://`` address.
        path: the tool's own file, from whose folder relative addresses count.
        video, sha256: of the reviewed video.
    """
    addresses = (address, unquote(address))
    if _file_name(video) in map(_file_name, addresses):
        return True
    for place in (path.parent / text.removeprefix("file://") for text in addresses if text.isprintable()):
        with suppress(OSError):
            if place.is_file():
                with place.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    return False


def _file_name(address: str) -> str:
    return unicodedata.normalize("NFC", re.split(r"[/\\]", address)[-1])
