"""The output folder of ``fer-id predict``: tables, timeline, page, and the files for ELAN and BORIS.

The folder shows one person and no store or run lists it: its files are readable by their owner only, and are deleted
by hand where consent ends.
"""

from __future__ import annotations

import io
import os
from collections.abc import Set
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from fer_id.csv_text import table_csv
from fer_id.files import atomic_write_bytes, write_json
from fer_id.preprocessing.tracking import FOUND, OUTCOMES, SOMEONE_ELSE, TOO_SMALL
from fer_id.reporting import style
from fer_id.reporting.page import data_uri, duration, write_page
from fer_id.reporting.words import counted, with_sign
from fer_id.types import AFFECT
from fer_id.video import boris_writer as boris
from fer_id.video import elan
from fer_id.video.picture import clock, colour, draw
from fer_id.video.timeline import ANSWERED, FOR_REVIEW, NO_FACE, TOO_LITTLE, Timeline, printable

RECORD = "prediction.json"  # written last; marks a folder as an output of ``fer-id predict``

ERASURE = (
    "This folder is about a person, and outside of every store: if consent ends, whoever keeps it has to delete it."
)

THUMBNAILS = "thumbnails"
"""Folder beside the page. The page links its pictures and does not embed them: a copied page shows no face."""

_SECONDS = {
    ANSWERED: "are answered",
    FOR_REVIEW: "are for review by a person",
    TOO_LITTLE: "show too little of the face to say",
    NO_FACE: "do not show the face",
}
_SETTINGS = {
    "fps": "Frames looked at in a second of video",
    "window": "Frames in a window: the model sees that many at once and says one thing about them",
    "stride": "Frames from the beginning of one window to that of the next",
    "least_face": "Share of a window's frames that must show the face before the model is listened to",
    "colour": "Colour of the faces that the model sees",
    "min_eye_distance": "Pixels between the eyes below which a face is too small to read",
    "precision": "Precision in which the model computes",
}
_DPI = 130
_MOST_ROWS = 400  # of the page's table; the CSV has every window


def write_outputs(timeline: Timeline, folder: Path, place: Path, consent: str) -> None:
    """Write all files of a timeline into an empty folder, readable by their owner only. ``place`` is the folder's final
    path, from which the video is linked; ``consent`` a sentence on the consent that was checked."""
    media = _relative(timeline.video.path, place)
    windows, frames = _labelled(timeline.windows, timeline), _labelled(timeline.frames, timeline)
    figure = draw(timeline)
    picture, png = style.svg(figure), io.BytesIO()
    with style.styled():
        figure.savefig(png, format="png", dpi=_DPI)
    thumbnails = _thumbnails(timeline)
    content = {
        "windows.csv": table_csv(windows, "%.6g").encode(),
        "windows.parquet": windows.to_parquet(index=False),
        "frames.csv": table_csv(frames, "%.6g").encode(),
        "timeline.svg": picture,
        "timeline.png": png.getvalue(),
        "review.eaf": elan.write(timeline, media),
        "review_boris.csv": boris.write_table(timeline, media),
        "review.boris": boris.write_project(timeline, media),
        **thumbnails,
    }
    for name, data in content.items():
        atomic_write_bytes(folder / name, data)
    rows = timeline.windows.to_dict("records")
    write_page(
        folder / "index.html",
        "predict.html.j2",
        timeline=timeline,
        about=timeline.about,
        provenance=timeline.about.provenance,
        sentences=sentences(timeline),
        picture=data_uri(picture),
        notes=notes(timeline),
        rows=[_row(timeline, row, thumbnails.keys()) for row in rows[:_MOST_ROWS]],
        settings=[(_SETTINGS.get(name, name), value) for name, value in timeline.about.settings.items()],
        thumbnails=bool(thumbnails),
        left_out=max(len(rows) - _MOST_ROWS, 0),
        colours=[(name, colour(name)) for name in timeline.labels.names],
        media=media,
        place=place,
        consent=consent,
        erasure=ERASURE,
        no_face=not outcomes(timeline)[FOUND],
    )
    write_json(folder / RECORD, record(timeline, consent))
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)


