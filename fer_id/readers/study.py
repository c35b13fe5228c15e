"""All readers of one encoder: fitted side by side, their predictions kept in a folder, one table per reader and seed.

    <folder>/<reader>-s<seed>.parquet    inner validation and test, with the columns of a run's ``predictions.parquet``

Finished tables are not made again. The folder's name holds a digest of what the predictions depend on, so that they are
never mixed with those of other weights, clips or settings.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer_id.errors import DataError, RunError
from fer_id.evaluation.config import Fold, Rows
from fer_id.evaluation.contrasts import Clips
from fer_id.evaluation.scores import Floats
from fer_id.files import atomic_write_bytes
from fer_id.labels import LabelSpace
from fer_id.models.build import HEAD_CLASSES
from fer_id.models.heads import FEWEST
from fer_id.parquet import read_parquet
from fer_id.processes import in_processes
from fer_id.progress import say, track
from fer_id.readers.baselines import minus_child_median
from fer_id.readers.config import MODES, OF_OTHER_CLIPS, SEEDED, UPDATES
from fer_id.readers.frame_features import FrameFeatures, Origin
from fer_id.readers.kinds import apex_frames, fit_reader, folded_weights
from fer_id.readers.networks import Lesson
from fer_id.tasks.features import Features
from fer_id.tasks.tabulate import prediction_table
from fer_id.types import Predicted

VERSION = 2
"""Raised where the same settings would give other predictions."""

DIM = 64
"""Principal components that the readers read; chosen on inner validation, where 64 did no worse than 96 and 128."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ReaderStudy:
    """The readers of one encoder on the clips of one fold.

    ``clips`` has a row per clip of ``features``, with the columns of a store; ``dim`` principal components are read,
    a network makes ``updates``; ``groups`` are further columns of the predictions.
    """

    root: Path
    features: FrameFeatures
    origin: Origin
    clips: pd.DataFrame
    fold: Fold
    labels: LabelSpace
    dim: int = DIM
    updates: int = UPDATES
    groups: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """Folder of the predictions."""
        rows = {split: self._rows(split).tolist() for split in SPLITS}
        facts = [VERSION, self.origin.model_dump(), rows, self.dim, self.updates, self.labels.name]
        return self.root / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]

    def fit(self, readers: Sequence[str], seeds: Sequence[int], workers: int = 1) -> None:
        """Fit the readers of this study alone, see :func:`fit_studies`."""
        fit_studies([self], readers, seeds, workers)

    def predictions(self, reader: str, seed: int) -> pd.DataFrame:
        """Return the predictions of a fitted reader."""
        hint = "remove the file, and the same command fits the reader again"
        return read_parquet(self._path(reader, seed), RunError, hint, threads=False)

    def right(self, reader: str, seeds: Sequence[int], split: str) -> Floats:
        """Return the correctness (R, N) of the labelled clips of a split by seed, one row where no seed matters; a clip
        without a face is an error."""
        tables = [self.predictions(reader, seed) for seed in (seeds if reader in SEEDED else seeds[:1])]
        rows = [table[(table["split"] == split) & table["label"].notna()] for table in tables]
        return np.stack([(part["predicted"] == part["label"]).to_numpy(np.float64) for part in rows])

    def judged(self, split: str) -> Clips:
        """Return classes and clusters of the clips of :meth:`right`."""
        return Clips.of_table(self.labelled(split), self.labels)

    def labelled(self, split: str) -> pd.DataFrame:
        """Return the labelled clips of a split, in the order of :meth:`right`."""
        return self.clips.iloc[self._rows(split)]

    def without_baseline(self, readers: Sequence[str]) -> dict[str, int]:
        """Count, for each of the readers that subtract a baseline, the labelled test clips that have none and are read
        as they are: fewer than two frames with a face, or no other clip of the child. Readers that lack none are
        absent."""
        tested = self.labelled("test")
        own = self.clips.iloc[self.fold.own]["subject_id"]
        others = tested["subject_id"].map(own.value_counts() if len(own) else tested["subject_id"].value_counts() - 1)
        few = int((tested["n_valid"] < FEWEST).sum())
        counts = {name: few for name in readers if getattr(HEAD_CLASSES.get(name), "own_baseline", False)}
        counts |= {name: int((others.fillna(0) < 1).sum()) for name in readers if name in OF_OTHER_CLIPS}
        return {name: count for name, count in counts.items() if count}

    def folded(self, reader: str, seed: int) -> dict[str, Tensor]:
        """Return head and classifier of a model that gives, on the encoder's frame features, what the reader gives that
        is fitted on the training clips; see :func:`fer_id.readers.kinds.folded_weights`."""
        parts = self._lesson()
        train, validation = (Features(*parts[split]) for split in ("train", "validation"))
        lesson = Lesson(train, validation, parts["apex"], len(self.labels), self.updates)
        mean, axes = (
            torch.from_numpy(each).float() for each in self.features.components(self._rows("train"), self.dim)
        )
        return folded_weights(reader, lesson, seed, mean, axes)

    def _path(self, reader: str, seed: int) -> Path:
        return self.folder / f"{reader}-s{seed}.parquet"

    def _rows(self, split: str) -> Rows:
        """Return the labelled rows of a split."""
        rows: Rows = getattr(self.fold, split)
        return rows[self.clips["label"].iloc[rows].notna().to_numpy()]

    def _lesson(self) -> dict[str, Any]:
        """Return what a worker needs, as weights-only loading takes it."""
        rows = {split: self._rows(split) for split in SPLITS}
        values = torch.from_numpy(self.features.reduced(rows["train"], self.dim))
        valid = torch.from_numpy(np.array(self.features.valid))
        parts: dict[str, Any] = {"classes": len(self.labels), "updates": self.updates}
        for split, of in rows.items():
            table = self.clips.iloc[of]
            label = torch.tensor([self.labels.index(name) for name in table["label"]])
            parts[split] = (values[of], valid[of], label, table["clip_id"].astype(str).tolist())
            parts[f"{split}_subjects"] = table["subject_id"].astype(str).tolist()
        courses = self.clips["intensity"].iloc[rows["train"]]
        still = np.zeros(valid.shape[1])
        intensity = np.stack([still if course is None else np.asarray(course, float) for course in courses])
        parts["own"] = torch.from_numpy(np.isin(rows["train"], self.fold.own))
        parts["apex"] = apex_frames(torch.from_numpy(intensity), valid[rows["train"]])
        return parts

    def _table(self, split: str, logits: Tensor) -> pd.DataFrame:
        rows = self.clips.iloc[self._rows(split)]
        covered = torch.from_numpy(np.array(self.features.valid[self._rows(split)]).any(axis=1))
        batch: Predicted = {"logits": logits, "covered": covered, "clip_id": rows["clip_id"].astype(str).tolist()}
        columns = ["video_id", *self.groups]
        return prediction_table([batch], rows, self.labels, fold=self.fold.name, split=split, groups=columns)


