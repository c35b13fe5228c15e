"""The tables of a cohort folder: read as text, judged whole, every problem of every row told at once.

``subjects.csv``, ``clips.csv``, ``consent.csv``; where several people labelled the clips, ``annotations.csv``; where
several people are in the picture, ``faces.csv``. The design says their columns. Only the empty cell is missing.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from data_modules.cohort.face_rows import whose_faces
from data_modules.cohort.group_columns import describe, further_columns, group_columns, left_out_sentence, names_in
from data_modules.cohort.manifest_cells import ANNOTATIONS, CLIPS, CONSENT, FACES, SUBJECTS, is_number, purposes_in
from data_modules.tables import Table
from fer_id.cohort_tables import ANNOTATION_COLUMNS, CLIP_ROW_COLUMNS, CONSENT_COLUMNS, FACE_COLUMNS, SUBJECT_COLUMNS
from fer_id.consent.records import ConsentRecord
from fer_id.csv_text import is_formula
from fer_id.errors import SHOWN, DataError, Problems, cut, quoted
from fer_id.files import read_json
from fer_id.inputs import look_alike
from fer_id.runs.records import Part, Provenance
from fer_id.shapes import record
from fer_id.store.format import CLIP_COLUMNS

MOST_ROWS = 100_000
"""Rows of a cohort's table."""

_DECIMAL_COMMA = re.compile(r"\d+,\d+")
_NUMBERS = ("start_s", "end_s", "confidence")
_OURS = frozenset({*CLIP_COLUMNS, "fold", "flagged", "predicted", "picture", "store", "row", "lost"})
"""Columns that mean something else in a store or in the predictions of a run."""

_OURS_TOO = ("logit_", "p_", "q_", "for_")


class CohortFile(Part):
    """``cohort.json``."""

    provenance: Provenance


@dataclass(frozen=True)
class Manifests:
    """A cohort folder's tables, checked.

    Attributes:
        folder: the cohort.
        subjects: by ``subject_id``, with all columns of the file; text or None.
        clips: one row per annotated clip; ``start_s`` and ``end_s`` are numbers, ``video`` a path inside the folder.
        consent: one record per row.
        annotations: one row per vote, ``confidence`` a number or NaN; None where the cohort has none.
        faces: one row per place on a child's face, ``subject_id`` added, all but it and ``video`` numbers; None where
            the cohort has none.
        provenance: ``real``, unless ``cohort.json`` says otherwise, as it does where people are drawn.
        chosen: further columns that ``data.groups`` names.
        warnings: what is allowed, but worth a look.
    """

    folder: Path
    subjects: pd.DataFrame
    clips: pd.DataFrame
    consent: list[ConsentRecord]
    annotations: pd.DataFrame | None = None
    provenance: str = "real"
    chosen: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    faces: pd.DataFrame | None = None

    @property
    def groups(self) -> list[str]:
        """The group columns of a store: those of the subjects, then the clips' own."""
        return [
            *group_columns(self.subjects, "subjects.csv", self.chosen),
            *group_columns(self.clips, "clips.csv", self.chosen),
        ]

    @property
    def notes(self) -> list[str]:
        """What a person should know of the tables before a store is made of them, a sentence each."""
        tables = {"subjects.csv": self.subjects, "clips.csv": self.clips}
        left_out = {
            file: [name for name in further_columns(table, file) if name not in self.chosen]
            for file, table in tables.items()
        }
        sentence = left_out_sentence(left_out)
        return [*([sentence] if sentence else []), *self.warnings]