def record(timeline: Timeline, consent: str) -> dict[str, object]:
    """Return the content of ``prediction.json``."""
    about, video = timeline.about, timeline.video
    return {
        "use": about.sentence,
        "model": about.model,
        "provenance": about.provenance,
        "labels": list(timeline.labels.names),
        "temperature": about.temperature,
        "threshold": about.threshold,
        "settings": about.settings,
        "notes": list(notes(timeline)),
        "consent": consent,
        "video": {"name": video.name, "size": video.size, "sha256": video.sha256, "length_s": video.length_s},
        "frames": outcomes(timeline),
        "windows": {status: int(count) for status, count in timeline.windows["status"].value_counts().items()},
        "seconds": timeline.seconds,
    }


def outcomes(timeline: Timeline) -> dict[str, int]:
    """Number of frames per tracking outcome."""
    return {name: int((timeline.frames["outcome"] == name).sum()) for name in OUTCOMES}


def sentences(timeline: Timeline) -> list[str]:
    """Summary of the predictions in a few sentences, in seconds of video."""
    frames, seconds = outcomes(timeline), timeline.seconds
    lost = ", ".join(f"{name} in {count}" for name, count in frames.items() if count and name != FOUND)
    if not frames[FOUND]:
        looked = counted(sum(frames.values()), "frame")
        reasons = "" if frames[NO_FACE] == len(timeline.frames) else f": {lost}"
        nobody = not frames[SOMEONE_ELSE] + frames[TOO_SMALL]
        return [
            "No face in any frame." if nobody else "The face cannot be read in any frame.",
            f"The model says nothing about this video, and there is nothing to review ({looked} looked at{reasons}).",
        ]
    unsure = ", as the model is not sure enough" if timeline.about.threshold is not None else ""
    words = {**_SECONDS, FOR_REVIEW: _SECONDS[FOR_REVIEW] + unsure}
    parts = [f"{duration(seconds[status])} {words[status]}" for status in words if seconds[status]]
    lines = [f"Of {duration(timeline.video.length_s)} of video, {'; '.join(parts)}."]
    if lost:
        lines.append(f"{frames[FOUND]} of {sum(frames.values())} frames that were looked at show the face ({lost}).")
    return lines


def notes(timeline: Timeline) -> tuple[str, ...]:
    """Return the caveats of the video and, where a window has probabilities, those of the model."""
    judged = timeline.windows["status"].isin((ANSWERED, FOR_REVIEW)).any()
    of_video = timeline.about.of_video if outcomes(timeline)[NO_FACE] < len(timeline.frames) else ()
    return (*of_video, *(timeline.about.notes if judged else ()))


def _thumbnails(timeline: Timeline) -> dict[str, bytes]:
    """Thumbnails of the tracked face by their path in the folder, for the windows in the page's table."""
    windows = zip(timeline.windows["window"], timeline.windows["status"], timeline.faces, strict=False)
    return {
        f"{THUMBNAILS}/{number:04d}.jpg": face
        for number, status, face in islice(windows, _MOST_ROWS)
        if face is not None and status != NO_FACE  # its face is outside of the time that the window stands for
    }


def _labelled(table: pd.DataFrame, timeline: Timeline) -> pd.DataFrame:
    """Return the table with provenance and use in every row, so that a copied row keeps them."""
    return table.assign(model_provenance=timeline.about.provenance, use="assists, does not diagnose")


def _relative(video: Path, place: Path) -> str:
    """Return the video's path relative to the folder, with slashes (both may move together) and printable (for XML)."""
    path = Path(os.path.relpath(video.resolve(), place.resolve())).as_posix()
    return printable(path if path.startswith("../") else f"./{path}")


def _row(timeline: Timeline, row: dict[Any, Any], thumbnails: Set[str]) -> dict[str, object]:
    """Return a window's row of the page's table."""
    picture = f"{THUMBNAILS}/{row['window']:04d}.jpg"
    judged = timeline.labels.names if row["status"] in (ANSWERED, FOR_REVIEW) else ()
    return {
        "start": clock(row["start_s"], tenths=True),
        "end": clock(row["end_s"], tenths=True),
        "seek": f"{row['start_s']:.2f},{row['end_s']:.2f}",
        "status": row["status"],
        "answer": row["answer"],
        "shares": [(name, 100 * row[f"{timeline.kind}_{name}"], colour(name)) for name in judged],
        "picture": picture if picture in thumbnails else None,
        "faces": f"{row['n_valid']} of {row['n_frames']}",
        "affect": [with_sign(row[name], 2) for name in AFFECT] if judged and AFFECT[0] in row else [],
    }
