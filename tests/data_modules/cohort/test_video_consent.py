"""The person in a video, and their consent to ``inference``."""

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from data_modules.cohort.admission import Permitted, open_keys, permit
from fer_id.consent.keys import Key
from fer_id.consent.records import ConsentError, remember_withdrawal
from fer_id.errors import DataError

Ask = Callable[..., Permitted]


@pytest.fixture
def ask(site: Path, tmp_path: Path) -> Ask:
    def run(video: str | Path = "videos/drawn7-001-sad.mp4", subject: str = "") -> Permitted:
        return permit(site, site / video, subject, tmp_path / "keys", date.today())

    return run


def consent(site: Path, old: str, new: str) -> None:
    table = site / "consent.csv"
    table.write_text(table.read_text().replace(old, new))


def test_the_person_in_a_video_of_the_cohort_is_known(ask: Ask, tmp_path: Path) -> None:
    permitted = ask()
    key = Key.load(tmp_path / "keys")
    assert permitted.name == "drawn7-001"
    assert permitted.subject == key.pseudonym("subject", "drawn7-001")
    assert permitted.video == key.pseudonym("video", "videos/drawn7-001-sad.mp4")
    assert permitted.until == date(2099, 12, 31)
    assert {"age_group", "severity", "context"} <= set(permitted.groups)
    assert all(permitted.groups.values())


def test_another_video_needs_a_name(ask: Ask, site: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "today.mp4"
    shutil.copy(site / "videos" / "drawn7-001-sad.mp4", elsewhere)
    with pytest.raises(DataError, match=r"is not in clips\.csv.*say subject="):
        ask(elsewhere)
    assert ask(elsewhere, "drawn7-002").name == "drawn7-002"
    with pytest.raises(DataError, match="nobody is called 'drawn7-009'"):
        ask(elsewhere, "drawn7-009")


def test_a_name_that_contradicts_the_table_is_refused(ask: Ask) -> None:
    with pytest.raises(DataError, match="shows drawn7-001, not 'drawn7-002'"):
        ask(subject="drawn7-002")


def test_a_video_of_two_needs_a_name(ask: Ask, site: Path) -> None:
    table = site / "clips.csv"
    lines = table.read_text().splitlines()
    first = next(line for line in lines if line.startswith("drawn7-001-sad"))
    second = first.replace("drawn7-001-sad-00,drawn7-001", "more,drawn7-002").replace("0.000,1.200", "1.200,1.300")
    table.write_text("\n".join([*lines, second]) + "\n")
    with pytest.raises(DataError, match="shows 2 people"):
        ask()
    assert ask(subject="drawn7-002").name == "drawn7-002"


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ("drawn7-001,2026-01-15,given,yes,yes,training;evaluation,", "it covers evaluation, training only"),
        ("drawn7-001,2026-01-15,refused,yes,yes,inference,", "consent refused"),
        ("drawn7-001,2026-01-15,given,yes,no,inference,", "no assent of the child"),
        ("drawn7-001,2026-01-15,given,yes,yes,,", "no purpose covered"),
    ],
)
def test_consent_to_other_purposes_is_no_consent_to_inference(ask: Ask, site: Path, new: str, reason: str) -> None:
    old = "drawn7-001,2026-01-15,given,yes,yes,training;evaluation;inference;media_sharing,"
    assert old in (site / "consent.csv").read_text()
    consent(site, old, new)
    with pytest.raises(ConsentError, match=reason):
        ask()


def test_a_withdrawal_with_fer_id_counts_too(ask: Ask, tmp_path: Path) -> None:
    key, log = open_keys(tmp_path / "keys")
    subject = key.pseudonym("subject", "drawn7-001")
    remember_withdrawal(tmp_path / "keys", subject, date.today())
    log.append("withdrawn", subject=subject)
    with pytest.raises(ConsentError, match="consent withdrawn"):
        ask()
