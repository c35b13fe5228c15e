"""``fer-id consent check | withdraw | erase | audit``: admitted subjects, withdrawal and erasure, and the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import PSEUDONYM, Key, keys_home
from fer_id.consent.records import ConsentError, known_withdrawals, remember_withdrawal, withdrawals
from fer_id.errors import MOST_CHARACTERS, FerIdError, Problems
from fer_id.runs.erasure import Erased, erase_from_runs, erase_from_store
from fer_id.settings import Clash, setting
from fer_id.store.card import StoreCard

if TYPE_CHECKING:
    from data_modules.cohort.admission import ConsentTable

T = TypeVar("T")


@dataclass
class ConsentConfig:
    """Action and subject. The site's key and log are in $FER_ID_KEYS, or without it in ~/.config/fer_id."""

    action: str = setting(
        "check",
        choices=("check", "withdraw", "erase", "audit"),
        help="check: who takes part today; withdraw: note that SUBJECT withdrew, and erase; erase: from further "
        "copies, without noting it anew; audit: verify and show the log",
    )
    subject: str = setting("", help="of withdraw and erase: the name in subjects.csv, or a pseudonym")
    cohort: str | None = setting(None, help="the cohort folder; withdraw adds a row to its consent.csv")
    store: list[str] = setting([], help="stores that hold the subject")
    runs: str = setting("runs", help="folder of all runs")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of an action without its cohort or subject."""
        erases = self.action in ("withdraw", "erase")
        if self.action == "check" and not self.cohort:
            yield Clash(("cohort",), "is empty; say cohort=FOLDER, whose consent is to be checked")
        if erases and not self.subject:
            yield Clash(("subject",), f"is empty; say fer-id consent {self.action} SUBJECT")
        if not erases and self.subject:
            yield Clash(("subject",), f"is of withdraw and erase only, not of {self.action}")


def consent(config: ConsentConfig) -> str:
    """Carry out ``action``; return a text on the result."""
    actions = {"check": _check, "withdraw": _erase, "erase": _erase, "audit": _audit}
    return actions[config.action](config, keys_home())


def _check(config: ConsentConfig, home: Path) -> str:
    """Return a line per subject with the purposes that its consent covers today."""
    from data_modules.cohort.admission import decisions
    from data_modules.cohort.manifests import read_manifests

    manifests = read_manifests(Path(str(config.cohort)))
    key = Key.load(home) if (home / "key").exists() else None
    gone = known_withdrawals(home, AuditLog(home, key)) if key else {}
    lines, admitted = [], 0
    for subject, decision in decisions(manifests, key, gone, date.today()).items():
        admitted += bool(decision.purposes)
        until = decision.record.expires_on if decision.record else None
        allowed = f"{', '.join(sorted(decision.purposes))}{f' until {until}' if until else ''}"
        lines.append(f"  {subject}: {allowed if decision.purposes else 'NO: ' + decision.reason}")
    lines += manifests.notes
    if key is None:
        lines.append(f"no key in {home} (FER_ID_KEYS): withdrawals that were made elsewhere are not known here")
    return "\n".join([f"{config.cohort}: {admitted} of {len(manifests.subjects)} subjects take part today", *lines])


def _erase(config: ConsentConfig, home: Path) -> str:
    """Erase a subject from the stores and runs of the configuration; raise ConsentError for an unknown subject, or a
    failed erasure with what was erased.

    Everything is checked before anything is erased; a withdrawal is recorded first, so that nothing is loaded
    meanwhile; and a place that cannot be erased does not stop the others.
    """
    from data_modules.cohort.admission import ConsentTable

    key, today = Key.load(home), date.today()
    log, problems = AuditLog(home, key), Problems("not everything could be erased")
    table = ConsentTable(Path(config.cohort)) if config.cohort else None
    subject, name = _identify(config, key, table, home)
    if config.action == "withdraw":
        remember_withdrawal(home, subject, today)
        if table is not None and name is not None:
            table.withdraw(name, today)
        _try(problems, partial(log.append, "withdrawn", subject=subject))
    clips = {store: _try(problems, partial(erase_from_store, Path(store), subject)) for store in config.store}
    runs = erase_from_runs(Path(config.runs), subject, f"{subject}: consent ended; erased on {today}")
    problems.found += runs.problems
    done = {"clips_erased": sum(count or 0 for count in clips.values()), "runs_quarantined": len(runs.quarantined)}
    _try(problems, partial(log.append, "erased", subject=subject, **done, problems=len(problems)))
    lines = [*_erasures(clips, runs, Path(config.runs)), *_predictions(log, subject)]
    ended = "no store that holds it opens with this key any more, unless it consents anew"
    erased = "erased where it was asked for; no withdrawal is noted, so other copies open as before"
    done_so_far = "\n".join([f"{subject}: {ended if config.action == 'withdraw' else erased}", *lines])
    hint = f"Mend this and give the same command again. Done so far:\n{done_so_far}"
    if len(problems) and len(hint) > MOST_CHARACTERS // 2:
        print(done_so_far)  # in full length, since it lists what has to be deleted by hand
        hint = "Mend this and give the same command again. The standard output lists what was done."
    problems.raise_if_any(ConsentError, hint)
    return done_so_far


def _try(problems: Problems, work: Callable[[], T]) -> T | None:
    """Return the result of ``work``; a failure is added to the problems, and the result is None."""
    try:
        return work()
    except (FerIdError, OSError) as problem:
        problems.add(str(problem))
        return None


def _identify(config: ConsentConfig, key: Key, table: ConsentTable | None, home: Path) -> tuple[str, str | None]:
    """Return the pseudonym, and the name in the cohort's tables where a cohort is set; raise ConsentError for one that
    is not in the audit log, the withdrawals, the tables or the stores."""
    names = {key.pseudonym("subject", name): name for name in (table.names if table else ())}
    argument = config.subject
    subject = argument if PSEUDONYM.fullmatch(argument) else key.pseudonym("subject", argument)
    if table is not None and subject not in names:
        raise ConsentError(
            f"{table.path}: nobody is called {argument!r} there; give the name as it stands in subjects.csv"
        )
    known = {*names, *withdrawals(home)}
    for path in map(Path, config.store):
        if (path / "card.json").is_file():
            known |= set(StoreCard.read(path / "card.json").consent)
    known |= {pseudonym for line in AuditLog(home, key).lines() for pseudonym in line.get("admitted") or ()}
    if subject not in known:
        raise ConsentError(
            f"nobody is known as {argument!r} ({subject}): not in the audit log of {home}, nor in the stores given. "
            "Look at the spelling, and whether FER_ID_KEYS names the key with which the cohort was prepared"
        )
    return subject, names.get(subject)


def _erasures(clips: dict[str, int | None], runs: Erased, root: Path) -> list[str]:
    lines = [f"  {store}: {count} clips erased" for store, count in clips.items() if count is not None]
    lines += [f"  quarantined, because it learned from this child: {path}" for path in runs.quarantined]
    lines += [
        f"  predictions, pictures and W&B files of it erased: {path}; then fer-id evaluate" for path in runs.cleaned
    ]
    lines += [f"  removed, a fold of this child alone: {path}" for path in runs.removed]
    for name in runs.uploaded:
        count = runs.pictures.get(name)
        pictures = f", which was sent {count} {'picture' if count == 1 else 'pictures'} of this child" if count else ""
        lines.append(f"  DELETE BY HAND at W&B: run {name}{pictures}")
    if runs.quarantined:
        lines.append("to train again without the child: the command in the run's job.json under another name=")
    if not clips:
        lines.append("no store= was given: copies elsewhere still hold the frames")
    searched = (
        f"{runs.searched} runs in {root} were searched" if root.is_dir() else f"there is no folder {root} of runs"
    )
    return [*lines, f"{searched}; not touched: comparison pages, the site's own videos and tables"]


def _predictions(log: AuditLog, subject: str) -> list[str]:
    """Return a line on the folders of ``fer-id predict`` about the subject, whose places the log does not hold."""
    entries = (line for line in log.lines() if line.get("event") == "predicted" and line.get("subject") == subject)
    days = [str(line.get("time"))[:10] for line in entries]
    if not days:
        return []
    return [f"  DELETE BY HAND: the folders of {len(days)} predictions about this child, the last of {days[-1]}"]


def _audit(config: ConsentConfig, home: Path) -> str:
    """Verify the log's chain and return its entries, a line each."""
    lines = AuditLog(home, Key.load(home)).verify()
    entries = [f"  {line['time']} {line['event']}: {_facts(line)}" for line in lines]
    return "\n".join([f"{home}: {len(lines)} entries, unchanged since they were written", *entries])


def _facts(line: Mapping[str, object]) -> str:
    return ", ".join(
        f"{key} {value}" for key, value in line.items() if key not in ("n", "time", "event", "mac") and value
    )
