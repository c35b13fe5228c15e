"""Reading and checking of a cohort folder's tables; the problems of all rows are reported together.

``subjects.csv``, ``clips.csv``, ``consent.csv``; where several people labelled the clips, ``annotations.csv``; where
several people are in the picture, ``faces.csv``. All cells are read as text; only the empty cell is missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from data_modules.cohort.group_columns import describe, further_columns, group_columns, left_out_sentences, names_in
from data_modules.cohort.manifest_cells import SCHEMAS, line_of, name_of, purposes_in, same_file, timed, whose_faces
from data_modules.tables import Table
from fer_id.cohort_tables import ANNOTATION_COLUMNS, CLIP_ROW_COLUMNS, CONSENT_COLUMNS, FACE_COLUMNS, SUBJECT_COLUMNS
from fer_id.consent.records import ConsentRecord
from fer_id.csv_text import is_formula
from fer_id.errors import SHOWN, DataError, Problems, cut, quoted
from fer_id.files import read_json
from fer_id.inputs import look_alike
from fer_id.preprocessing.face_marks import Mark
from fer_id.runs.records import Part, Provenance
from fer_id.shapes import record
from fer_id.store.format import CLIP_COLUMNS

MOST_ROWS = 100_000
"""Largest number of rows of a cohort's table."""

_DECIMAL_COMMA = re.compile(r"\d+,\d+")
_NUMBERS = ("start_s", "end_s", "confidence")
_OURS = frozenset({*CLIP_COLUMNS, "fold", "flagged", "predicted", "picture", "store", "row", "lost"})
"""Column names with another meaning in a store or in the predictions of a run."""

_OURS_TOO = ("logit_", "p_", "q_", "for_")


class CohortFile(Part):
    """Contents of ``cohort.json``."""

    provenance: Provenance


@dataclass(frozen=True)
class Manifests:
    """Checked tables of a cohort folder; ``annotations`` and ``faces`` are None where the cohort has none."""

    folder: Path
    subjects: pd.DataFrame  # one row per subject, with all columns of the file; text or None
    clips: pd.DataFrame  # one row per annotated clip; start_s and end_s are numbers, video a path inside the folder
    consent: list[ConsentRecord]
    annotations: pd.DataFrame | None = None  # one row per vote, confidence a number or NaN
    provenance: Provenance = "real"  # unless cohort.json has another, as for drawn people
    chosen: tuple[str, ...] = ()  # further columns named in data.groups
    warnings: tuple[str, ...] = ()  # sentences on cells that are allowed but may be a mistake
    faces: pd.DataFrame | None = None  # one row per position of a child's face: subject_id, video, and numbers

    @property
    def groups(self) -> list[str]:
        """Group columns of the store: those of the subjects, then those of the clips."""
        of_subjects = group_columns(self.subjects, "subjects.csv", self.chosen)
        return of_subjects + group_columns(self.clips, "clips.csv", self.chosen)

    @property
    def notes(self) -> list[str]:
        """Sentences for the user before the store is made: columns left out, and warnings."""
        tables = {"subjects.csv": self.subjects, "clips.csv": self.clips}
        further = {file: further_columns(table, file) for file, table in tables.items()}
        left_out = {file: [name for name in names if name not in self.chosen] for file, names in further.items()}
        return [*left_out_sentences(left_out), *self.warnings]

    def clips_of(self, video: Path) -> pd.DataFrame:
        """Return the rows of ``clips.csv`` of a video file, links followed."""
        return self._of_video(self.clips, video)

    def marks_of(self, video: Path, subject: str) -> tuple[Mark, ...]:
        """Return the marks of one child in one video file, by time; empty without rows in ``faces.csv``."""
        if self.faces is None:
            return ()
        own = self._of_video(self.faces[self.faces["subject_id"] == subject], video)[["time_s", "x", "y"]]
        marks = (Mark(time, x, y, f"faces.csv, {line_of(number)}") for number, time, x, y in own.itertuples())
        return tuple(sorted(marks))

    def _of_video(self, rows: pd.DataFrame, video: Path) -> pd.DataFrame:
        file, names = video.resolve(), rows["video"].unique()
        return rows[rows["video"].isin([name for name in names if same_file(self.folder, name) == file])]


