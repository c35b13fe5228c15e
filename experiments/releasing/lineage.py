"""Checks of a run before its release that need the disk: stores, consent, ancestors, and recomputed metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.training.setup import open_run_data
from experiments.training.trained_model import require_own_kind
from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import Key
from fer_id.consent.records import known_withdrawals
from fer_id.errors import FerIdError, RunError
from fer_id.evaluation.config import LEAST_FACE, Breakdown
from fer_id.evaluation.evaluate import Options, evaluate
from fer_id.release.evidence import judged_elsewhere
from fer_id.runs.ancestry import ancestry
from fer_id.runs.metrics import Subgroups
from fer_id.runs.run_dir import RunDir
from fer_id.store.card import StoreCard
from fer_id.store.reader import ClipStore

if TYPE_CHECKING:
    from data_modules.base import FerDataModule


def site_log(home: Path) -> AuditLog | None:
    """Return the site's audit log; None without the site's key; raise AuditError where the log was changed. A missing
    key is not created: with another key than that of its preparation, a cohort's store would not open."""
    if not (home / "key").exists():
        return None
    log = AuditLog(home, Key.load(home))
    known_withdrawals(home, log)
    return log


def check_lineage(run: RunDir, evidence: RunDir | None, *, logged: bool) -> tuple[FerDataModule | None, list[str]]:
    """Return the data of a run, and every reason against its release; ``logged`` where there is an audit log. The data
    are None where they are unreadable, which is a reason only for real data. ``evidence`` is the cross-validation whose
    metrics count."""
    reasons = []
    for judged in filter(None, (run, evidence)):
        try:
            judged.require_consent()
        except RunError as problem:
            reasons.append(str(problem))
        reasons += _contradictions(judged)
    for other in judged_elsewhere(run):  # the card lists them
        reasons += _contradictions(other)
    try:
        require_own_kind(run)
    except RunError as problem:
        reasons.append(str(problem))
        return None, reasons
    if not (run.path / "job.json").is_file():
        return None, reasons
    people = False
    try:
        for ancestor in ancestry(run, run.path.name):
            reasons += _consent_problems(ancestor)
            people = people or ancestor.job().store.of_people
    except RunError as problem:  # of a missing or quarantined ancestor
        reasons.append(str(problem))
    if people and not logged:
        reasons.append(
            "there is no key of the site here, so that withdrawals are unknown and the release cannot be logged; let "
            "FER_ID_KEYS name its folder"
        )
    if run.folds:
        return None, reasons
    try:
        return open_run_data(run)[1], reasons
    except FerIdError as problem:
        if run.job().store.provenance == "real":
            reasons.append(f"its data cannot be read, so that nothing can be checked: {problem}")
        return None, reasons


def _consent_problems(run: RunDir) -> Iterator[str]:
    """Yield a reason for each store of a run without valid consent; a missing store of people is one too."""
    people = run.job().store.of_people
    for path in map(Path, run.config()["data"]["store"]):
        card = path / "card.json"
        try:
            if people or (card.is_file() and StoreCard.read(card).consent):
                ClipStore.open(path)
        except FerIdError as problem:
            yield f"consent of those whom {run.path} learned from: {problem}"


def _contradictions(run: RunDir) -> Iterator[str]:
    """Yield a reason where ``metrics.json``, which the gate uses, differs from metrics of ``predictions.parquet``. A
    run without ``metrics.json`` gives none: for the gate all its metrics are missing."""
    if not (run.path / "metrics.json").is_file():
        return
    recorded = run.metrics()
    options = Options(groups=_breakdown(recorded.subgroups or Subgroups(columns={})))
    if (review := recorded.review) is not None:
        least_face = LEAST_FACE if review.least_face is None else review.least_face
        options = replace(options, risk=review.risk, least_face=least_face)
    if recorded.conformal:
        options = replace(options, level=recorded.conformal.level)
    try:
        computed = evaluate(run, options).metrics
    except FerIdError as problem:
        yield f"the numbers of {run.path} cannot be computed again: {problem}"
        return
    if other := sorted(
        contradicted_values(recorded.model_dump(exclude_unset=True), computed.model_dump(exclude_unset=True))
    ):
        yield (
            f"{run.path / 'metrics.json'} is not what its predictions give ({', '.join(other[:5])}"
            f"{f' and {len(other) - 5} more' if len(other) > 5 else ''}): it was changed, or an older version wrote "
            f"it; run fer-id evaluate {run.path}"
        )


def _breakdown(subgroups: Subgroups) -> Breakdown:
    """Return the breakdown of which the subgroups are the result."""
    columns = list(subgroups.columns)
    pairs = [column.replace(" x ", ":") for column in columns if " x " in column]
    alone = [column for column in columns if " x " not in column]
    return Breakdown(alone, pairs, subgroups.min_subjects or Breakdown.min_subjects)


def contradicted_values(recorded: Any, computed: Any, name: str = "") -> Iterator[str]:
    """Yield the dotted names of values that are in both and differ."""
    if isinstance(recorded, dict) and isinstance(computed, dict):
        for key in recorded.keys() & computed.keys():
            yield from contradicted_values(recorded[key], computed[key], f"{name}.{key}" if name else key)
    elif isinstance(recorded, list) and isinstance(computed, list) and len(recorded) == len(computed):
        for number, pair in enumerate(zip(recorded, computed, strict=True)):
            yield from contradicted_values(*pair, f"{name}.{number}")
    elif isinstance(recorded, float) and isinstance(computed, float):
        if not math.isclose(recorded, computed, rel_tol=1e-6, abs_tol=1e-9):
            yield name
    elif recorded != computed:
        yield name
