"""What a withdrawal erases: the child in a store and in what runs say; and the quarantine of what learned from it.

Erasing again what is erased does nothing, so that an interrupted withdrawal is simply repeated.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from fer_id.card import StoreCard
from fer_id.errors import StoreError
from fer_id.files import atomic_write_bytes, write_json
from fer_id.runs import RunDir
from fer_id.store import PARTS


@dataclass
class Erased:
    """What was done to the runs of one folder.

    Attributes:
        quarantined: runs that learned from the child, were chosen by it, or descend from such a run.
        cleaned: runs that only judged it, without their predictions of it and all pictures.
        removed: folds that tested nobody else.
        uploaded: W&B runs that were online, for deletion by hand.
    """

    quarantined: list[Path] = field(default_factory=list)
    cleaned: list[Path] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)


def erase_from_store(path: Path, subject: str) -> int:
    """Removes one subject's frames, landmarks, rows, contact sheet and consent from a store.

    What an interrupted preparation may have left beside the store goes as well. A store that held nobody else is
    removed whole.

    Returns:
        the number of clips erased.

    Raises:
        StoreError: no store there.
    """
    if not (path / "card.json").is_file():
        raise StoreError(f"{path} is not a ClipStore (no card.json)")
    shutil.rmtree(path.with_name(f".{path.name}.parts"), ignore_errors=True)
    card, clips = StoreCard.read(path / "card.json"), pd.read_parquet(path / "clips.parquet")
    gone = clips["subject_id"] == subject
    if gone.all():
        shutil.rmtree(path)
        return int(gone.sum())
    for part in PARTS:
        (path / part / f"{subject}.npy").unlink(missing_ok=True)
    (path / "sheets" / f"{subject}.png").unlink(missing_ok=True)
    if not gone.any() and subject not in card.consent:
        return 0  # a store that never held the subject keeps its fingerprint
    atomic_write_bytes(path / "clips.parquet", clips[~gone].to_parquet(index=False))
    coverage = card.audit.get("coverage") or {}
    (coverage.get("by_subject") or {}).pop(subject, None)
    card.consent.pop(subject, None)
    write_json(path / "card.json", asdict(card))
    return int(gone.sum())


def erase_from_runs(root: Path, subject: str, reason: str) -> Erased:
    """Quarantines, cleans or removes every run below ``root`` that knows the subject.

    Args:
        root: the folder of all runs.
        subject: pseudonym.
        reason: what ``QUARANTINED`` says.
    """
    runs = [RunDir(path.parent) for path in sorted(root.rglob("job.json"))]
    tainted = _descendants(runs, {run.path.resolve() for run in runs if subject in _learned_from(run)})
    erased = Erased()
    for run in runs:
        knows = subject in {*_learned_from(run), *(run.job().get("subjects") or {}).get("test", ())}
        tainted_itself = run.path.resolve() in tainted
        if not (knows or tainted_itself):
            continue
        erased.uploaded += _uploaded(run)
        if run.path.name == subject and run.path.parent.name == "folds":
            shutil.rmtree(run.path)
            erased.removed.append(run.path)
            continue
        _clean(run, subject)
        if tainted_itself:
            run.quarantine(reason)
            erased.quarantined.append(run.path)
        else:
            erased.cleaned.append(run.path)
    return erased


def _learned_from(run: RunDir) -> set[str]:
    """Whom a run saw in training, or was chosen by."""
    subjects = run.job().get("subjects") or {}
    return {*subjects.get("train", ()), *subjects.get("validation", ())}


def _descendants(runs: list[RunDir], tainted: set[Path]) -> set[Path]:
    """The tainted runs, those that pool them, and all that started from one of these."""
    while True:
        found = set(tainted)
        for run in runs:
            parents = [Path(parent).resolve() for parent in run.job().get("parents") or ()]
            folds = [fold.path.resolve() for fold in run.folds]
            if any(one in found for one in (*parents, *folds)):
                found.add(run.path.resolve())
        if found == tainted:
            return found
        tainted = found


def _clean(run: RunDir, subject: str) -> None:
    """Takes the subject out of what a run says: predictions, numbers and pictures that may speak of it."""
    if (run.path / "predictions.parquet").exists():
        table = run.predictions()
        run.write_predictions(table[table["subject_id"] != subject])
    job = run.job()
    job["subjects"] = {
        split: [one for one in members if one != subject] for split, members in (job.get("subjects") or {}).items()
    }
    coverage = ((job.get("store") or {}).get("audit") or {}).get("coverage") or {}
    (coverage.get("by_subject") or {}).pop(subject, None)
    run.write_job(job)
    for path in (*run.figures.glob("*"), run.path / "report.html", run.path / "metrics.json"):
        path.unlink(missing_ok=True)


def _uploaded(run: RunDir) -> Iterator[str]:
    """Names of the W&B runs of this run that left the machine: online ones, and offline ones synced since."""
    for folder in sorted((run.path / "wandb").glob("*run-*")):
        if folder.name.startswith("run-") or list(folder.glob("*.wandb.synced")):
            yield folder.name.rsplit("-", 1)[-1]
