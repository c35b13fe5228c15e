"""BORIS: the timeline as a table of aggregated events, and as a project, which is what BORIS itself opens.

BORIS exports aggregated events and does not read them back: a person opens ``review.boris``, codes what they see with
the behaviours of the category ``seen``, and saves it or exports it. What the model said is in the category ``model``
and is never taken for somebody's opinion.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from fer_id.csv_text import csv_text
from fer_id.errors import DataError, Problems
from fer_id.files import read_json
from fer_id.review.corrected import Corrected, Opinion, corrected
from fer_id.review.timeline import ANSWERED, FOR_REVIEW, NO_FACE, Segment, Timeline

COLUMNS = (
    *("Observation id", "Observation date", "Description", "Media file", "Total length", "FPS"),
    *("Subject", "Behavior", "Behavioral category", "Modifiers", "Behavior type"),
    *("Start (s)", "Stop (s)", "Duration (s)", "Comment start", "Comment stop"),
)
"""Of a table of aggregated events, as BORIS 7 exports them."""

MODEL, SEEN = "model", "seen"
NOBODY = "No focal subject"
_PREFIX, _MARK = f"{MODEL}: ", "sha256:"
_NEEDED = ("Observation id", "Behavior", "Start (s)", "Stop (s)")
_TICK = 0.001  # seconds: one event ends before the next of the same behaviour begins


def write_table(timeline: Timeline, media: str) -> bytes:
    """A row per stretch; ``Behavior`` is ``model: <class>``, ``for review`` or ``no face``.

    Args:
        timeline: what is shown.
        media: path of the video as seen from the folder of the file.
    """
    video, rows = timeline.video, list[tuple[str, ...]]()
    seen = (_observation(timeline), _now(), timeline.about.sentence, media, f"{video.length_s:.3f}", f"{video.fps:.3f}")
    for one in _events(timeline):
        times = (f"{one.start_s:.3f}", f"{one.end_s:.3f}", f"{one.end_s - one.start_s:.3f}")
        rows.append((*seen, NOBODY, _behaviour(one), MODEL, "", "STATE", *times, one.words, ""))
    return csv_text(COLUMNS, (dict(zip(COLUMNS, row, strict=True)) for row in rows)).encode()


def write_project(timeline: Timeline, media: str) -> bytes:
    """A project with one observation of the video, and the classes as behaviours to code with."""
    video, name = timeline.video, _observation(timeline)
    events: list[tuple[float, str, str, str, str]] = []
    for one in _events(timeline):
        events.append((round(one.start_s, 3), "", _behaviour(one), "", one.words))
        events.append((round(one.end_s - _TICK, 3), "", _behaviour(one), "", ""))
    kept = {"file": {str(player): [media] if player == 1 else [] for player in range(1, 9)}, "type": "MEDIA"}
    facts = {"length": {media: video.length_s}, "fps": {media: video.fps}, "hasVideo": {media: True}}
    observation = {
        **kept,
        "date": _now().replace(" ", "T"),
        "description": timeline.about.sentence,
        "time offset": 0.0,
        "events": sorted(events, key=lambda event: event[0]),
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "close_behaviors_between_videos": False,
        "media_info": {**facts, "hasAudio": {media: False}, "offset": {"1": 0.0}},
    }
    project = {
        "time_format": "s",
        "project_date": _now().replace(" ", "T"),
        "project_name": video.name,
        "project_description": timeline.about.sentence,
        "project_format_version": "7.0",
        "subjects_conf": {},
        "behaviors_conf": _ethogram(timeline),
        "observations": {name: observation},
        "behavioral_categories": [MODEL, SEEN],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    return (json.dumps(project, indent=1, ensure_ascii=False) + "\n").encode()


def read_table(path: Path) -> Corrected:
    """A table of aggregated events, by ours or by any version of BORIS; commas, semicolons or tabs.

    Raises:
        DataError: not such a table, of several observations, or not begun by ``fer-id predict``.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: cannot be read ({problem})") from None
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as problem:
        raise DataError(f"{path}: not a table ({problem})") from None
    if missing := [name for name in _NEEDED if not rows or name not in rows[0]]:
        raise DataError(
            f"{path}: {'no row' if not rows else 'columns missing: ' + ', '.join(missing)}; expected the aggregated "
            "events of an observation, as BORIS exports them"
        )
    names = {row["Observation id"] or "" for row in rows}
    problems, opinions = Problems(str(path)), list[Opinion]()
    for line, row in enumerate(rows, start=2):
        behaviour = (row["Behavior"] or "").strip()
        if not behaviour or _is_models(behaviour):
            continue
        try:
            opinions.append(_opinion(float(row["Start (s)"]), float(row["Stop (s)"]), behaviour))
        except (TypeError, ValueError):
            problems.add(
                f"line {line}: {behaviour!r} from {row['Start (s)']!r} to {row['Stop (s)']!r}; expected a state event "
                "with seconds, its end after its start"
            )
    problems.raise_if_any(DataError)
    return _of_observation(path, names, opinions)


