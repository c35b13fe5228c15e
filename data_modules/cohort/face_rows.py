"""``faces.csv``: positions of the child's face in videos with several people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.cohort.manifest_cells import is_number
from fer_id.errors import Problems
from fer_id.preprocessing.face_marks import Mark


def whose_faces(folder: Path, faces: pd.DataFrame, clips: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """Add ``subject_id`` to the rows of ``faces.csv``: the subject of the clip at that time, or of the whole video.

    Args:
        folder: the cohort.
        faces, clips: the tables as text, by row number.
        problems: gets a line for each row of an unknown video, of a time of no or several children, or of the same
            video and time as another row.
    """
    spans = clips[clips[["start_s", "end_s"]].map(_is_seconds).all(axis=1)]
    spans = spans.assign(file=pd.Series({n: same_file(folder, v) for n, v in spans["video"].items()}, dtype=object))
    known = {same_file(folder, video) for video in clips["video"]} - {None}
    subjects, seen = {}, dict[tuple[Path | None, float], str]()
    for number, video, time in faces.loc[faces["time_s"].map(_is_seconds), ["video", "time_s"]].itertuples():
        where, file = face_row(number), same_file(folder, video)
        own = spans[spans["file"] == file]
        at = own[(own["start_s"].astype(float) <= float(time)) & (own["end_s"].astype(float) >= float(time))]
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


def marks_of(folder: Path, faces: pd.DataFrame | None, video: Path, subject: str) -> tuple[Mark, ...]:
    """Return the marks of one child in one video file, by time; empty without rows in ``faces.csv``."""
    if faces is None:
        return ()
    own = faces.loc[faces["subject_id"] == subject, ["video", "time_s", "x", "y"]].itertuples()
    here = (row for row in own if same_file(folder, str(row[1])) == video.resolve())
    return tuple(sorted(Mark(time, x, y, face_row(number)) for number, _, time, x, y in here))


def face_row(number: Any) -> str:
    """Return file and line of a row as a spreadsheet numbers it; the header is line 1."""
    return f"faces.csv, line {number + 2}"


def same_file(folder: Path, video: str | None) -> Path | None:
    """Return the file named by a cell, links followed; None for an empty cell or a name that no file can have."""
    try:
        return None if video is None else (folder / video).resolve()
    except (OSError, RuntimeError, ValueError):
        return None


def _is_seconds(cell: object) -> bool:
    return isinstance(cell, str) and is_number(cell)
