"""BORIS: the timeline as a table of aggregated events, and as a project, which is what BORIS itself opens.

BORIS exports aggregated events and does not read them back: a person opens ``review.boris``, codes what they see with
the behaviours of the category ``seen``, and saves it or exports it. What the model said is in the category ``model``
and is never taken for somebody's opinion.
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
"""Of a table of aggregated events, as BORIS 7 exports them, and the offset that BORIS 8 adds."""

MODEL, SEEN = "model", "seen"
NOBODY = "No focal subject"
SHA256_MARK, SUBJECT_MARK = "sha256:", "subject:"
"""Stand in the observation's name before the checksum of its video, and before the pseudonym of who was followed."""

LEFT = tuple(status for status in STATUSES if status != ANSWERED)
"""What the model says of a stretch that it does not answer."""

_PREFIX = f"{MODEL}: "
_TICK = 0.001  # seconds: one event ends before the next of the same behaviour begins


def write_table(timeline: Timeline, media: str) -> bytes:
    """A row per stretch; ``Behavior`` is ``model: <class>``, or what it is where there is no answer.

    Args:
        timeline: what is shown.
        media: path of the video as seen from the folder of the file.
    """
    video, rows = timeline.video, list[tuple[str, ...]]()
    seen = (_observation(timeline), _now(), timeline.about.sentence, media, f"{video.length_s:.3f}", f"{video.fps:.3f}")
    for one in _events(timeline):
        times = (f"{one.start_s:.3f}", f"{one.end_s:.3f}", f"{one.end_s - one.start_s:.3f}")
        rows.append((*seen, NOBODY, _behaviour(one), MODEL, "", "STATE", *times, one.words, "", "0"))
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


def _events(timeline: Timeline) -> Iterator[Segment]:
    """What the model said, and the frames without a face, by time; no window twice."""
    told = [one for one in timeline.segments() if one.status != NO_FACE]
    yield from sorted([*told, *timeline.gaps()], key=lambda one: (one.start_s, one.status))


def _behaviour(one: Segment) -> str:
    return f"{_PREFIX}{one.answer}" if one.status == ANSWERED else one.status


def is_models(behaviour: str) -> bool:
    """Return whether a behaviour is what the model said, and nobody's opinion."""
    return behaviour.startswith(_PREFIX) or behaviour in LEFT


def _ethogram(timeline: Timeline) -> dict[str, dict[str, str]]:
    """The behaviours: what a person codes, each with a key, and what the model said."""
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
    """The observation's name, by which the video is known again, and the person."""
    person = f" {SUBJECT_MARK}{timeline.subject}" if timeline.subject else ""
    return f"{timeline.video.name} {SHA256_MARK}{timeline.video.sha256}{person}"


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
