"""Consent to predict a video: the person in it, and the consent purpose ``inference``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from data_modules.cohort.admission import decisions, open_keys
from data_modules.cohort.manifests import Manifests, read_manifests
from fer_id.cohort_tables import CLIP_ROW_COLUMNS
from fer_id.consent.audit_log import AuditLog
from fer_id.consent.records import ConsentError, known_withdrawals
from fer_id.errors import DataError
from fer_id.preprocessing.face_marks import Mark

PURPOSE = "inference"


@dataclass(frozen=True)
class Permitted:
    """A person of a cohort with consent to ``inference`` today.

    Attributes:
        name: clear name at the site; not written anywhere.
        subject, video: pseudonyms.
        groups: values of the group columns, of the person and of their clips in this video.
        provenance: provenance of the cohort; ``synthetic`` people are drawn.
        until: last day of the consent; None: until it is withdrawn.
        log: audit log of the site.
        marks: positions of the person's face in this video, from ``faces.csv``.
    """

    name: str
    subject: str
    video: str
    groups: dict[str, set[str]]
    provenance: str
    until: date | None
    log: AuditLog
    marks: tuple[Mark, ...] = ()


def permit(cohort: Path, video: Path, subject: str, home: Path, today: date) -> Permitted:
    """Return the person in a video, after checking that their consent to ``inference`` is valid ``today``.

    Args:
        cohort: the cohort folder.
        video: the file; any file with ``subject``, otherwise a file of ``clips.csv``.
        subject: name in ``subjects.csv``; empty: the subject of the video in ``clips.csv``.
        home: folder of key, log and withdrawals.

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
    tables = (
        person.drop(columns="subject_id"),
        clips.drop(columns=[column for column in CLIP_ROW_COLUMNS[:-1] if column in clips]),
    )
    return {str(column): set(map(str, table[column].dropna())) for table in tables for column in table}
