"""Reader of corrections made in BORIS: projects and tables of aggregated events, in the reviewed video's time.

BORIS writes an event's time as that of the observation: the time in its first player plus the observation's ``time
offset``. A further player shows its video later by an offset of its own. Both offsets are subtracted here, as BORIS
does where it jumps to an event; an observation whose time cannot be converted to the reviewed video's is refused.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from fer_id.errors import DataError, Problems
from fer_id.files import read_json
from fer_id.inputs import MOST_ANNOTATIONS, read_text
from fer_id.shapes import LATEST_S, Number, Seconds, Text, misfits, record, shown
from fer_id.video.boris_writer import NOBODY, SHA256_MARK, SUBJECT_MARK, is_models
from fer_id.video.corrections import Corrected, Opinion, opinion

OFFSET, SUBJECT = "Time offset (s)", "Subject"
NEEDED = ("Observation id", "Behavior", "Start (s)", "Stop (s)", OFFSET)
MEDIA_COLUMNS = ("Source", "Media file")  # column of an observation's media files in BORIS 8 and in BORIS 7
_ALONE = "expected the reviewed video alone in its player"
_PLAYER = re.compile(r"(?:^|[|\s])player #(\d+): ?")


class Event(BaseModel):
    """The leading fields of a project's event, which is a list; later fields differ between versions of BORIS."""

    time: Seconds
    subject: Text
    behaviour: Text
    modifiers: Text | None = None


class Behaviour(BaseModel):
    """A behaviour of the ethogram."""

    code: Text
    type: Text


class MediaInfo(BaseModel):
    """Media facts of an observation: seconds by which each player starts late."""

    offset: dict[str, Number] = {}


class Observation(BaseModel):
    """An observation of media files."""

    type: Literal["MEDIA"]
    file: dict[str, list[Text]]
    time_offset: Seconds | None = Field(default=None, alias="time offset")
    by_date: bool | None = Field(default=None, alias="media_creation_date_as_offset")
    media_info: MediaInfo = MediaInfo()
    events: list[object]


class Project(BaseModel):
    """A project of BORIS."""

    observations: dict[str, object]
    behaviors_conf: dict[str, Behaviour]


def read_project(path: Path) -> Corrected:
    """Return the opinions coded in the observation that ``fer-id predict`` made, whose events begin and end in turn.

    Raise DataError, with all problems together, where the file is no project, or one without that observation; an event
    is malformed, never ends or lies outside of the video; or a time is not the reviewed video's.
    """
    project = record(Project, read_json(path, DataError), str(path), DataError)
    ours = [name for name in project.observations if SHA256_MARK in name]
    if len(ours) != 1:
        raise DataError(f"{path}: {len(ours)} observations that `fer-id predict` made, expected one")
    observation = record(Observation, project.observations[ours[0]], f"{path}: the observation", DataError)
    file, problems = _of_observation(path, ours[0]), Problems(str(path))
    offset = _offset(observation, file, problems)
    types = {behaviour.code: behaviour.type for behaviour in project.behaviors_conf.values()}
    events = list(_events(observation.events, types, problems))
    opinions = list(_paired(events, offset, problems))
    _require_one_person({event.subject for _, event in events}, problems)
    problems.raise_if_any(DataError, "Mend it in BORIS, and save it again.")
    return file.holding(opinions)


def read_table(path: Path) -> Corrected:
    """Return the opinions in a table of aggregated events, from ``fer-id predict`` or any version of BORIS.

    Cells are separated by commas, semicolons or tabs. Raise DataError, with all problems together, where the file is no
    such table, has several observations, or was not begun by ``fer-id predict``; or a row cannot be read, or its time
    is not the reviewed video's.
    """
    rows = list(_rows(path))
    names = sorted({row["Observation id"] for _, row in rows})
    if len(names) != 1:
        raise DataError(f"{path}: {len(names)} observations; expected one, of the video that was reviewed")
    file, problems = _of_observation(path, names[0]), Problems(str(path))
    people, opinions = set[str](), list[Opinion]()
    for line, row in rows:
        label = row["Behavior"].strip()
        if not label or is_models(label):
            continue
        people.add(row.get(SUBJECT, ""))
        try:
            offset = _table_offset(row, file)
            start, end = (_decimal(row[name]) - offset for name in ("Start (s)", "Stop (s)"))
            opinions.append(_opinion(float(start), float(end), label))
        except ValueError as problem:
            times = f"from {shown(row['Start (s)'])!r} to {shown(row['Stop (s)'])!r}"
            problems.add(f"line {line}: {shown(label)!r} {times}: {problem}")
    _require_one_person(people, problems)
    problems.raise_if_any(DataError)
    return file.holding(opinions)


def _offset(observation: Observation, file: Corrected, problems: Problems) -> float:
    """Return the observation's time at which the reviewed video begins, in seconds."""
    players = {player: files for player, files in observation.file.items() if files}
    ours = [player for player, files in players.items() if any(map(file.is_played_by, files))]
    if len(ours) != 1:
        named = ", ".join(shown(media) for files in players.values() for media in files)[:300] or "none"
        problems.add(f"its media files are {named}; expected the reviewed video {shown(file.video)!r} once")
        return 0.0
    player = ours[0]
    if len(players[player]) > 1:
        problems.add(
            f"player {shown(player)} plays {len(players[player])} media files, whose times are added; {_ALONE}"
        )
    if observation.by_date:
        problems.add("its times are dates (media creation date as offset); expected seconds of the video")
    own = observation.media_info.offset.get(player, 0.0)
    if player == "1" and own:
        problems.add(f"player 1, whose time is the observation's, has the offset {own:g} s; expected 0")
    return (observation.time_offset or 0.0) + own