def read_manifests(folder: Path, chosen: Sequence[str] = ()) -> Manifests:
    """Reads and checks the tables of a cohort folder.

    Args:
        folder: the cohort.
        chosen: further columns of ``subjects.csv`` and ``clips.csv`` that are group columns too (``data.groups``).

    Raises:
        DataError: every problem of every row of every table, together.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a cohort: subjects.csv, clips.csv, consent.csv and videos")
    problems = Problems(f"cohort {folder}")
    subjects = _read(folder / "subjects.csv", SUBJECT_COLUMNS, SUBJECTS, problems, extra=True)
    clips = _read(folder / "clips.csv", CLIP_ROW_COLUMNS, CLIPS, problems, extra=True)
    consent = _read(folder / "consent.csv", CONSENT_COLUMNS, CONSENT, problems)
    warnings: list[str] = []
    if subjects is not None and clips is not None:
        _check_people(subjects, clips, problems)
        warnings = _check_groups(subjects, clips, chosen, problems)
    if clips is not None:
        _check_times(clips, problems)
        _check_overlaps(folder, clips, problems)
        _check_videos(folder, clips, problems)
    votes = None
    if os.path.lexists(folder / "annotations.csv"):
        votes = _read(folder / "annotations.csv", ANNOTATION_COLUMNS, ANNOTATIONS, problems)
        _check_votes(votes, clips, problems)
    faces = None
    if os.path.lexists(folder / "faces.csv"):
        faces = _read(folder / "faces.csv", FACE_COLUMNS, FACES, problems)
        if faces is not None and clips is not None:
            faces = whose_faces(folder, faces, clips, problems)
    records = [] if consent is None or subjects is None else _records(consent, set(subjects["subject_id"]), problems)
    provenance = _provenance(folder / "cohort.json", problems)
    problems.raise_if_any(DataError, "Mend these cells; nothing was prepared.")
    if subjects is None or clips is None:  # said above, as a problem of its own
        raise DataError(f"cohort {folder}: a table is missing")
    clips = clips.assign(start_s=clips["start_s"].astype(float), end_s=clips["end_s"].astype(float))
    if votes is not None:
        votes = votes.assign(confidence=votes["confidence"].astype(float))
    return Manifests(folder, subjects, clips, records, votes, provenance, tuple(chosen), tuple(warnings), faces)


def _check_people(subjects: pd.DataFrame, clips: pd.DataFrame, problems: Problems) -> None:
    """Clips are of people in ``subjects.csv``."""
    known = set(subjects["subject_id"])
    for number, subject in clips["subject_id"].items():
        if subject and subject not in known:
            problems.add(f"clips.csv, {_line(number)}, column subject_id: {quoted(subject)} is not in subjects.csv")


def _check_groups(subjects: pd.DataFrame, clips: pd.DataFrame, chosen: Sequence[str], problems: Problems) -> list[str]:
    """No group column stands in both tables, means something else in a store, or holds the name of a subject.

    Returns:
        warnings: cells that hold a name which is a number or a single character.
    """
    tables = {"subjects.csv": subjects, "clips.csv": clips}
    groups = {file: group_columns(table, file, chosen) for file, table in tables.items()}
    further = {name for file, table in tables.items() for name in further_columns(table, file)}
    for name in chosen:
        if name not in {*further, *SUBJECT_COLUMNS[1:], *CLIP_ROW_COLUMNS[-1:]}:
            known = ", ".join(map(cut, sorted(further))) or "none"
            problems.add(
                f"data.groups: no column {quoted(name)}; further columns of subjects.csv and clips.csv: {known}"
            )
        elif name in _OURS or name.startswith(_OURS_TOO):
            problems.add(f"data.groups: a column {cut(name)} means something else in a store or run; rename it")
    for name in sorted(
        set(groups["subjects.csv"]) & {*map(str, clips)} | set(groups["clips.csv"]) & {*map(str, subjects)}
    ):
        problems.add(f"clips.csv and subjects.csv both have a column {cut(name)}; keep it in one of them")
    names, warnings = [name for name in subjects["subject_id"] if name], list[str]()
    for file, table in tables.items():
        for found in names_in(table[groups[file]], names):
            sentence = describe(found, file)
            if found.weak:
                warnings.append(f"{sentence}: where it means the child, it must not enter the store")
            else:
                problems.add(f"{sentence}, which must stay here", grave=True)
    return warnings


def _provenance(path: Path, problems: Problems) -> str:
    try:
        if os.path.lexists(path):
            return record(CohortFile, read_json(path, DataError), path.name, DataError).provenance
    except DataError as problem:
        problems.add(str(problem))
    return "real"


def _read(
    path: Path, columns: tuple[str, ...], schema: pa.DataFrameSchema, problems: Problems, *, extra: bool = False
) -> pd.DataFrame | None:
    """A table as text, None for empty cells; None where it cannot be read at all."""
    table = Table(path, columns, extra=extra, most_rows=MOST_ROWS)
    try:
        rows = dict(table.rows())
    except DataError as problem:
        problems.include(table.problems, path.name)
        if not len(table.problems):
            problems.add(str(problem))
        return None
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=None if rows else list(columns), dtype=object)
    for name in frame:  # a path stays as it is: on some disks the names of files are composed otherwise
        cells = [cell.strip() or None for cell in frame[name]]
        frame[name] = cells if name == "video" else [cell and unicodedata.normalize("NFC", cell) for cell in cells]
    frame = frame.astype(object).where(frame.notna(), None)
    if frame.empty:
        problems.add(f"{path.name}: no row")
        return frame
    for name in frame:
        for number, cell in frame[name].items():
            if cell is not None and is_formula(cell):
                where = f"{path.name}, {_line(number)}, column {cut(name)}"
                problems.add(f"{where}: a spreadsheet formula ({quoted(cell)}); give its value", kind="formula")
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as found:
        cases = found.failure_cases.sort_values("index", kind="stable")
        for case in cases.to_dict("records"):
            cell, where = frame.at[case["index"], case["column"]], f"{path.name}, {_line(case['index'])}"
            wrong = _wrong_cell(None if cell is None else str(cell), str(case["check"]), str(case["column"]))
            problems.add(f"{where}, column {case['column']}: {wrong}", grave=case["column"] == "status")
    return frame


def _wrong_cell(cell: str | None, check: str, column: str) -> str:
    """What a cell holds and should hold."""
    if column in _NUMBERS and cell is not None and _DECIMAL_COMMA.fullmatch(cell):
        return f"{quoted(cell)} has a decimal comma; write {cell.replace(',', '.')}"
    expected = {"not_nullable": "a value", "field_uniqueness": "a value that stands once"}.get(check, check)
    return f"{'nothing' if cell is None else quoted(cell)}, expected {expected}"


def _check_votes(votes: pd.DataFrame | None, clips: pd.DataFrame | None, problems: Problems) -> None:
    """Every vote is about a clip that there is, and nobody votes twice."""
    if votes is None or clips is None:
        return
    known, seen = set(clips["clip_id"]), set[tuple[str, str]]()
    for number, clip, who in votes[["clip_id", "annotator"]].itertuples():
        where = f"annotations.csv, {_line(number)}"
        if clip and clip not in known:
            problems.add(f"{where}, column clip_id: {quoted(clip)} is not in clips.csv")
        if (clip, who) in seen:
            problems.add(f"{where}: {cut(who)} labelled {cut(clip)} before", kind="labelled before")
        seen.add((clip, who))


def _check_times(clips: pd.DataFrame, problems: Problems) -> None:
    """Every clip ends after it begins."""
    for number, start, end in clips[["start_s", "end_s"]].itertuples():
        if start and end and is_number(start) and is_number(end) and float(end) <= float(start):
            problems.add(f"clips.csv, {_line(number)}: ends at {end} s, which is not after its start at {start} s")


def _check_overlaps(folder: Path, clips: pd.DataFrame, problems: Problems) -> None:
    """No two subjects at one time in one video: one face is followed, and nobody could tell whose it is."""
    known = clips.dropna(subset=["video", "start_s", "end_s", "subject_id"])
    known = known[known[["start_s", "end_s"]].map(is_number).all(axis=1)]
    of_file: dict[Path, list[tuple[float, float, str, Any]]] = {}
    for number, video, start, end, subject in known[["video", "start_s", "end_s", "subject_id"]].itertuples():
        with suppress(OSError, RuntimeError, ValueError):  # told by _check_videos
            of_file.setdefault((folder / video).resolve(), []).append((float(start), float(end), subject, number))
    for spans in of_file.values():
        running: dict[str, tuple[float, Any]] = {}  # subject -> the latest end so far, and whose line it is
        for start, end, subject, number in sorted(spans):
            other = next((line for who, (until, line) in running.items() if who != subject and until > start), None)
            if other is not None:
                problems.add(
                    f"clips.csv, {_line(number)}: overlaps with {_line(other)} of another subject in the same video; "
                    "nobody can tell whose face is followed: cut the video to one of them"
                )
            running[subject] = max(running.get(subject, (0.0, number)), (end, number))


def _line(number: Any) -> str:
    """Where a spreadsheet shows the row; its header is line 1."""
    return f"line {number + 2}"


def _check_videos(folder: Path, clips: pd.DataFrame, problems: Problems) -> None:
    """Every video is a file inside the cohort, links followed."""
    root, missing = folder.resolve(), 0
    for number, video in clips["video"].items():
        if video is None:
            continue
        path, where = Path(video), f"clips.csv, {_line(number)}, column video: {quoted(video)}"
        try:
            inside, there = (folder / path).resolve().is_relative_to(root), (folder / path).is_file()
        except (OSError, RuntimeError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or cut(problem)
            problems.add(f"{where} is no file that can be looked at ({reason})", kind="not looked at")
            continue
        if path.is_absolute() or ".." in path.parts or "\\" in video:
            problems.add(f"{where}, expected a path inside the cohort folder, such as videos/a.mp4", grave=True)
        elif not inside:
            problems.add(f"{where} is a link that leads out of the cohort folder", grave=True)
        elif not there:
            missing += 1
            other = "; there is something of that name, which is no file" if (folder / path).exists() else ""
            hint = look_alike(folder / path) if missing <= SHOWN else ""  # each looks through a folder
            problems.add(f"{where}, no such file in {folder}{other or hint}", kind="no such file")


def _records(consent: pd.DataFrame, known: set[str], problems: Problems) -> list[ConsentRecord]:
    """The rows as records; those with a cell that was complained of already are left out.

    One of a subject that is in no table is a problem: it may be a withdrawal under a misspelt name.
    """
    records: dict[tuple[str, date], tuple[Any, ConsentRecord]] = {}
    for number, row in consent.to_dict("index").items():
        try:
            record = ConsentRecord(
                subject_id=row["subject_id"],
                recorded_on=date.fromisoformat(row["recorded_on"]),
                status=row["status"],
                guardian=row["guardian"] or "no",
                assent=row["assent"] or "not_asked",
                purposes=frozenset(purposes_in(row["purposes"] or "")),
                expires_on=date.fromisoformat(row["expires_on"]) if row["expires_on"] else None,
                ethics_ref=row["ethics_ref"],
            )
        except (TypeError, ValueError) as problem:
            if not problems:  # else one of its cells was complained of above
                problems.add(f"consent.csv, {_line(number)}: cannot be understood ({problem})")
            continue
        if record.subject_id not in known:
            where = f"consent.csv, {_line(number)}, column subject_id"
            problems.add(f"{where}: {quoted(record.subject_id)} is not in subjects.csv", grave=True)
        if record.recorded_on > date.today():
            problems.add(f"consent.csv, {_line(number)}, column recorded_on: {record.recorded_on} is in the future")
        earlier = records.setdefault((record.subject_id, record.recorded_on), (number, record))
        if earlier[1] != record:
            problems.add(
                f"consent.csv, {_line(number)}: disagrees with {_line(earlier[0])} of the same subject and date; "
                "keep the one that holds"
            )
    return [record for _, record in records.values()]
