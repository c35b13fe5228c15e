"""Consent in a cohort folder: admission to a store, permission to predict a video, and withdrawal.

All is decided before any video is opened.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pandas as pd

from data_modules.cohort.manifest_cells import name_of
from data_modules.cohort.manifests import Manifests, read_manifests
from data_modules.tables import Table, append_rows
from fer_id.cohort_tables import CLIP_ROW_COLUMNS, CONSENT_COLUMNS
from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import Key
from fer_id.consent.records import ConsentError, ConsentRecord, Decision, decide, known_withdrawals
from fer_id.errors import DataError
from fer_id.preprocessing.face_marks import Mark

PURPOSE = "inference"
"""Purpose that a prediction needs."""


@dataclass
class Cohort:
    """A cohort with the consent decisions of its subjects, by clear name.

    ``clips`` are those of admitted subjects; ``left_out`` counts the others, by reason.
    """

    manifests: Manifests
    key: Key
    decisions: dict[str, Decision]
    clips: pd.DataFrame
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def votes(self) -> pd.DataFrame | None:
        """Annotations of admitted subjects' clips; None for a cohort without annotations."""
        votes = self.manifests.annotations
        return None if votes is None else votes[votes["clip_id"].isin(self.clips["clip_id"])]

    def subject(self, name: str) -> str:
        """Return a subject's pseudonym."""
        return self.key.pseudonym("subject", name)


def open_keys(home: Path) -> tuple[Key, AuditLog]:
    """Return the site's key and its verified log; missing ones are created.

    Raises:
        ConfigError: the key is damaged, or readable by others.
        AuditError: the log was changed.
    """
    new = not (home / "key").exists()
    key = Key.load(home, create=True)
    log = AuditLog(home, key)
    if new:
        log.begin()
    log.verify()
    return key, log


def decisions(manifests: Manifests, key: Key | None, gone: Mapping[str, date], today: date) -> dict[str, Decision]:
    """Return the consent decision of each subject, by clear name; without a key no withdrawal can be on record."""
    records = defaultdict[str, list[ConsentRecord]](list)
    for record in manifests.consent:
        records[record.subject_id].append(record)
    names = manifests.subjects["subject_id"].tolist()
    gone_of = {name: gone.get(key.pseudonym("subject", name)) if key else None for name in names}
    return {name: decide(records[name], today, day) for name, day in gone_of.items()}


def admit(manifests: Manifests, key: Key, gone: Mapping[str, date], today: date) -> Cohort:
    """Admit subjects by their consent; clips of others are left out and counted, and their videos are not opened.

    ``gone`` is the date of withdrawal by pseudonym; consent has to be valid ``today``. DataError: nobody is admitted.
    """
    by_name = decisions(manifests, key, gone, today)
    reason = manifests.clips["subject_id"].map({name: _reason(decision) for name, decision in by_name.items()})
    cohort = Cohort(manifests, key, by_name, manifests.clips[reason == ""], Counter(reason[reason != ""].tolist()))
    if cohort.clips.empty:
        why = "; ".join(f"{count} clips: {reason}" for reason, count in cohort.left_out.items())
        raise DataError(f"{manifests.folder}: nobody may take part ({why}); see consent.csv")
    return cohort


def _reason(decision: Decision) -> str:
    """Return the reason for leaving a subject's clips out; empty for an admitted subject."""
    other = not decision.reason and not decision.purposes & {"training", "evaluation"}
    return "consent for other purposes only" if other else decision.reason


@dataclass(frozen=True)
class Permitted:
    """A person of a cohort with consent to ``inference`` today; ``subject`` and ``video`` are pseudonyms."""

    name: str  # clear name at the site; not written anywhere
    subject: str
    video: str
    groups: dict[str, set[str]]  # values of the group columns, of the person and of their clips in this video
    provenance: str  # of the cohort; ``synthetic`` people are drawn
    until: date | None  # last day of the consent; None: until it is withdrawn
    log: AuditLog  # of the site
    marks: tuple[Mark, ...] = ()  # positions of the person's face in this video, from ``faces.csv``


