"""What comes back from a person: labelled stretches of one video, and which video that is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


def read_corrected(path: Path) -> Corrected:
    """Reads what came back from ELAN (``.eaf``) or BORIS (``.csv`` or ``.tsv`` of aggregated events, or ``.boris``).

    Raises:
        DataError: no such file, of another kind, damaged, or not made by ``fer-id predict``.
    """
    from fer_id.review import boris, elan

    readers = {".eaf": elan.read, ".csv": boris.read_table, ".tsv": boris.read_table, ".boris": boris.read_project}
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: expected a file of ELAN (.eaf) or BORIS (.csv, .tsv, .boris)")
    return reader(path)