def read_project(path: Path) -> Corrected:
    """A project of BORIS with the observation that ``fer-id predict`` made; a behaviour's events begin and end in turn.

    Raises:
        DataError: no project, or one without that observation, or an event that begins and never ends.
    """
    observations = read_json(path, DataError).get("observations")
    ours = {name: one for name, one in (observations or {}).items() if _MARK in name}
    if len(ours) != 1 or not isinstance(next(iter(ours.values())), dict):
        raise DataError(f"{path}: {len(ours)} observations that `fer-id predict` made, expected one")
    problems, opinions, begun = Problems(str(path)), list[Opinion](), dict[tuple[str, str], float]()
    for time, subject, behaviour, *_ in sorted(next(iter(ours.values())).get("events") or [], key=lambda one: one[0]):
        if _is_models(behaviour):
            continue
        start = begun.pop((subject, behaviour), None)
        if start is None:
            begun[subject, behaviour] = float(time)
        elif float(time) > start:
            opinions.append(_opinion(start, float(time), behaviour))
    for (_, behaviour), start in begun.items():
        problems.add(f"{behaviour!r} begins at {start:.3f} s and never ends")
    problems.raise_if_any(DataError, "Fix unpaired events in BORIS, and save it again.")
    return _of_observation(path, set(ours), opinions)


def _events(timeline: Timeline) -> Iterator[Segment]:
    """What the model said, and the frames without a face, by time; no window twice."""
    told = [one for one in timeline.segments() if one.status != NO_FACE]
    yield from sorted([*told, *timeline.gaps()], key=lambda one: (one.start_s, one.status))


def _behaviour(one: Segment) -> str:
    return f"{_PREFIX}{one.answer}" if one.status == ANSWERED else one.status


def _is_models(behaviour: str) -> bool:
    return behaviour.startswith(_PREFIX) or behaviour in (FOR_REVIEW, NO_FACE)


def _ethogram(timeline: Timeline) -> dict[str, dict[str, str]]:
    """The behaviours: what a person codes, each with a key, and what the model said."""
    keys = iter("123456789abcdefghijklmnopqrstuvwxyz")
    codes = [(label, SEEN, next(keys)) for label in timeline.labels.names]
    codes += [(f"{_PREFIX}{label}", MODEL, "") for label in timeline.labels.names]
    codes += [(status, MODEL, "") for status in (FOR_REVIEW, NO_FACE)]
    blank = {"description": "", "color": "", "modifiers": "", "excluded": "", "coding map": ""}
    return {
        str(number): {"type": "State event", "key": key, "code": code, "category": category, **blank}
        for number, (code, category, key) in enumerate(codes)
    }


def _observation(timeline: Timeline) -> str:
    """The observation's name, by which the video is known again."""
    return f"{timeline.video.name} {_MARK}{timeline.video.sha256}"


def _of_observation(path: Path, names: set[str], opinions: list[Opinion]) -> Corrected:
    if len(names) > 1:
        raise DataError(f"{path}: {len(names)} observations; expected one, of the video that was reviewed")
    video, _, sha256 = next(iter(names), "").partition(_MARK)
    return corrected(path, video.strip(), sha256.strip(), opinions)


def _opinion(start: float, end: float, label: str) -> Opinion:
    if not 0 <= start < end < float("inf"):
        raise ValueError("no stretch of time")
    return Opinion(start, end, label)


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
