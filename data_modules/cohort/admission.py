"""Admission of a cohort's subjects by consent, decided before any video is opened."""

from __future__ import annotations

from collections import Counter, defaultdict
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
    records, gone_of = defaultdict[str, list[ConsentRecord]](list), dict[str, date | None]()
    for record in manifests.consent:
        records[record.subject_id].append(record)
    for name in manifests.subjects["subject_id"]:
        gone_of[name] = gone.get(key.pseudonym("subject", name)) if key else None
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
