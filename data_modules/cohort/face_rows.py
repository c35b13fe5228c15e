"""Rows of a cohort's tables by video and time, and ``faces.csv``: positions of the child's face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.cohort.manifest_cells import is_number
from fer_id.errors import Problems


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
