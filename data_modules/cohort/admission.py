"""Who of a cohort takes part: its tables and the site's records, decided before any video is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pandas as pd

from data_modules.cohort.manifests import Manifests
from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import Key
from fer_id.consent.records import ConsentRecord, Decision, decide
from fer_id.errors import DataError


@dataclass
class Cohort:
    """A cohort whose consent is decided.

    Attributes:
        manifests: its tables.
        key: of the site.
        decisions: by clear subject name.
        clips: of admitted subjects.
        left_out: clips by reason.
    """

    manifests: Manifests
    key: Key
    decisions: dict[str, Decision]
    clips: pd.DataFrame
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def votes(self) -> pd.DataFrame | None:
        """The annotations of admitted subjects' clips; None where there are none."""
        votes = self.manifests.annotations
        return None if votes is None else votes[votes["clip_id"].isin(self.clips["clip_id"])]

    def subject(self, name: str) -> str:
        """A subject's pseudonym."""
        return self.key.pseudonym("subject", name)


def open_keys(home: Path) -> tuple[Key, AuditLog]:
    """The site's key and its verified log; both are begun where there are none.

    Raises:
        ConfigError, AuditError: they are not as they were left.
    """
    new = not (home / "key").exists()
    key = Key.load(home, create=True)
    log = AuditLog(home, key)
    if new:
        log.begin()
    log.verify()
    return key, log


def decisions(manifests: Manifests, key: Key | None, gone: Mapping[str, date], today: date) -> dict[str, Decision]:
    """What each subject's consent allows, by clear name. Without a key nobody can have withdrawn through us."""
    records: dict[str, list[ConsentRecord]] = {name: [] for name in manifests.subjects["subject_id"]}
    for record in manifests.consent:
        if record.subject_id in records:
            records[record.subject_id].append(record)
    pseudonyms = {name: key.pseudonym("subject", name) if key else "" for name in records}
    return {name: decide(rows, today, gone.get(pseudonyms[name])) for name, rows in records.items()}


def admit(manifests: Manifests, key: Key, gone: Mapping[str, date], today: date) -> Cohort:
    """Decides who takes part; clips of others are left out and counted, and their videos are never opened.

    Args:
        manifests: the tables.
        key: of the site.
        gone: withdrawals, pseudonym -> day.
        today: the day.

    Raises:
        DataError: nobody takes part.
    """
    made = decisions(manifests, key, gone, today)
    reason = manifests.clips["subject_id"].map({name: _reason(decision) for name, decision in made.items()})
    cohort = Cohort(manifests, key, made, manifests.clips[reason == ""], Counter(reason[reason != ""].tolist()))
    if cohort.clips.empty:
        why = "; ".join(f"{count} clips: {reason}" for reason, count in cohort.left_out.items())
        raise DataError(f"{manifests.folder}: nobody may take part ({why}); see consent.csv")
    return cohort


def _reason(decision: Decision) -> str:
    """Why a subject's clips are left out; empty where they are not."""
    other = not decision.reason and not decision.purposes & {"training", "evaluation"}
    return "consent for other purposes only" if other else decision.reason