def permit(cohort: Path, video: Path, subject: str, home: Path, today: date) -> Permitted:
    """Return the person in a video, after checking that their consent to ``inference`` is valid ``today``.

    ``subject`` is a name in ``subjects.csv``; empty: the subject of the video in ``clips.csv``. ``home`` is the folder
    of key, log and withdrawals.

    Raises:
        DataError: bad tables, or the person in the video is unknown.
        ConsentError: no consent to ``inference``.
    """
    manifests = read_manifests(cohort)
    clips = manifests.clips_of(video)
    name = _whose(manifests, clips, video, subject)
    key, log = open_keys(home)
    decision = decisions(manifests, key, known_withdrawals(home, log), today)[name]
    if PURPOSE not in decision.purposes:
        why = decision.reason or f"it covers {', '.join(sorted(decision.purposes))} only"
        raise ConsentError(
            f"{cohort}: the consent of {name!r} does not cover {PURPOSE} ({why}); see consent.csv. The video was not "
            "opened"
        )
    until = decision.record.expires_on if decision.record else None
    own = clips[clips["subject_id"] == name]
    # A video's pseudonym is that of its path in the cohort, as in a store, or of its name outside.
    file, root = video.resolve(), cohort.resolve()
    place = file.relative_to(root).as_posix() if file.is_relative_to(root) else video.name
    return Permitted(
        name=name,
        subject=key.pseudonym("subject", name),
        video=key.pseudonym("video", place),
        groups=_groups(manifests, name, own),
        provenance=manifests.provenance,
        until=until,
        log=log,
        marks=manifests.marks_of(video, name),
    )


def _whose(manifests: Manifests, clips: pd.DataFrame, video: Path, subject: str) -> str:
    """Return the name of the person in the video; DataError where it is unknown, or not ``subject``."""
    subjects = sorted(set(clips["subject_id"]))
    if subject and subject not in set(manifests.subjects["subject_id"]):
        raise DataError(f"{manifests.folder}: nobody is called {subject!r} in subjects.csv; see subject=")
    if subject and subjects and subject not in subjects:
        raise DataError(f"{video}: clips.csv says that it shows {', '.join(subjects)}, not {subject!r}; see subject=")
    if subject:
        return subject
    if len(subjects) != 1:
        who = f"shows {len(subjects)} people" if subjects else "is not in clips.csv"
        raise DataError(f"{video}: {who}, so nobody knows whose consent counts; say subject=NAME of subjects.csv")
    return str(subjects[0])


def _groups(manifests: Manifests, name: str, clips: pd.DataFrame) -> dict[str, set[str]]:
    person = manifests.subjects[manifests.subjects["subject_id"] == name]
    tables = person.drop(columns="subject_id"), clips.drop(columns=list(CLIP_ROW_COLUMNS[:-1]))
    return {str(column): set(map(str, table[column].dropna())) for table in tables for column in table}


class ConsentTable:
    """``consent.csv`` of a cohort folder; DataError where it is missing, no table, or has other columns."""

    def __init__(self, cohort: Path) -> None:
        self.path = cohort / "consent.csv"
        self.rows = [row for _, row in Table(self.path, CONSENT_COLUMNS).rows()]
        self.names = {name_of(row["subject_id"]) for row in self.rows}  # of all subjects with a record

    def withdraw(self, name: str, today: date) -> None:
        """Append a withdrawal of today, unless the subject has a record of today (the list of withdrawals counts)."""
        day = today.isoformat()
        if not any(name_of(row["subject_id"]) == name and row["recorded_on"].strip() == day for row in self.rows):
            new = {"subject_id": name, "recorded_on": day, "status": "withdrawn"}
            append_rows(self.path, CONSENT_COLUMNS, [new])
