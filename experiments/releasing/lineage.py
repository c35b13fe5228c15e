"""What only the disk tells of a run that is to leave: its store, whose consent holds, the runs it started from, and
whether its numbers are those that its predictions give."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.training.parents import ancestry
from experiments.training.setup import open_run_data
from experiments.training.trained_model import require_own_kind
from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import Key
from fer_id.consent.records import known_withdrawals
from fer_id.errors import FerIdError, RunError
from fer_id.evaluation.config import Breakdown
from fer_id.reporting.report import judged_anew
from fer_id.runs.run_dir import RunDir
from fer_id.store.card import StoreCard
from fer_id.store.reader import ClipStore

if TYPE_CHECKING:
    from data_modules.base import FerDataModule


def site_log(home: Path) -> AuditLog | None:
    """The site's audit log; None without the site's key.

    None is made here: with another key than the one it was prepared with, a cohort's store would not open any more.

    Raises:
        AuditError: it was changed.
    """
    if not (home / "key").exists():
        return None
    log = AuditLog(home, Key.load(home))
    known_withdrawals(home, log)
    return log


def found_on_disk(run: RunDir, evidence: RunDir | None, logged: bool) -> tuple[FerDataModule | None, list[str]]:
    """The data of a run, and every reason against its release that lies on the disk.

    Args:
        run: to be released.
        evidence: the cross-validation whose numbers count.
        logged: whether there is an audit log.

    Returns:
        None for data that cannot be read. Of drawn and simulated children they need not be.
    """
    reasons = []
    for one in (run, *([evidence] if evidence else ())):
        try:
            one.require_consent()
        except RunError as problem:
            reasons.append(str(problem))
        reasons += _contradictions(one)
    try:
        require_own_kind(run)
    except RunError as problem:
        reasons.append(str(problem))
        return None, reasons
    people = False
    for one in _line(run, reasons):
        reasons += _consent_problems(one)
        people = people or _of_people(one)
    if people and not logged:
        reasons.append(
            "there is no key of the site here, so that withdrawals are unknown and the release cannot be logged; let "
            "FER_ID_KEYS name its folder"
        )
    if run.folds or not (run.path / "job.json").is_file():
        return None, reasons
    try:
        return open_run_data(run)[1], reasons
    except FerIdError as problem:
        if (run.job().get("store") or {}).get("provenance") == "real":
            reasons.append(f"its data cannot be read, so that nothing can be checked: {problem}")
        return None, reasons


def _line(run: RunDir, reasons: list[str]) -> Iterator[RunDir]:
    """The run and all whose weights went into it; one that is gone or quarantined is a reason."""
    if not (run.path / "job.json").is_file():
        return
    try:
        yield from ancestry(run, run.path.name)
    except RunError as problem:
        reasons.append(str(problem))


def _of_people(run: RunDir) -> bool:
    """Whether a run learned from real people, rather than from pictures of a benchmark or from drawings."""
    store = run.job().get("store") or {}
    return bool(store.get("provenance") == "real" and store.get("shard_by") == "subject_id")


def _consent_problems(run: RunDir) -> Iterator[str]:
    """Whether everybody in the stores of a run may still be learned from; without a store nobody can tell."""
    for path in map(Path, run.config()["data"]["store"]):
        try:
            if not (path / "card.json").is_file() and not _of_people(run):
                continue
            if not _of_people(run) and not StoreCard.read(path / "card.json").consent:
                continue  # it holds nobody who could withdraw
            ClipStore.open(path)
        except FerIdError as problem:
            yield f"consent of those whom {run.path} learned from: {problem}"


def _contradictions(run: RunDir) -> Iterator[str]:
    """Whether ``metrics.json``, by which the gate judges, is what ``predictions.parquet`` gives; without one the gate
    finds everything unmeasured."""
    if not (run.path / "metrics.json").is_file():
        return
    said = run.metrics()
    review, sets = said.get("review") or {}, said.get("conformal") or {}
    known = (("risk", review.get("risk")), ("level", sets.get("level")), ("least_face", review.get("least_face")))
    asked = {name: value for name, value in known if value is not None}
    try:
        found = json.loads(json.dumps(judged_anew(run, _breakdown(said.get("subgroups") or {}), **asked)[1]))
    except FerIdError as problem:
        yield f"the numbers of {run.path} cannot be computed again: {problem}"
        return
    if other := sorted(_contradicted(said, found)):
        yield (
            f"{run.path / 'metrics.json'} is not what its predictions give ({', '.join(other[:5])}"
            f"{f' and {len(other) - 5} more' if len(other) > 5 else ''}): it was changed, or an older version wrote "
            f"it; run fer-id evaluate {run.path}"
        )


def _breakdown(subgroups: dict[str, Any]) -> Breakdown:
    """By what the groups that were found had been asked for."""
    columns = list(subgroups.get("columns") or {})
    pairs = [column.replace(" x ", ":") for column in columns if " x " in column]
    alone = [column for column in columns if " x " not in column]
    return Breakdown(alone, pairs, int(subgroups.get("min_subjects") or Breakdown.min_subjects))


def _contradicted(said: Any, found: Any, name: str = "") -> Iterator[str]:
    """Dotted names of values that differ, of those that both have."""
    if isinstance(said, dict) and isinstance(found, dict):
        for key in said.keys() & found.keys():
            yield from _contradicted(said[key], found[key], f"{name}.{key}" if name else key)
    elif isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        for number, pair in enumerate(zip(said, found, strict=True)):
            yield from _contradicted(*pair, f"{name}.{number}")
    elif isinstance(said, float) and isinstance(found, float):
        if not math.isclose(said, found, rel_tol=1e-6, abs_tol=1e-9):
            yield name
    elif said != found:
        yield name
