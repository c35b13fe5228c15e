"""Consent records, the purposes they admit on a given day, and the list of withdrawals.

``status`` follows ISO/IEC TS 27560. Only an explicit, unexpired yes of guardian and child admits; anything else, a
missing record included, does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypedDict

from fer_id.consent.audit_log import AuditLog
from fer_id.errors import FerIdError, Problems
from fer_id.files import read_json, write_json

STATUSES = ("unknown", "requested", "given", "renewed", "refused", "withdrawn", "revoked", "expired", "invalidated")
ADMITTING = ("given", "renewed")
PURPOSES = ("training", "evaluation", "inference", "media_sharing")
GUARDIAN = ("yes", "no")
ASSENT = ("yes", "no", "not_capable", "not_asked")


class ConsentError(FerIdError):
    """A subject's consent does not cover the requested use."""


@dataclass(frozen=True)
class ConsentRecord:
    """One row of ``consent.csv``, see docs/COHORT.md; without ``expires_on``, the last valid day, it holds until
    withdrawn."""

    subject_id: str
    recorded_on: date
    status: str
    guardian: str
    assent: str
    purposes: frozenset[str]
    expires_on: date | None
    ethics_ref: str | None


@dataclass(frozen=True)
class Decision:
    """Purposes that one subject's records admit: none and a reason where it is refused; ``record`` is the latest
    one."""

    purposes: frozenset[str]
    reason: str
    record: ConsentRecord | None


def decide(records: Iterable[ConsentRecord], today: date, withdrawn_on: date | None = None) -> Decision:
    """Decide which purposes the records of one subject admit today; the record with the latest ``recorded_on`` counts.
    After a withdrawal by ``fer-id consent withdraw`` only a later record admits again. Raises ConsentError where two
    records of the latest date disagree."""
    history = sorted(set(records), key=lambda record: record.recorded_on)
    if not history:
        return Decision(frozenset(), "no consent row", None)
    last = history[-1]
    if sum(record.recorded_on == last.recorded_on for record in history) > 1:
        raise ConsentError(f"two different records of {last.recorded_on}; only one of them can be the latest")
    reason = _refusal(last, today)
    if not reason and withdrawn_on is not None and last.recorded_on <= withdrawn_on:
        reason = "consent withdrawn"
    return Decision(frozenset() if reason else last.purposes, reason, last)


def _refusal(record: ConsentRecord, today: date) -> str:
    if record.status not in ADMITTING:
        return f"consent {record.status}"
    if record.guardian != "yes":
        return "no consent of a guardian"
    if record.assent == "not_capable" and not record.ethics_ref:
        return "not capable of assent, and no ethics reference allows it"
    if record.assent not in ("yes", "not_capable"):
        return "no assent of the child"
    if record.expires_on is not None and record.expires_on < today:
        return "consent expired"
    return "" if record.purposes else "no purpose covered"


class Snapshot(TypedDict):
    """Entry of an admission in a store's card: purposes and dates, no name, no ethics reference."""

    purposes: list[str]
    recorded_on: str
    expires_on: str | None


def snapshot(decision: Decision) -> Snapshot:
    """Return the entry of an admission; raise ValueError for any other decision."""
    record = decision.record
    if record is None or not decision.purposes:
        raise ValueError("only an admission has a snapshot")
    return {
        "purposes": sorted(decision.purposes),
        "recorded_on": record.recorded_on.isoformat(),
        "expires_on": None if record.expires_on is None else record.expires_on.isoformat(),
    }


def check_snapshot(where: str, consent: Mapping[str, Snapshot], gone: Mapping[str, date], today: date) -> None:
    """Raise ConsentError, with all subjects, where the consent of a store's subjects ended after it was prepared.
    ``consent`` holds the :func:`snapshot` of each pseudonym, ``gone`` comes from :func:`withdrawals`."""
    problems = Problems(where)
    for subject, terms in consent.items():
        expires, withdrawn_on = terms["expires_on"], gone.get(subject)
        if withdrawn_on is not None and date.fromisoformat(terms["recorded_on"]) <= withdrawn_on:
            problems.add(f"{subject}: consent withdrawn on {withdrawn_on}")
        elif expires is not None and date.fromisoformat(expires) < today:
            problems.add(f"{subject}: consent expired on {expires}")
    problems.raise_if_any(
        ConsentError,
        "Erase them from it: fer-id consent erase PSEUDONYM store=FOLDER; or prepare again where consent was renewed.",
    )


def withdrawals(home: Path) -> dict[str, date]:
    """Read ``home/withdrawals.json``: pseudonym -> day of withdrawal; empty where the file is missing."""
    path = home / "withdrawals.json"
    if not os.path.lexists(path):
        return {}
    try:
        return {name: date.fromisoformat(day) for name, day in read_json(path, ConsentError).items()}
    except (TypeError, ValueError) as problem:
        raise ConsentError(f"{path}: damaged ({problem}); bring it back from a copy") from None


def remember_withdrawal(home: Path, subject: str, day: date) -> None:
    """Add a withdrawal to the list; every machine with this list then refuses all copies of the subject's stores."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = withdrawals(home) | {subject: day}
    write_json(home / "withdrawals.json", {name: known[name].isoformat() for name in sorted(known)})


def known_withdrawals(home: Path, log: AuditLog) -> dict[str, date]:
    """Return :func:`withdrawals` after comparing the list with the audit log. Raises AuditError where the log was
    changed, ConsentError where a withdrawal stands in the log but not in the list."""
    gone = withdrawals(home)
    noted = {str(line["subject"]) for line in log.verify() if line["event"] == "withdrawn"}
    if lost := sorted(noted - set(gone)):
        raise ConsentError(
            f"{home / 'withdrawals.json'}: {', '.join(lost)} withdrew, as the audit log says, but is no longer in this "
            "list; bring it back from a copy, or say fer-id consent withdraw again"
        )
    return gone