def read_manifests(folder: Path, chosen: Sequence[str] = ()) -> Manifests:
    """Read and check the tables of a cohort folder.

    ``chosen`` are further columns of ``subjects.csv`` and ``clips.csv`` that are group columns too (``data.groups``).
    DataError: every problem of every row of every table, together.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a cohort: subjects.csv, clips.csv, consent.csv and videos")
    problems = Problems(f"cohort {folder}")
    subjects = _read(folder / "subjects.csv", SUBJECT_COLUMNS, problems, extra=True)
    clips = _read(folder / "clips.csv", CLIP_ROW_COLUMNS, problems, extra=True)
    consent = _read(folder / "consent.csv", CONSENT_COLUMNS, problems)
    warnings: list[str] = []
    if subjects is not None and clips is not None:
        _require_known(clips["subject_id"], "clips.csv", subjects, problems)
        warnings = _check_groups(subjects, clips, chosen, problems)
    if clips is not None:
        _check_times(timed(folder, clips), clips, problems)
        _check_videos(folder, clips, problems)
    votes = faces = None
    if os.path.lexists(folder / "annotations.csv"):
        votes = _read(folder / "annotations.csv", ANNOTATION_COLUMNS, problems)
        if votes is not None and clips is not None:
            _check_votes(votes, clips, problems)
    if os.path.lexists(folder / "faces.csv"):
        faces = _read(folder / "faces.csv", FACE_COLUMNS, problems)
        if faces is not None and clips is not None:
            faces = whose_faces(folder, faces, clips, problems)
    records = [] if consent is None or subjects is None else _records(consent, subjects, problems)
    provenance = _provenance(folder / "cohort.json", problems)
    problems.raise_if_any(DataError, "Mend these cells; nothing was prepared.")
    if subjects is None or clips is None:  # reported above as a problem; this is for the type checker
        raise DataError(f"cohort {folder}: a table is missing")
    clips = clips.assign(start_s=clips["start_s"].astype(float), end_s=clips["end_s"].astype(float))
    if votes is not None:
        votes = votes.assign(confidence=votes["confidence"].astype(float))
    return Manifests(folder, subjects, clips, records, votes, provenance, tuple(chosen), tuple(warnings), faces)


def _require_known(
    cells: pd.Series, file: str, table: pd.DataFrame, problems: Problems, *, grave: bool = False
) -> None:
    """Check that every cell of a column names a row of ``subjects.csv``, or of ``clips.csv``."""
    known, of = set(table[cells.name]), "subjects.csv" if cells.name == "subject_id" else "clips.csv"
    for number, cell in cells.items():
        if cell and cell not in known:
            where = f"{file}, {line_of(number)}, column {cells.name}"
            problems.add(f"{where}: {quoted(cell)} is not in {of}", grave=grave)


def _check_groups(subjects: pd.DataFrame, clips: pd.DataFrame, chosen: Sequence[str], problems: Problems) -> list[str]:
    """Check that no group column is in both tables, has another meaning in a store, or holds a subject's name.

    Return a warning for each cell with a name that is a number or a single character.
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
    both = set(groups["subjects.csv"]) & {*map(str, clips)} | set(groups["clips.csv"]) & {*map(str, subjects)}
    for name in sorted(both):
        problems.add(f"clips.csv and subjects.csv both have a column {cut(name)}; keep it in one of them")
    names, warnings = [name for name in subjects["subject_id"] if name], list[str]()
    for file, table in tables.items():
        for cell in names_in(table[groups[file]], names):
            sentence = describe(cell, file)
            if cell.weak:
                warnings.append(f"{sentence}: where it means the child, it must not enter the store")
            else:
                problems.add(f"{sentence}, which must stay here", grave=True)
    return warnings


def _provenance(path: Path, problems: Problems) -> Provenance:
    try:
        if os.path.lexists(path):
            return record(CohortFile, read_json(path, DataError), path.name, DataError).provenance
    except DataError as problem:
        problems.add(str(problem))
    return "real"


def _read(path: Path, columns: tuple[str, ...], problems: Problems, *, extra: bool = False) -> pd.DataFrame | None:
    """Return a table as text, None for empty cells; None instead of a table that cannot be read."""
    table = Table(path, columns, extra=extra, most_rows=MOST_ROWS)
    try:
        rows = dict(table.rows())
    except DataError as problem:
        problems.include(table.problems, path.name)
        if not len(table.problems):
            problems.add(str(problem))
        return None
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=None if rows else list(columns), dtype=object)
    for name in frame:  # paths are not normalised: some file systems compose the characters of names differently
        frame[name] = [(cell.strip() if name == "video" else name_of(cell)) or None for cell in frame[name]]
    frame = frame.astype(object).where(frame.notna(), None)
    if frame.empty:
        problems.add(f"{path.name}: no row")
        return frame
    for name in frame:
        for number, cell in frame[name].items():
            if cell is not None and is_formula(cell):
                where = f"{path.name}, {line_of(number)}, column {cut(name)}"
                problems.add(f"{where}: a spreadsheet formula ({quoted(cell)}); give its value", kind="formula")
    try:
        SCHEMAS[path.name].validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases.sort_values("index", kind="stable")
        for case in cases.to_dict("records"):
            cell, where = frame.at[case["index"], case["column"]], f"{path.name}, {line_of(case['index'])}"
            wrong = _wrong_cell(None if cell is None else str(cell), str(case["check"]), str(case["column"]))
            problems.add(f"{where}, column {case['column']}: {wrong}", grave=case["column"] == "status")
    return frame


