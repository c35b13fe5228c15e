"""Consent: what a history of records allows today, and whom nobody may load any more.

``status`` follows ISO/IEC TS 27560. Only an explicit, unexpired yes of guardian and child admits; anything else,
silence included, does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from fer_id.consent.audit_log import AuditLog
from fer_id.errors import FerIdError, Problems
from fer_id.files import read_json, write_json

STATUSES = ("unknown", "requested", "given", "renewed", "refused", "withdrawn", "revoked", "expired", "invalidated")
ADMITTING = ("given", "renewed")
PURPOSES = ("training", "evaluation", "inference", "media_sharing")
GUARDIAN = ("yes", "no")
ASSENT = ("yes", "no", "not_capable", "not_asked")


class ConsentError(FerIdError):
    """Somebody's consent does not cover what was asked for."""


@dataclass(frozen=True)
class ConsentRecord:
    """One row of ``consent.csv``; see the design for its columns.

    Attributes:
        purposes: those of :data:`PURPOSES` that are covered.
        expires_on: last day on which it holds; None: until it is taken back.
    """

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
    """What one subject's records allow.

    Attributes:
        purposes: empty: not admitted.
        reason: why not; empty where admitted.
        record: the one that counts, None where there is none.
    """

    purposes: frozenset[str]
    reason: str
    record: ConsentRecord | None


def decide(records: Iterable[ConsentRecord], today: date, withdrawn_on: date | None = None) -> Decision:
    """What the records of one subject allow today; the latest ``recorded_on`` counts.

    Args:
        records: of this subject.
        today: the day.
        withdrawn_on: day of a withdrawal by ``fer-id consent withdraw``; only a later record admits again.

    Raises:
        ConsentError: two records of the latest date disagree.
    """
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


def snapshot(decision: Decision) -> dict[str, Any]:
    """What a store's card keeps of an admission; no name, no reference."""
    record = decision.record
    if record is None or not decision.purposes:
        raise ValueError("only an admission has a snapshot")
    return {
        "purposes": sorted(decision.purposes),
        "recorded_on": record.recorded_on.isoformat(),
        "expires_on": None if record.expires_on is None else record.expires_on.isoformat(),
    }


def check_snapshot(where: str, consent: Mapping[str, Mapping[str, Any]], gone: Mapping[str, date], today: date) -> None:
    """Refuses a store that holds somebody whose consent ended after it was prepared.

    Args:
        where: the store, for the message.
        consent: pseudonym -> :func:`snapshot`.
        gone: of :func:`withdrawals`.
        today: the day.

    Raises:
        ConsentError: all of them.
    """
    problems = Problems(where)
    for subject, kept in consent.items():
        expires, withdrawn_on = kept["expires_on"], gone.get(subject)
        if withdrawn_on is not None and date.fromisoformat(kept["recorded_on"]) <= withdrawn_on:
            problems.add(f"{subject}: consent withdrawn on {withdrawn_on}")
        elif expires is not None and date.fromisoformat(expires) < today:
            problems.add(f"{subject}: consent expired on {expires}")
    problems.raise_if_any(
        ConsentError,
        "Erase them from it: fer-id consent erase PSEUDONYM store=FOLDER; or prepare again where consent was renewed.",
    )


def withdrawals(home: Path) -> dict[str, date]:
    """Who withdrew and when, from ``home/withdrawals.json``: pseudonym -> day; empty where nobody did."""
    path = home / "withdrawals.json"
    if not os.path.lexists(path):
        return {}
    try:
        return {name: date.fromisoformat(day) for name, day in read_json(path, ConsentError).items()}
    except (TypeError, ValueError) as problem:
        raise ConsentError(f"{path}: damaged ({problem}); bring it back from a copy") from None


def remember_withdrawal(home: Path, subject: str, day: date) -> None:
    """Notes a withdrawal: copies of a store, wherever they are, are refused from now on by whoever has this list."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = withdrawals(home) | {subject: day}
    write_json(home / "withdrawals.json", {name: known[name].isoformat() for name in sorted(known)})


def known_withdrawals(home: Path, log: AuditLog) -> dict[str, date]:
    """:func:`withdrawals`, compared with the audit log.

    Raises:
        AuditError: the log was changed.
        ConsentError: somebody's withdrawal stands in the log but no longer in the list.
    """
    gone = withdrawals(home)
    noted = {str(line["subject"]) for line in log.verify() if line["event"] == "withdrawn"}
    if lost := sorted(noted - set(gone)):
        raise ConsentError(
            f"{home / 'withdrawals.json'}: {', '.join(lost)} withdrew, as the audit log says, but is no longer in this "
            "list; bring it back from a copy, or say fer-id consent withdraw again"
        )
    return gone
