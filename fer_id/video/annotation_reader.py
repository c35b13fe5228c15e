"""Reader of annotation files that a person corrected, chosen by the file's suffix."""

from __future__ import annotations

from pathlib import Path

from fer_id.errors import DataError
from fer_id.video import boris_reader, elan
from fer_id.video.corrections import Corrected


def read_corrected(path: Path) -> Corrected:
    """Read the corrections from a file of ELAN (``.eaf``) or BORIS (``.csv``, ``.tsv``: aggregated events; ``.boris``).
    Raise DataError for no such file, one of another kind, damaged, or not made by ``fer-id predict``."""
    table, project = boris_reader.read_table, boris_reader.read_project
    readers = {".eaf": elan.read, ".csv": table, ".tsv": table, ".boris": project}
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: expected a file of ELAN (.eaf) or BORIS (.csv, .tsv, .boris)")
    return reader(path)
