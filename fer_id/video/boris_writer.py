"""Writer of a timeline for BORIS: a table of aggregated events, and a project.

BORIS exports aggregated events and does not read them back: a person opens ``review.boris``, codes the video with the
behaviours of the category ``seen``, and saves or exports the project. The model's predictions are in the category
``model`` and are never read back as a person's opinion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

from fer_id.csv_text import csv_text
from fer_id.video.timeline import ANSWERED, NO_FACE, STATUSES, Segment, Timeline

COLUMNS = (
    *("Observation id", "Observation date", "Description", "Media file", "Total length", "FPS"),
    *("Subject", "Behavior", "Behavioral category", "Modifiers", "Behavior type"),
    *("Start (s)", "Stop (s)", "Duration (s)", "Comment start", "Comment stop", "Time offset (s)"),
)
"""Columns of a table of aggregated events as BORIS 7 exports it, and the offset that BORIS 8 adds."""

MODEL, SEEN = "model", "seen"
NOBODY = "No focal subject"
SHA256_MARK, SUBJECT_MARK = "sha256:", "subject:"
"""Prefixes, in the observation's name, of the video's checksum and of the tracked person's pseudonym."""

LEFT = tuple(status for status in STATUSES if status != ANSWERED)  # statuses of segments without an answer
_PREFIX = f"{MODEL}: "
_TICK = 0.001  # seconds: one event ends before the next of the same behaviour begins


def write_table(timeline: Timeline, media: str) -> bytes:
    """Return a CSV table with a row per segment; ``Behavior`` is ``model: <class>``, or the status without an answer.
    ``media`` is the path of the video as seen from the folder of the file."""
    video, rows = timeline.video, list[tuple[str, ...]]()
    length = (f"{video.length_s:.3f}", f"{video.fps:.3f}")
    facts = (_observation(timeline), _now(), timeline.about.sentence, media, *length)
    for segment in _events(timeline):
        start, end = segment.start_s, segment.end_s
        times = (f"{start:.3f}", f"{end:.3f}", f"{end - start:.3f}")
        rows.append((*facts, NOBODY, _behaviour(segment), MODEL, "", "STATE", *times, segment.words, "", "0"))
    return csv_text(COLUMNS, (dict(zip(COLUMNS, row, strict=True)) for row in rows)).encode()


def write_project(timeline: Timeline, media: str) -> bytes:
    """Return a project (JSON) with one observation of the video and the classes as behaviours."""
    video, name = timeline.video, _observation(timeline)
    events: list[tuple[float, str, str, str, str]] = []
    for segment in _events(timeline):
        behaviour = _behaviour(segment)
        events.append((round(segment.start_s, 3), "", behaviour, "", segment.words))
        events.append((round(segment.end_s - _TICK, 3), "", behaviour, "", ""))
    media_files = {"file": {str(player): [media] if player == 1 else [] for player in range(1, 9)}, "type": "MEDIA"}
    facts = {"length": {media: video.length_s}, "fps": {media: video.fps}, "hasVideo": {media: True}}
    observation = {
        **media_files,
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


def _events(timeline: Timeline) -> Iterator[Segment]:
    """Yield the segments with a face, and the gaps instead of the segments without, by time."""
    segments = [segment for segment in timeline.segments() if segment.status != NO_FACE]
    yield from sorted([*segments, *timeline.gaps()], key=lambda segment: (segment.start_s, segment.status))


def _behaviour(segment: Segment) -> str:
    return f"{_PREFIX}{segment.answer}" if segment.status == ANSWERED else segment.status


def is_models(behaviour: str) -> bool:
    """Return whether a behaviour is the model's prediction, not a person's opinion."""
    return behaviour.startswith(_PREFIX) or behaviour in LEFT


def _ethogram(timeline: Timeline) -> dict[str, dict[str, str]]:
    """Return the project's behaviours: a person's, each with a key, and the model's."""
    keys = iter("123456789abcdefghijklmnopqrstuvwxyz")
    codes = [(label, SEEN, next(keys)) for label in timeline.labels.names]
    codes += [(f"{_PREFIX}{label}", MODEL, "") for label in timeline.labels.names]
    codes += [(status, MODEL, "") for status in LEFT]
    blank = {"description": "", "color": "", "modifiers": "", "excluded": "", "coding map": ""}
    return {
        str(number): {"type": "State event", "key": key, "code": code, "category": category, **blank}
        for number, (code, category, key) in enumerate(codes)
    }


def _observation(timeline: Timeline) -> str:
    """Return the observation's name, which identifies the video and the person when the file is read back."""
    person = f" {SUBJECT_MARK}{timeline.subject}" if timeline.subject else ""
    return f"{timeline.video.name} {SHA256_MARK}{timeline.video.sha256}{person}"


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
