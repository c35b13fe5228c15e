"""The audit log: every change of its lines or its head is detected."""

import json
from pathlib import Path

import pytest

from fer_id.consent.audit_log import AuditError, AuditLog
from fer_id.consent.keys import Key


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    log = AuditLog(tmp_path, Key.load(tmp_path, create=True))
    log.begin()
    for number in range(4):
        log.append("prepared", subject=f"s{number}", clips=number)
    return log


def test_lines_are_kept_in_order_and_for_their_owner_only(log: AuditLog) -> None:
    assert [(line["n"], line["event"], line["subject"]) for line in log.verify()] == [
        (number, "prepared", f"s{number}") for number in range(4)
    ]
    assert log.path.stat().st_mode & 0o077 == 0


def edited(lines: list[str]) -> list[str]:
    return [line.replace('"s2"', '"s9"') for line in lines]


def recounted(lines: list[str]) -> list[str]:
    rest = [json.loads(line) for line in lines[1:]]
    return [json.dumps({**line, "n": number}) for number, line in enumerate(rest)]


@pytest.mark.parametrize(
    "change",
    [
        edited,
        recounted,
        lambda lines: lines[:1] + lines[2:],
        lambda lines: lines[:2] + lines[1:],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [*lines[:3], "not json"],
        lambda lines: [*lines, "{}"],
        lambda lines: lines[:-1],
        lambda lines: [],
    ],
    ids=["edited", "first removed", "removed", "repeated", "swapped", "garbled", "added", "cut", "emptied"],
)
def test_every_change_is_detected_and_nothing_is_appended_to_a_changed_log(log: AuditLog, change: object) -> None:
    lines = log.path.read_text().splitlines()
    changed = change(lines)  # type: ignore[operator]
    log.path.write_text("".join(f"{line}\n" for line in changed))
    with pytest.raises(AuditError):
        log.verify()
    with pytest.raises(AuditError):
        log.append("prepared")
    assert log.path.read_text().splitlines() == changed


def test_a_removed_file_or_head_is_detected(log: AuditLog) -> None:
    head = log.path.with_name("audit.head.json")
    content = head.read_text()
    head.unlink()
    with pytest.raises(AuditError):
        log.verify()
    log.path.write_text(log.path.read_text().splitlines()[0] + "\n")
    with pytest.raises(AuditError):
        log.verify()
    head.write_text(content)
    log.path.unlink()
    with pytest.raises(AuditError):
        log.verify()


def test_missing_files_and_a_head_edited_to_fit_a_truncated_log_are_detected(log: AuditLog) -> None:
    head, lines = log.path.with_name("audit.head.json"), log.path.read_text().splitlines()
    log.path.write_text(lines[0] + "\n")
    head.write_text(
        json.dumps({"length": 1, "mac": json.loads(lines[0])["mac"], "seal": json.loads(head.read_text())["seal"]})
    )
    with pytest.raises(AuditError):
        log.verify()
    head.unlink()
    log.path.unlink()
    with pytest.raises(AuditError, match="missing"):
        log.verify()


def test_a_line_torn_by_a_full_disk_is_cut_off(log: AuditLog) -> None:
    whole = log.path.read_text()
    log.path.write_text(whole + '{"n": 4, "time": "2026')
    assert len(log.verify()) == 4
    log.append("erased", place="a\u2028b")
    assert log.path.read_text().startswith(whole)
    assert log.verify()[-1]["place"] == "a\u2028b"


def test_another_key_does_not_verify(log: AuditLog, tmp_path: Path) -> None:
    with pytest.raises(AuditError):
        AuditLog(tmp_path, Key(b"x" * 32)).verify()


def test_a_stop_between_line_and_head_costs_nothing(log: AuditLog, tmp_path: Path) -> None:
    head = tmp_path / "audit.head.json"
    before = head.read_text()
    log.append("withdrawn", subject="s1")
    head.write_text(before)
    assert len(log.verify()) == 5
    log.append("prepared")
    assert len(log.verify()) == 6
