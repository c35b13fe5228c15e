"""``fer-id consent check | withdraw SUBJECT | audit``: who takes part, taking someone out, and the log of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from fer_id.errors import ConfigError
from fer_id.files import atomic_write_text
from fer_id.governance.audit import AuditLog
from fer_id.governance.consent import remember_withdrawal
from fer_id.governance.erasure import Erased, erase_from_runs, erase_from_store
from fer_id.governance.keys import PSEUDONYM, Key, keys_home
from fer_id.settings import Clash, setting


@dataclass
class ConsentConfig:
    """What to do, and with whose records."""

    action: str = setting(
        "check",
        choices=("check", "withdraw", "audit"),
        help="check: who takes part today and who does not; withdraw: erase SUBJECT; audit: verify and show the log",
    )
    subject: str = setting("", help="of withdraw: the name in subjects.csv, or a pseudonym")
    cohort: str | None = setting(None, help="the cohort folder; withdraw adds a row to its consent.csv")
    store: list[str] = setting([], help="stores that hold the subject")
    runs: str = setting("runs", help="folder of all runs")
    keys: str | None = setting(None, help="folder of the site's key and audit log; else $FER_ID_KEYS, ~/.config/fer_id")

    def clashes(self) -> Iterator[Clash]:
        """Nothing to check, or nobody to withdraw."""
        if self.action == "check" and not self.cohort:
            yield Clash(("cohort",), "is empty; say cohort=FOLDER, whose consent is to be checked")
        if self.action == "withdraw" and not self.subject:
            yield Clash(("subject",), "is empty; say fer-id consent withdraw SUBJECT")
        if self.action != "withdraw" and self.subject:
            yield Clash(("subject",), f"is of withdraw only, not of {self.action}")


def consent(config: ConsentConfig) -> str:
    """Does what ``action`` says, and tells what was done."""
    home = keys_home(config.keys)
    actions = {"check": _check, "withdraw": _withdraw, "audit": _audit}
    return actions[config.action](config, home)


def _check(config: ConsentConfig, home: Path) -> str:
    """Every subject with what its consent allows today."""
    from data_modules.cohort import decisions
    from data_modules.manifests import read_manifests
    from fer_id.governance.consent import withdrawals

    manifests = read_manifests(Path(str(config.cohort)))
    key, gone = (Key.load(home), withdrawals(home)) if (home / "key").exists() else (None, {})
    lines, admitted = [], 0
    for subject, decision in decisions(manifests, key, gone, date.today()).items():
        admitted += bool(decision.purposes)
        until = decision.record.expires_on if decision.record else None
        allowed = f"{', '.join(sorted(decision.purposes))}{f' until {until}' if until else ''}"
        lines.append(f"  {subject}: {allowed if decision.purposes else 'NO: ' + decision.reason}")
    return "\n".join([f"{config.cohort}: {admitted} of {len(lines)} subjects take part today", *lines])


def _withdraw(config: ConsentConfig, home: Path) -> str:
    """Erases a subject wherever it is told to; the withdrawal is noted first, so that nothing loads meanwhile."""
    key, today = Key.load(home), date.today()
    log = AuditLog(home, key)
    log.verify()
    subject = config.subject if PSEUDONYM.fullmatch(config.subject) else key.pseudonym("subject", config.subject)
    if config.cohort:
        _record_withdrawal(Path(config.cohort) / "consent.csv", config.subject, today)
    remember_withdrawal(home, subject, today)
    clips = {store: erase_from_store(Path(store), subject) for store in config.store}
    reason = f"{subject} withdrew on {today}"
    runs = erase_from_runs(Path(config.runs), subject, reason)
    log.append(
        "withdrawn",
        subject=subject,
        clips_erased=sum(clips.values()),
        quarantined=[str(path) for path in runs.quarantined],
        cleaned=[str(path) for path in (*runs.cleaned, *runs.removed)],
    )
    return _told(subject, clips, runs)


def _told(subject: str, clips: dict[str, int], runs: Erased) -> str:
    lines = [f"{subject} is withdrawn: no store that holds it opens here any more"]
    lines += [f"  {store}: {count} clips erased" for store, count in clips.items()]
    lines += [f"  quarantined, because it learned from this child: {path}" for path in runs.quarantined]
    lines += [
        f"  its predictions and pictures erased: {path} (fer-id evaluate makes the rest anew)" for path in runs.cleaned
    ]
    lines += [f"  removed, a fold of this child alone: {path}" for path in runs.removed]
    lines += [f"  DELETE BY HAND at W&B: run {name}" for name in runs.uploaded]
    if runs.quarantined:
        lines.append("to train again without the child: the same fer-id train command under another name=")
    if not clips:
        lines.append("no store= was given: copies elsewhere are refused on this machine, but still hold the frames")
    lines.append("not touched: the site's own videos and tables")
    return "\n".join(lines)


def _record_withdrawal(path: Path, subject: str, today: date) -> None:
    """Adds the withdrawal to the history in ``consent.csv``; a row of the same day gives way to it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror})") from None
    header, *rows = list(csv.reader(io.StringIO(text)))
    names = [name.strip() for name in header]
    who, when = names.index("subject_id"), names.index("recorded_on")
    if subject not in {row[who].strip() for row in rows if row}:
        raise ConfigError(f"{path}: nobody is called {subject!r} there; give the name as it stands in subjects.csv")
    kept = [row for row in rows if row and not (row[who].strip() == subject and row[when].strip() == today.isoformat())]
    new = {"subject_id": subject, "recorded_on": today.isoformat(), "status": "withdrawn"}
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *kept, [new.get(name, "") for name in names]])
    atomic_write_text(path, out.getvalue())


def _audit(config: ConsentConfig, home: Path) -> str:
    """The log, after its chain was verified."""
    lines = AuditLog(home, Key.load(home)).verify()
    shown = [f"  {line['time']} {line['event']}: {_facts(line)}" for line in lines]
    return "\n".join([f"{home}: {len(lines)} entries, unchanged since they were written", *shown])


def _facts(line: dict[str, object]) -> str:
    return ", ".join(
        f"{key} {value}" for key, value in line.items() if key not in ("n", "time", "event", "mac") and value
    )