def _events(events: list[object], types: dict[str, str], problems: Problems) -> Iterator[tuple[int, Event]]:
    """Yield the state events that a person coded, not the model's, numbered from 1; add malformed, unknown and
    point events to ``problems``. ``types`` maps a behaviour's code to its type in BORIS."""
    for number, raw in enumerate(events, start=1):
        if not isinstance(raw, list):
            problems.add(f"event {number} is {shown(raw)}, expected a list of {', '.join(Event.model_fields)}")
            continue
        fields = dict(zip(Event.model_fields, raw, strict=False))
        if wrong := misfits(Event, fields):
            problems.found += [f"event {number}: {line}" for line in wrong]
            continue
        event = Event.model_validate(fields)
        if is_models(event.behaviour):
            continue
        kind = types.get(event.behaviour)
        if kind is None or not kind.lower().startswith("state"):
            what = "is no behaviour of the project" if kind is None else f"is a {kind.lower()}"
            problems.add(f"event {number}: {shown(event.behaviour)!r} {what}; expected a state event, which has an end")
            continue
        yield number, event


def _paired(events: Iterable[tuple[int, Event]], offset: float, problems: Problems) -> Iterator[Opinion]:
    """Yield the stretch between each state event's beginning and end; add events without an end to ``problems``."""
    begun = dict[tuple[str, str, str | None], tuple[int, Event]]()
    for number, event in sorted(events, key=lambda item: item[1].time):
        key = (event.subject, event.behaviour, event.modifiers or None)
        if key not in begun:
            begun[key] = number, event
            continue
        first, start = begun.pop(key)
        try:
            yield _opinion(start.time - offset, event.time - offset, event.behaviour)
        except ValueError as problem:
            problems.add(f"events {first} and {number}: {shown(event.behaviour)!r} {problem}")
    for number, event in begun.values():
        problems.add(
            f"event {number}: {shown(event.behaviour)!r} begins at {event.time:.3f} s and never ends "
            "(BORIS: Fix unpaired events)"
        )


def _require_one_person(subjects: set[str], problems: Problems) -> None:
    """Add a problem where events have several focal subjects: labels belong to the person whose face was tracked."""
    people = sorted(subjects - {"", NOBODY}) + [NOBODY] * bool(subjects & {"", NOBODY})
    if len(people) > 1:
        named = ", ".join(map(shown, people))[:300]
        problems.add(
            f"its focal subjects are {named}; expected one, the person whose face was followed: remove the others"
        )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table with their line numbers; raise DataError with every malformed row."""
    text = read_text(path, DataError, most=MOST_ANNOTATIONS)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader, problems = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), Problems(str(path))
    rows, header, line = list[tuple[int, dict[str, str]]](), list[str](), 1
    try:
        for cells in reader:
            if not header:
                header = cells
            elif reader.line_num > line or len(cells) not in (0, len(header)):
                cut = "a quotation mark is opened and not closed" if reader.line_num > line else f"{len(cells)} cells"
                problems.add(f"line {line}: {cut}; expected {len(header)} cells on one line")
            elif cells:
                rows.append((line, dict(zip(header, cells, strict=True))))
            line = reader.line_num + 1
    except csv.Error as problem:
        raise DataError(f"{path}: line {line}: a quotation mark is opened and not closed ({problem})") from None
    missing = [name for name in NEEDED if name not in header]
    twice = [name for name in (*NEEDED, SUBJECT, *MEDIA_COLUMNS) if header.count(name) > 1]
    if missing or twice or not (rows or len(problems)):
        wrong = f"columns missing: {', '.join(missing)}" if missing else f"columns there twice: {', '.join(twice)}"
        raise DataError(
            f"{path}: {wrong if missing or twice else 'no row'}; expected the aggregated events of an observation, as "
            "a current BORIS exports them. An older one leaves the time offset out: save the project, and give its "
            ".boris file"
        )
    problems.raise_if_any(DataError)
    yield from rows


def _table_offset(row: dict[str, str], file: Corrected) -> Decimal:
    """Return the observation's time at which the reviewed video begins, or raise ValueError."""
    for column in MEDIA_COLUMNS:
        first = _first_player(row[column]) if column in row else None
        if first is not None and not (file.is_played_by(first) and first.count(";") == file.video.count(";")):
            raise ValueError(f"column {column} is {shown(row[column])!r}, {_ALONE}, the first")
    return _decimal(row[OFFSET] or "0")


def _first_player(cell: str) -> str:
    """Return the path that the first player plays, or several paths separated by semicolons."""
    parts = _PLAYER.split(cell)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get("1", parts[0]).strip()


def _decimal(cell: str) -> Decimal:
    """Return the exact number of seconds in a cell, or raise ValueError."""
    try:
        value = Decimal(cell.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or abs(value) > LATEST_S:
        hint = " (a decimal comma; expected a point)" if re.fullmatch(r"-?\d+,\d+", cell.strip()) else ""
        raise ValueError(f"{shown(cell)!r} is no number of seconds{hint}")
    return value


def _of_observation(path: Path, name: str) -> Corrected:
    """Return the file without opinions; the observation's name identifies the video."""
    video, _, rest = name.rpartition(SHA256_MARK)
    sha256, _, subject = rest.partition(SUBJECT_MARK)
    return Corrected(path, video.strip(), sha256.strip(), subject.strip())


def _opinion(start: float, end: float, label: str) -> Opinion:
    return opinion(round(start, 6), round(end, 6), label, "a state event, its end after its start")