def _wrong_cell(cell: str | None, check: str, column: str) -> str:
    """Return a text with the content of a wrong cell and what was expected; ``check`` is pandera's name of the failed
    check, or says what is expected."""
    if column in _NUMBERS and cell is not None and _DECIMAL_COMMA.fullmatch(cell):
        return f"{quoted(cell)} has a decimal comma; write {cell.replace(',', '.')}"
    expected = {"not_nullable": "a value", "field_uniqueness": "a value that stands once"}.get(check, check)
    return f"{'nothing' if cell is None else quoted(cell)}, expected {expected}"


def _check_votes(votes: pd.DataFrame, clips: pd.DataFrame, problems: Problems) -> None:
    """Check that every vote is on a clip of ``clips.csv``, and that nobody votes twice on a clip."""
    _require_known(votes["clip_id"], "annotations.csv", clips, problems)
    pairs = votes[["clip_id", "annotator"]]
    for number, clip, who in pairs[pairs.duplicated()].itertuples():
        where = f"annotations.csv, {line_of(number)}"
        problems.add(f"{where}: {cut(who)} labelled {cut(clip)} before", kind="labelled before")


def _check_times(spans: pd.DataFrame, clips: pd.DataFrame, problems: Problems) -> None:
    """Check that every clip ends after its start, and that clips of two subjects do not overlap in a video.

    One face is followed, and it must be known whose.
    """
    for number in spans.index[spans["end_s"] <= spans["start_s"]]:
        start, end = clips.loc[number, ["start_s", "end_s"]]
        problems.add(f"clips.csv, {line_of(number)}: ends at {end} s, which is not after its start at {start} s")
    for _, own in spans.dropna(subset="subject_id").groupby("file", sort=False):
        running: dict[str, tuple[float, Any]] = {}  # subject -> the latest end so far, and its row number
        ordered = own.sort_values(["start_s", "end_s", "subject_id"])
        for number, start, end, subject in ordered[["start_s", "end_s", "subject_id"]].itertuples():
            other = next((line for who, (until, line) in running.items() if who != subject and until > start), None)
            if other is not None:
                problems.add(
                    f"clips.csv, {line_of(number)}: overlaps with {line_of(other)} of another subject in the same "
                    "video; nobody can tell whose face is followed: cut the video to one of them"
                )
            running[subject] = max(running.get(subject, (0.0, number)), (end, number))


def _check_videos(folder: Path, clips: pd.DataFrame, problems: Problems) -> None:
    """Check that every video is a file inside the cohort, links followed."""
    root, missing = folder.resolve(), 0
    for number, video in clips["video"].items():
        if video is None:
            continue
        path, where = Path(video), f"clips.csv, {line_of(number)}, column video: {quoted(video)}"
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
            hint = look_alike(folder / path) if missing <= SHOWN else ""  # look_alike lists a whole folder
            problems.add(f"{where}, no such file in {folder}{other or hint}", kind="no such file")


def _records(consent: pd.DataFrame, subjects: pd.DataFrame, problems: Problems) -> list[ConsentRecord]:
    """Return the rows as records, without rows whose cells are among the problems already.

    A record of a subject that is not in ``subjects.csv`` is a problem: it may be a withdrawal under a misspelt name.
    """
    _require_known(consent["subject_id"], "consent.csv", subjects, problems, grave=True)
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
            if not problems:  # otherwise one of its cells is reported already
                problems.add(f"consent.csv, {line_of(number)}: cannot be understood ({problem})")
            continue
        if record.recorded_on > date.today():
            problems.add(f"consent.csv, {line_of(number)}, column recorded_on: {record.recorded_on} is in the future")
        earlier = records.setdefault((record.subject_id, record.recorded_on), (number, record))
        if earlier[1] != record:
            problems.add(
                f"consent.csv, {line_of(number)}: disagrees with {line_of(earlier[0])} of the same subject and date; "
                "keep the one that holds"
            )
    return [record for _, record in records.values()]
