"""Cells and rows of a cohort's tables: pandera schemas, rows by video and time, and the child of each marked face."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from fer_id.consent.records import ASSENT, GUARDIAN, PURPOSES, STATUSES
from fer_id.errors import Problems
from fer_id.labels import TARGET

_LONGEST_S = 86_400.0  # a day: nobody cuts a longer clip


def purposes_in(cell: str) -> list[str]:
    """Return the words of a cell, separated by semicolons, commas, bars or spaces."""
    return [word for word in re.split(r"[;,|\s]+", cell) if word]


def name_of(cell: str) -> str:
    """Return a cell as a name, however its characters are composed, without spaces around it."""
    return unicodedata.normalize("NFC", cell.strip())


def is_number(cell: str) -> bool:
    """Return True for a plain finite number of at least 0, by its text, so that no parser guesses."""
    return re.fullmatch(r"[0-9]+([.][0-9]*)?([eE][+-]?[0-9]+)?", cell) is not None and math.isfinite(float(cell))


def _date(cell: str) -> bool:
    try:
        date.fromisoformat(cell)
    except ValueError:
        return False
    return len(cell) == len("2026-01-31")


def _each(test: Callable[[str], bool], expected: str) -> pa.Check:
    return pa.Check(test, element_wise=True, error=expected, ignore_na=True)


def _one_of(names: tuple[str, ...]) -> pa.Check:
    return _each(lambda cell: cell in names, f"one of {', '.join(names)}")


def _number(most: float, expected: str) -> pa.Check:
    return _each(lambda cell: is_number(cell) and float(cell) <= most, expected)


_NAME = _each(lambda cell: len(cell) <= 200 and cell.isprintable(), "printable text of at most 200 characters")
_ID, _UNIQUE_ID = pa.Column(checks=_NAME), pa.Column(checks=_NAME, unique=True)
_LABEL = _one_of(TARGET.names)
_SECONDS = pa.Column(checks=_number(_LONGEST_S, "seconds, a number of at least 0"))
_SHARE = pa.Column(checks=_number(1, "a share of the picture, 0 to 1"))
_CONFIDENCE = _number(1, "a number from 0 to 1, or nothing")

_PURPOSES = _each(
    lambda cell: set(purposes_in(cell)) <= set(PURPOSES), f"some of {', '.join(PURPOSES)}, with ; between"
)

SCHEMAS = {
    "subjects.csv": pa.DataFrameSchema({"subject_id": _UNIQUE_ID}),
    "clips.csv": pa.DataFrameSchema(
        {
            **{"clip_id": _UNIQUE_ID, "subject_id": _ID, "video": _ID, "start_s": _SECONDS, "end_s": _SECONDS},
            "label": pa.Column(checks=_LABEL, nullable=True),
        }
    ),
    "annotations.csv": pa.DataFrameSchema(
        {
            **{"clip_id": _ID, "annotator": _ID, "label": pa.Column(checks=_LABEL)},
            "confidence": pa.Column(checks=_CONFIDENCE, nullable=True),
        }
    ),
    "faces.csv": pa.DataFrameSchema({"video": _ID, "time_s": _SECONDS, "x": _SHARE, "y": _SHARE}),
    "consent.csv": pa.DataFrameSchema(
        {
            "subject_id": _ID,
            "recorded_on": pa.Column(checks=_each(_date, "a date such as 2026-01-31")),
            "status": pa.Column(checks=_one_of(STATUSES)),
            "guardian": pa.Column(checks=_one_of(GUARDIAN), nullable=True),
            "assent": pa.Column(checks=_one_of(ASSENT), nullable=True),
            "purposes": pa.Column(checks=_PURPOSES, nullable=True),
            "expires_on": pa.Column(checks=_each(_date, "a date such as 2026-01-31, or nothing"), nullable=True),
        }
    ),
}
"""File -> schema of its columns with fixed contents."""


def whose_faces(folder: Path, faces: pd.DataFrame, clips: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """Add ``subject_id`` to the rows of ``faces.csv``: the subject of the clip at that time, or of the whole video.

    ``problems`` gets a line for each row of an unknown video, of a time of no or several children, or of the same video
    and time as another row. Both tables are text, by row number.
    """
    spans, known = timed(folder, clips), {same_file(folder, video) for video in clips["video"]} - {None}
    subjects, seen = {}, dict[tuple[Path | None, float], str]()
    for number, video, time in faces.loc[faces["time_s"].map(_is_seconds), ["video", "time_s"]].itertuples():
        where, file = f"faces.csv, {line_of(number)}", same_file(folder, video)
        own = spans[spans["file"] == file]
        at = own[(own["start_s"] <= float(time)) & (own["end_s"] >= float(time))]
        people = set(at["subject_id"]) or set(own["subject_id"])
        if file not in known:
            problems.add(f"{where}, column video: {video!r} is in no row of clips.csv")
        elif len(people) > 1:
            lies = "in clips of several children" if len(at) else "in no clip, and several children are in the video"
            problems.add(
                f"{where}, column time_s: {time} lies {lies}: {video!r}; choose a time inside one child's clip"
            )
        elif earlier := seen.get((file, float(time))):
            problems.add(f"{where}: the same video and time as {earlier}; keep one of them")
        seen.setdefault((file, float(time)), where)
        subjects[number] = next(iter(people), None)
    if len(problems):
        return faces
    numbers = {name: faces[name].astype(float) for name in ("time_s", "x", "y")}
    return faces.assign(**numbers, subject_id=pd.Series(subjects, dtype=object))


def timed(folder: Path, clips: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``clips.csv`` (text) whose times are numbers, as such, with ``file``, the video's file."""
    rows = clips[clips[["start_s", "end_s"]].map(_is_seconds).all(axis=1)]
    files = pd.Series({number: same_file(folder, video) for number, video in rows["video"].items()}, dtype=object)
    return rows.astype({"start_s": float, "end_s": float}).assign(file=files)


def line_of(number: Any) -> str:
    """Return the line of a row as a spreadsheet numbers it; the header is line 1."""
    return f"line {number + 2}"


def same_file(folder: Path, video: str | None) -> Path | None:
    """Return the file named by a cell, links followed; None for an empty cell or a name that no file can have."""
    try:
        return None if video is None else (folder / video).resolve()
    except (OSError, RuntimeError, ValueError):
        return None


def _is_seconds(cell: object) -> bool:
    return isinstance(cell, str) and is_number(cell)
