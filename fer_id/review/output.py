"""The folder that ``fer-id predict`` leaves: tables, timeline, page, and the files for ELAN and BORIS.

It speaks of one person, and no store or run knows of it: for its owner only, and deleted by hand where consent ends.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fer_id.csv_text import table_csv
from fer_id.files import atomic_write_bytes, write_json
from fer_id.preprocessing.clips import FOUND, OUTCOMES
from fer_id.reporting import style
from fer_id.reporting.page import data_uri, duration, write_page
from fer_id.reporting.words import percent
from fer_id.review import boris, elan
from fer_id.review.picture import clock, colour, draw
from fer_id.review.timeline import ANSWERED, FOR_REVIEW, NO_FACE, Timeline, printable

RECORD = "prediction.json"
"""Written last; marks the folder as one of these."""

ERASURE = (
    "This folder is about a person, and outside of every store: if consent ends, whoever keeps it has to delete it."
)
NO_FACE_ANYWHERE = "No face in any frame"

_DPI = 130
_MOST_SHOWN = 400  # windows in the page's table; the CSV has all


def write_outputs(timeline: Timeline, folder: Path, place: Path, consent: str) -> None:
    """Fills the folder.

    Args:
        timeline: what is written.
        folder: where, empty.
        place: the folder's final name, from which the video is linked.
        consent: a sentence on whose consent was checked.
    """
    media = _relative(timeline.video.path, place)
    windows, frames = _labelled(timeline.windows, timeline), _labelled(timeline.frames, timeline)
    figure = draw(timeline)
    picture = style.svg(figure)
    content = {
        "windows.csv": _csv(windows),
        "windows.parquet": windows.to_parquet(index=False),
        "frames.csv": _csv(frames),
        "timeline.svg": picture,
        "timeline.png": _png(figure),
        "review.eaf": elan.write(timeline, media),
        "review_boris.csv": boris.write_table(timeline, media),
        "review.boris": boris.write_project(timeline, media),
    }
    for name, one in content.items():
        atomic_write_bytes(folder / name, one)
    write_page(folder / "index.html", "predict.html.j2", **_page(timeline, picture, place, media, consent))
    write_json(folder / RECORD, record(timeline, consent))
    for path in folder.iterdir():
        path.chmod(0o600)


def record(timeline: Timeline, consent: str) -> dict[str, Any]:
    """What ``prediction.json`` says."""
    about, video = timeline.about, timeline.video
    return {
        "use": about.sentence,
        "model": about.model,
        "provenance": about.provenance,
        "labels": list(timeline.labels.names),
        "temperature": about.temperature,
        "threshold": about.threshold,
        "settings": about.settings,
        "notes": list(about.notes),
        "consent": consent,
        "video": {"name": video.name, "size": video.size, "sha256": video.sha256, "length_s": video.length_s},
        "frames": outcomes(timeline),
        "windows": {status: int(count) for status, count in timeline.windows["status"].value_counts().items()},
        "seconds": timeline.seconds,
    }


def outcomes(timeline: Timeline) -> dict[str, int]:
    """Frames by what was found in them."""
    return {name: int((timeline.frames["outcome"] == name).sum()) for name in OUTCOMES}


def sentences(timeline: Timeline) -> list[str]:
    """What came out, in a few sentences."""
    frames, seconds, total = outcomes(timeline), timeline.seconds, timeline.video.length_s
    if not frames[FOUND]:
        why = ", ".join(f"{count} {name}" for name, count in frames.items() if count)
        return [f"{NO_FACE_ANYWHERE} ({why}): there is nothing that the model could be asked about."]
    lost = ", ".join(f"{count} {name}" for name, count in frames.items() if count and name != FOUND)
    told = [
        f"Of {duration(total)}, {percent(seconds[ANSWERED] / total, 0)} is answered, "
        f"{percent(seconds[FOR_REVIEW] / total, 0)} is for review by a person, and in "
        f"{percent(seconds[NO_FACE] / total, 0)} there was no face to look at."
    ]
    if lost:
        told.append(f"{frames[FOUND]} of {sum(frames.values())} frames show the face ({lost}).")
    return told


def _labelled(table: pd.DataFrame, timeline: Timeline) -> pd.DataFrame:
    """A table whose rows say what they are, wherever they are copied to."""
    return table.assign(model_provenance=timeline.about.provenance, use="assists, does not diagnose")


def _csv(table: pd.DataFrame) -> bytes:
    return table_csv(table, "%.6g").encode()


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    with style.styled():
        figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _relative(video: Path, place: Path) -> str:
    """The video as seen from the folder, with slashes: the two may move together. Printable, as XML has to be."""
    path = Path(os.path.relpath(video.resolve(), place.resolve())).as_posix()
    return printable(path if path.startswith("../") else f"./{path}")


def _page(timeline: Timeline, picture: bytes, place: Path, media: str, consent: str) -> dict[str, Any]:
    rows = timeline.windows.to_dict("records")
    return {
        "timeline": timeline,
        "about": timeline.about,
        "provenance": timeline.about.provenance,
        "sentences": sentences(timeline),
        "picture": data_uri(picture),
        "rows": [_row(timeline, row) for row in rows[:_MOST_SHOWN]],
        "left_out": max(len(rows) - _MOST_SHOWN, 0),
        "colours": [(name, colour(name)) for name in timeline.labels.names],
        "media": media,
        "place": place,
        "consent": consent,
        "erasure": ERASURE,
        "no_face": not outcomes(timeline)[FOUND],
    }


def _row(timeline: Timeline, row: dict[Any, Any]) -> dict[str, Any]:
    """A window as the page's table shows it."""
    shares: Sequence[tuple[str, float]] = [
        (name, 100 * row[f"{timeline.kind}_{name}"]) for name in timeline.labels.names if row["status"] != NO_FACE
    ]
    return {
        "start": clock(row["start_s"], tenths=True),
        "end": clock(row["end_s"], tenths=True),
        "seek": f"{row['start_s']:.2f},{row['end_s']:.2f}",
        "status": row["status"],
        "answer": row["answer"],
        "shares": [(name, share, colour(name)) for name, share in shares],
        "faces": f"{row['n_valid']} of {row['n_frames']}",
    }
