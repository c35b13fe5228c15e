"""Low-resource leave-one-subject-out: readers of a few children alone, on the cached features of one encoder.

The paper's protocol, at several sizes: the test children are divided into cohorts of so many, each child is left out
in turn, and readers are fitted on the other children of its cohort, a fifth of them for inner validation. The encoder
stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fer_id.evaluation.config import ProtocolConfig
from fer_id.evaluation.contrasts import Clips, RecallEstimate, recall
from fer_id.evaluation.protocol import make_folds
from fer_id.evaluation.scores import Floats
from fer_id.readers.frame_features import FrameFeatures, Origin
from fer_id.readers.study import ReaderStudy, fit_studies


@dataclass(frozen=True)
class LearningCurve:
    """Macro recall by reader and number of children of a cohort, each left out in turn.

    ``full`` is that of the study's own readers, fitted on ``learned`` other children, on the clips of the largest size.
    Clips are clustered by child and by still; a child is in one cohort of each size.
    """

    estimates: dict[str, dict[int, RecallEstimate]]
    full: dict[str, RecallEstimate]
    learned: int
    cohorts: dict[int, int]
    """Size -> number of cohorts."""


def divide(children: Sequence[str], sizes: Sequence[int], draws: int, seed: int) -> dict[int, list[list[str]]]:
    """Divide ``draws`` times the largest size of the children, drawn by the seed, into cohorts of each size.

    Sizes that divide this number have the same children. Raise ValueError for too few children.
    """
    number = draws * max(sizes)
    names = np.unique(np.asarray(children, dtype=str))
    if len(names) < number:
        raise ValueError(f"{len(names)} children, expected at least {number}, {draws} times the largest of {sizes}")
    drawn = np.random.default_rng(seed).permutation(names)[:number].tolist()
    return {size: [drawn[start : start + size] for start in range(0, number - size + 1, size)] for size in sizes}


def learning_curve(
    study: ReaderStudy,
    readers: Sequence[str],
    sizes: Sequence[int],
    draws: int,
    seeds: Sequence[int],
    *,
    seed: int = 0,
    workers: int = 1,
) -> LearningCurve:
    """Fit and judge readers leave-one-child-out in cohorts of the test children of a study, whose own readers of these
    names are fitted. Networks are fitted with the first of the seeds; folds that exist are not fitted again."""
    rows = study.fold.test
    cohorts = divide(study.clips["subject_id"].iloc[rows].tolist(), sizes, draws, seed)
    folds = {size: [fold for of in cohorts[size] for fold in leave_one_out(study, of, seed)] for size in sizes}
    fit_studies([fold for of in folds.values() for fold in of], readers, seeds[:1], workers)
    estimates: dict[str, dict[int, RecallEstimate]] = {reader: {} for reader in readers}
    for size, of in folds.items():
        clips = Clips.of_table(pd.concat([fold.labelled("test") for fold in of]), study.labels)
        for reader in readers:
            right: Floats = np.concatenate([fold.right(reader, seeds[:1], "test") for fold in of], axis=1)
            estimates[reader][size] = recall(right, clips)
    tested = study.labelled("test")
    judged = tested["subject_id"].isin({child for of in cohorts[max(sizes)] for child in of}).to_numpy()
    clips = Clips.of_table(tested[judged], study.labels)
    full = {reader: recall(study.right(reader, seeds, "test")[:, judged], clips) for reader in readers}
    learned = study.labelled("train")["subject_id"].nunique()
    return LearningCurve(estimates, full, learned, {size: len(of) for size, of in cohorts.items()})


def leave_one_out(study: ReaderStudy, children: Sequence[str], seed: int) -> list[ReaderStudy]:
    """Return a study for each of the children, whose readers learn from the test clips of the others."""
    rows = study.fold.test
    rows = rows[study.clips["subject_id"].iloc[rows].isin(children).to_numpy()]
    clips = study.clips.iloc[rows].reset_index(drop=True)
    features = FrameFeatures(study.features.values[rows], study.features.valid[rows], study.features.folder)
    origin = Origin.of(study.origin.weights, study.origin.store, clips["clip_id"].astype(str).tolist())
    folds = make_folds(clips, ProtocolConfig("loso"), seed=seed, images=False, deduplicate=False)
    root = study.root / "low_resource"
    return [replace(study, root=root, features=features, origin=origin, clips=clips, fold=fold) for fold in folds]
