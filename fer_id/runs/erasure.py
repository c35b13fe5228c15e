"""Erasure of a child from stores and runs after a withdrawal of consent, and quarantine of runs that learned from it.

Erasing twice is harmless, so that an interrupted withdrawal is simply repeated.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, MutableMapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fer_id.errors import FerIdError, Problems, RunError, StoreError
from fer_id.files import atomic_write_bytes, atomic_write_text, locked, write_json
from fer_id.inputs import MOST_JSON, read_text
from fer_id.parquet import read_parquet
from fer_id.runs.ancestry import descendants
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from fer_id.store.card import StoreCard
from fer_id.store.format import PARTS


@dataclass
class Erased:
    """Result of the erasure from the runs of one folder.

    ``quarantined`` learned from the child, were chosen by its clips, or descend from such a run; ``cleaned`` only
    tested the child, now without its predictions and without any picture; ``removed`` are folds that tested this child
    alone. ``uploaded`` are W&B runs that were online, for deletion by hand; ``pictures`` counts the child's of each W&B
    run, online or not. ``searched`` is the number of runs that were read; ``problems`` are of runs that could not be
    read or cleaned.
    """

    quarantined: list[Path] = field(default_factory=list)
    cleaned: list[Path] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)
    pictures: dict[str, int] = field(default_factory=dict)
    searched: int = 0
    problems: list[str] = field(default_factory=list)


def erase_from_store(path: Path, subject: str) -> int:
    """Remove one subject's frames, landmarks, rows, contact sheet, counts and consent from a store; return the number
    of clips.

    Folders that an interrupted preparation left beside the store are removed whole, since their subjects are not known.
    So is a store of this subject alone. Raises StoreError where there is neither a store nor such a folder.
    """
    remains = [left for left in path.parent.glob(f".{path.name}.*") if left.is_dir()]
    for left in remains:
        shutil.rmtree(left)
    if not (path / "card.json").is_file():
        if remains:
            return 0
        raise StoreError(f"{path} is not a ClipStore (no card.json)")
    card = StoreCard.read(path / "card.json")
    clips = read_parquet(path / "clips.parquet", StoreError, "bring it back from a copy")
    gone = clips["subject_id"] == subject
    if gone.all():
        shutil.rmtree(path)
        return int(gone.sum())
    for part in PARTS:
        (path / part / f"{subject}.npy").unlink(missing_ok=True)
    for sheet in (path / "sheets").glob(f"{subject}*.png"):
        sheet.unlink()
    if not gone.any() and subject not in card.consent:
        return 0  # a store that never held the subject keeps its fingerprint
    atomic_write_bytes(path / "clips.parquet", clips[~gone].to_parquet(index=False))
    card.consent.pop(subject, None)
    _forget(card.audit, subject)
    write_json(path / "card.json", asdict(card))
    return int(gone.sum())


def erase_from_runs(root: Path, subject: str, reason: str) -> Erased:
    """Quarantine, clean or remove every run below ``root`` that has the subject (a pseudonym) among its data.
    ``reason`` is the content of ``QUARANTINED`` and begins with the pseudonym."""
    problems, jobs = Problems(str(root)), dict[Path, Job]()
    for path in sorted(root.rglob("job.json")):
        try:
            jobs[path.parent] = RunDir(path.parent).job()
        except RunError as problem:
            problems.add(str(problem))
    known = [path for path, job in jobs.items() if subject in job.everyone or path.name == subject]
    first = [path.resolve() for path, job in jobs.items() if _is_tainted(path, job, subject)]
    tainted = descendants(jobs, first, root)
    erased = Erased([path for path in jobs if path.resolve() in tainted], searched=len(jobs))
    for path in erased.quarantined:  # before any run is cleaned, so that an interrupted withdrawal can be repeated
        RunDir(path).quarantine(reason)
    for run in map(RunDir, jobs):
        if (run.path not in known and run.path not in erased.quarantined) or not run.path.is_dir():
            continue  # not the child's, or in a fold that is gone
        erased.uploaded += _uploaded(run)
        try:
            erased.pictures |= Counter(line["wandb_run"] for line in run.uploads() if line["subject_id"] == subject)
            with locked(run.path, RunError):  # a training in progress would write the data again
                if _of_fold(run, subject):
                    shutil.rmtree(run.path)
                    erased.removed.append(run.path)
                    continue
                _clean(run, jobs[run.path], subject)
        except (FerIdError, OSError) as problem:
            problems.add(f"{run.path}: {problem}")
        if run.path not in erased.quarantined:
            erased.cleaned.append(run.path)
    for path in root.rglob("trials.jsonl"):
        try:
            with locked(path.parent, RunError):
                _clean_study(path, subject)
        except (FerIdError, OSError) as problem:
            problems.add(f"{path.parent}: {problem}")
    erased.problems = problems.found
    return erased


def _of_fold(run: RunDir, subject: str) -> bool:
    """Return whether a run is the fold, or a trial of the fold, that tests the subject and bears its name."""
    return any(path.name == subject and path.parent.name == "folds" for path in (run.path, run.path.parent))


def _clean_study(path: Path, subject: str) -> None:
    """Remove the fold that tests the subject from the record of a sweep, with all that was made of it."""
    lines = read_text(path, RunError, most=MOST_JSON).splitlines(keepends=True)
    kept = [line for line in lines if subject not in line]
    if len(kept) == len(lines):
        return
    atomic_write_text(path, "".join(kept))
    for name in ("sweep.csv", "sweep.png"):
        (path.parent / name).unlink(missing_ok=True)
    for place in (path.parent / "folds" / subject, path.parent / "configurations"):
        shutil.rmtree(place, ignore_errors=True)


def _is_tainted(run: Path, job: Job, subject: str) -> bool:
    """Return whether a run learned from the subject, was chosen by it, or was quarantined for it before."""
    mark = run / "QUARANTINED"
    before = mark.is_file() and mark.read_text(encoding="utf-8").startswith(subject)
    return before or subject in job.learned_from


def _clean(run: RunDir, job: Job, subject: str) -> None:
    """Remove the subject from the files of a run: its predictions, scores and counts; all reports, pictures and W&B
    files."""
    if (run.path / "predictions.parquet").exists():
        table = run.predictions()
        run.write_predictions(table[(table["subject_id"] != subject) & (table["fold"] != subject)])
    run.write_job(_without(job, subject))
    if (run.path / "uploads.jsonl").exists():
        run.write_uploads(line for line in run.uploads() if line["subject_id"] != subject)
    pages = (run.path / name for name in ("report.html", "metrics.json", "controls.json", "log.txt"))
    curves = run.path.parent.glob("curve-*")  # drawn over several runs, of which this is one
    for path in (*run.figures.glob("*"), *pages, *curves):
        path.unlink(missing_ok=True)
    for folder in ("wandb", "explain", "uncertainty"):
        shutil.rmtree(run.path / folder, ignore_errors=True)
    run.forget_test_line()


def _without(job: Job, subject: str) -> Job:
    """Return the record of a run without a subject."""
    audit: dict[str, object] = dict(deepcopy(job.store.audit or {}))
    for part in (audit, *(part for part in audit.values() if isinstance(part, dict))):
        _forget(part, subject)
    subjects = {split: [name for name in names or () if name != subject] for split, names in job.subjects.items()}
    changes = {"subjects": subjects, "store": job.store.model_copy(update={"audit": audit})}
    if job.selected:
        changes["selected"] = {fold: trial for fold, trial in job.selected.items() if fold != subject}
    return job.model_copy(update=changes)


def _forget(audit: MutableMapping[str, Any], subject: str) -> None:
    """Remove a subject from the counts of a cohort's audit; the agreement of annotators is dropped."""
    coverage = audit.get("coverage")
    if isinstance(coverage, dict) and subject in (coverage.get("by_subject") or {}):
        gone = coverage["by_subject"].pop(subject)
        coverage |= {name: coverage[name] - count for name, count in gone.items()}
        coverage["frames"] -= sum(gone.values())
        audit["frames_without_face"] = coverage["frames"] - coverage["found"]
        audit["annotators"] = None
    if isinstance(several := audit.get("several_faces"), dict):
        several["frames"] -= sum(several["by_subject"].pop(subject, {}).values())
    if isinstance(alike := audit.get("alike"), dict):
        for pair in [pair for pair in alike if subject in pair.split(" & ")]:
            del alike[pair]


def _uploaded(run: RunDir) -> Iterator[str]:
    """Yield the ids of the W&B runs of this run that left the machine: online ones, and offline ones synced since."""
    for folder in sorted((run.path / "wandb").glob("*run-*")):
        if folder.name.startswith("run-") or list(folder.glob("*.wandb.synced")):
            yield folder.name.rsplit("-", 1)[-1]
