"""SubgroupFairness: accuracy and macro recall by group at validation, with the worst group and the largest gap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl

from fer_id.callbacks.step_outputs import ClipScores, every_logger
from fer_id.errors import ConfigError
from fer_id.evaluation import scores
from fer_id.evaluation.config import MIN_SUBJECTS
from fer_id.evaluation.groups.grouping import MOST_VALUES, texts
from fer_id.evaluation.groups.suppression import Cell, Table, hidden_groups

Group = tuple[str, str]
"""A column and one of its values."""


class SubgroupFairness(ClipScores):
    """Callback that logs the scores of each group of inner-validation clips, for every group column.

    For each column: ``val/group/<column>/<group>/accuracy`` and ``.../macro_recall`` (the mean recall of the classes in
    the group), ``val/group/<column>/worst`` and ``gap`` (lowest accuracy, highest minus lowest), and the same of
    macro recall, ``worst_macro_recall`` and ``gap_macro_recall``. Of real children only groups
    that may be shown outside are counted, see ``fer_id.evaluation.groups.suppression``.

    Args:
        clips: the inner-validation clips: ``clip_id``, ``subject_id``, ``label``, ``n_valid`` and the group columns;
            None: those of the trainer's data module, which has ``clips``, ``fold``, ``groups`` and ``has_children``.
        columns: names of the group columns; None: all of the data module. A column with a single group, or more than
            ``MOST_VALUES``, is left out.
        public: log only groups that may be shown outside; None: where real children are among the subjects.
    """

    def __init__(
        self, clips: pd.DataFrame | None = None, columns: Sequence[str] | None = None, *, public: bool | None = None
    ) -> None:
        super().__init__()
        self._given = (clips, columns, public)
        self.groups: dict[str, list[Group]] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find the groups of every clip; raise ConfigError where no clips were given and the data module has none."""
        clips, columns, public = self._given
        data: Any = getattr(trainer, "datamodule", None)
        if clips is None and not hasattr(data, "fold"):
            raise ConfigError(
                "SubgroupFairness: the trainer has no data module of fer_id, so the groups of the clips are not known: "
                "fit with datamodule=, or give SubgroupFairness(clips, columns, public=...)"
            )
        if clips is None:
            clips = data.clips.iloc[data.fold.validation]
        columns = getattr(data, "groups", []) if columns is None else columns
        public = getattr(data, "has_children", True) if public is None else public
        self.groups = _groups_of_clips(clips, columns, public=public)

    def log_scores(self, trainer: pl.Trainer, pl_module: pl.LightningModule, split: str) -> None:
        """Log the scores of each group, and of each column the worst group and the gap; nothing of a test."""
        if split == "test":
            return
        by_group: dict[Group, list[tuple[int, int]]] = defaultdict(list)
        for clip, outcome in self.outcomes.items():
            for place in self.groups.get(clip, ()):
                by_group[place].append(outcome)
        numbers: dict[str, float] = {}
        by_column: dict[tuple[str, str], list[float]] = defaultdict(list)
        for (column, group), clips in sorted(by_group.items()):
            for name, value in _scores(np.array(clips, np.int64)).items():
                numbers[f"val/group/{column}/{group}/{name}"] = value
                by_column[column, "" if name == "accuracy" else f"_{name}"].append(value)
        for (column, name), values in by_column.items():
            numbers[f"val/group/{column}/worst{name}"] = min(values)
            if len(values) > 1:
                numbers[f"val/group/{column}/gap{name}"] = max(values) - min(values)
        pl_module.log_dict(numbers, logger=every_logger(trainer, "validation"), batch_size=1)


def _scores(clips: scores.Ints) -> dict[str, float]:
    """Return accuracy and macro recall of clips (N, 2), true and predicted class of each."""
    truth, predicted = clips.T
    counts = scores.count_clips(truth, predicted, np.zeros_like(truth), 1, int(clips.max()) + 1)[0]
    return {"accuracy": float(scores.accuracy(counts)), "macro_recall": float(scores.macro_recall(counts))}


def _groups_of_clips(clips: pd.DataFrame, columns: Sequence[str], *, public: bool) -> dict[str, list[Group]]:
    """Return clip -> its groups, of the clips with a label and a face."""
    evaluable = clips[clips["label"].notna() & (clips["n_valid"] > 0)]
    tables = {column: texts(evaluable[column]) for column in columns}
    fit = {column: values for column, values in tables.items() if 2 <= values.nunique() <= MOST_VALUES}
    hidden = _hidden(evaluable, fit) if public else set()
    groups: dict[str, list[Group]] = defaultdict(list)
    for column, values in fit.items():
        for clip, value in zip(evaluable["clip_id"].astype(str), values, strict=True):
            if pd.notna(value) and (column, value) not in hidden:
                groups[clip].append((column, value))
    return groups


def _hidden(evaluable: pd.DataFrame, columns: dict[str, pd.Series]) -> set[tuple[str, str | None]]:
    tables = []
    for column, values in columns.items():
        by_group = evaluable["subject_id"].groupby(values.fillna(""))  # of no group: the empty one
        sizes = {str(value) or None: Cell(len(rows), rows.nunique()) for value, rows in by_group}
        several = bool((values.groupby(evaluable["subject_id"]).nunique() > 1).any())
        tables.append(Table(column, sizes, {}, splits_subjects=several))
    return hidden_groups(tables, MIN_SUBJECTS)
