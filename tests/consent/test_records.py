"""Consent decisions: only an explicit, unexpired yes of guardian and child admits a subject."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import Key
from fer_id.consent.records import (
    ASSENT,
    GUARDIAN,
    PURPOSES,
    STATUSES,
    ConsentError,
    ConsentRecord,
    check_snapshot,
    decide,
    known_withdrawals,
    remember_withdrawal,
    snapshot,
    withdrawals,
)

TODAY = date(2026, 6, 1)
YES = ConsentRecord("a", date(2026, 1, 1), "given", "yes", "yes", frozenset({"training"}), date(2026, 12, 31), None)

records = st.builds(
    ConsentRecord,
    subject_id=st.just("a"),
    recorded_on=st.dates(date(2025, 1, 1), TODAY),
    status=st.sampled_from(STATUSES),
    guardian=st.sampled_from(GUARDIAN),
    assent=st.sampled_from(ASSENT),
    purposes=st.frozensets(st.sampled_from(PURPOSES)),
    expires_on=st.none() | st.dates(date(2026, 1, 1), date(2027, 1, 1)),
    ethics_ref=st.none() | st.just("EC-7"),
)


@given(record=records)
def test_every_condition_is_needed(record: ConsentRecord) -> None:
    """The decision equals one boolean expression, written independently of the code's chain of refusals."""
    admits = (
        record.status in {"given", "renewed"}
        and record.guardian == "yes"
        and (record.assent == "yes" or (record.assent == "not_capable" and record.ethics_ref is not None))
        and (record.expires_on is None or record.expires_on >= TODAY)
    )
    decision = decide([record], TODAY)
    assert decision.purposes == (record.purposes if admits else frozenset())
    assert bool(decision.reason) == (not decision.purposes)


@given(history=st.lists(records, min_size=1, max_size=6, unique_by=lambda record: record.recorded_on))
def test_the_latest_record_counts_in_whatever_order_they_come(history: list[ConsentRecord]) -> None:
    latest = max(history, key=lambda record: record.recorded_on)
    assert decide(history, TODAY) == decide([latest], TODAY) == decide(history[::-1], TODAY)


def test_silence_is_no_consent() -> None:
    assert decide([], TODAY).reason == "no consent row"


def test_the_last_day_still_holds_and_the_next_does_not() -> None:
    assert decide([replace(YES, expires_on=TODAY)], TODAY).purposes
    assert decide([replace(YES, expires_on=TODAY - timedelta(days=1))], TODAY).reason == "consent expired"


def test_two_answers_on_one_day_are_no_answer() -> None:
    assert decide([YES, YES], TODAY).purposes
    with pytest.raises(ConsentError, match="two different records"):
        decide([YES, replace(YES, status="refused")], TODAY)


def test_a_withdrawal_outlasts_an_older_yes_and_yields_to_a_newer() -> None:
    assert decide([YES], TODAY, withdrawn_on=date(2026, 3, 1)).reason == "consent withdrawn"
    again = replace(YES, recorded_on=date(2026, 3, 2), status="renewed")
    assert decide([YES, again], TODAY, withdrawn_on=date(2026, 3, 1)).purposes


def test_a_store_is_refused_when_a_consent_in_it_has_ended(tmp_path: Path) -> None:
    consent = {"s1": snapshot(decide([YES], TODAY)), "s2": snapshot(decide([replace(YES, expires_on=None)], TODAY))}
    check_snapshot("store", consent, {}, date(2026, 12, 31))
    with pytest.raises(ConsentError, match="s1: consent expired on 2026-12-31"):
        check_snapshot("store", consent, {}, date(2027, 1, 1))
    remember_withdrawal(tmp_path, "s2", date(2026, 5, 1))
    remember_withdrawal(tmp_path, "s3", date(2026, 5, 2))
    assert withdrawals(tmp_path) == {"s2": date(2026, 5, 1), "s3": date(2026, 5, 2)}
    with pytest.raises(ConsentError, match="s2: consent withdrawn on 2026-05-01"):
        check_snapshot("store", consent, withdrawals(tmp_path), TODAY)
    log = AuditLog(tmp_path, Key.load(tmp_path, create=True))
    log.begin()
    log.append("withdrawn", subject="s2")
    assert known_withdrawals(tmp_path, log) == withdrawals(tmp_path)
    log.append("withdrawn", subject="s4")
    with pytest.raises(ConsentError, match="s4 withdrew, as the audit log says"):
        known_withdrawals(tmp_path, log)
    (tmp_path / "withdrawals.json").write_text('{"s2": "soon"}')
    with pytest.raises(ConsentError, match="damaged"):
        withdrawals(tmp_path)