def fit_studies(studies: Sequence[ReaderStudy], readers: Sequence[str], seeds: Sequence[int], workers: int = 1) -> None:
    """Fit the readers of several studies and write their predictions of inner validation and test, those that are
    missing.

    Each fit takes one thread, so that neither ``workers`` nor their order changes a prediction. Raise DataError where
    the clips are stills, or the reader ``frame`` has no intensity to find the apex of training clips by.
    """
    jobs = [(name, seed) for name in readers for seed in (seeds if name in SEEDED else seeds[:1])]
    for study in studies:
        require_clips(study.clips, study.fold, readers)
    missing = [(study, [job for job in jobs if not study._path(*job).is_file()]) for study in studies]
    missing = [(study, left) for study, left in missing if left]
    if not missing:
        return
    root = missing[0][0].root
    root.mkdir(parents=True, exist_ok=True)
    lacking = sum((Counter(study.without_baseline(readers)) for study, _ in missing), Counter())
    if lacking:
        say(no_baseline(lacking))
    with TemporaryDirectory(dir=root, prefix=".lesson.") as draft:
        calls = []
        for number, (study, left) in enumerate(missing):
            study.folder.mkdir(parents=True, exist_ok=True)
            lesson = Path(draft) / f"{number}.pt"
            torch.save(study._lesson(), lesson)
            calls += [(lesson, *job) for job in left]
        whose = root.name if len(studies) == 1 else f"{len(missing)} sets of clips"
        fitted = in_processes(_fitted, calls, len(calls), workers)
        fits = track(fitted, f"fitting readers of {whose}", len(calls))
        targets = [(study, *job) for study, left in missing for job in left]
        for (study, name, seed), (validation, test) in zip(targets, fits, strict=True):
            parts = [study._table("validation", validation), study._table("test", test)]
            table = pd.concat(parts, ignore_index=True)
            atomic_write_bytes(study._path(name, seed), table.to_parquet(index=False))


def no_baseline(counts: Mapping[str, int]) -> str:
    """Return a sentence on the clips of :meth:`ReaderStudy.without_baseline`."""
    words = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return (
        f"Test clips without a baseline, read as they are ({words}): fewer than {FEWEST} frames with a face or, for "
        "child_set, no other clip of the child."
    )


def require_clips(clips: pd.DataFrame, fold: Fold, readers: Sequence[str]) -> None:
    """Raise DataError for clips of a fold that the readers cannot read: stills, training clips without the intensity
    that ``frame`` finds their apex by, and readers of other clips of a tested child where the protocol gives none."""
    if clips["length"].max() < 2:
        raise DataError("readers read clips, and these have one frame each: give a store of clips, as simulate makes")
    learned = clips.iloc[fold.train]
    unknown = learned["intensity"].isna() & learned["label"].notna()
    if "frame" in readers and unknown.any():
        raise DataError(
            f"the reader frame is fitted on apex frames, and {int(unknown.sum())} training clips have no true "
            "intensity (simulated and drawn stores have it): leave it out of readers="
        )
    if (other := set(readers) & set(OF_OTHER_CLIPS)) and fold.mode == "inductive":
        raise DataError(f"{', '.join(other)} {MODES}")


Call = tuple[Path, str, int]


def _fitted(call: Call) -> tuple[Tensor, Tensor]:
    """Fit one reader on one thread; return the logits (N, K) of inner validation and test."""
    path, name, seed = call
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        known = torch.load(path, weights_only=True, mmap=True)
        train, validation, test = (Features(*known[split]) for split in SPLITS)
        if name in OF_OTHER_CLIPS:
            learned, validated, tested = (known[f"{split}_subjects"] for split in SPLITS)
            own = known["own"]
            earlier = (train.rows(own), [subject for subject, mine in zip(learned, own.tolist(), strict=True) if mine])
            test = minus_child_median(test, tested, earlier if own.any() else None)
            train, validation = minus_child_median(train, learned), minus_child_median(validation, validated)
            name = "set"
        lesson = Lesson(train, validation, known["apex"], known["classes"], known["updates"])
        reader = fit_reader(name, lesson, seed)
        return reader(validation), reader(test)
    finally:
        torch.set_num_threads(threads)
