"""How each group fares while a model is trained: accuracy on inner validation by group, and of the worst group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from fer_id.evaluation.config import MIN_SUBJECTS
from fer_id.evaluation.groups.grouping import MOST_VALUES, texts
from fer_id.evaluation.groups.suppression import Cell, Table, hidden_groups


class GroupAccuracy(pl.Callback):
    """Logs ``val/group/<column>/<group>/accuracy`` and ``val/group/<column>/worst`` at every validation.

    It counts what the validation step predicts anyway, so there is no second pass over the clips.

    Args:
        clips: the inner-validation clips: ``clip_id``, ``subject_id``, ``label``, ``n_valid`` and the group columns.
        columns: names of the group columns; one with a single group, or more than ``MOST_VALUES``, is left out.
        public: log only groups that may be shown outside, because real children are among them.
    """

    def __init__(self, clips: pd.DataFrame, columns: Sequence[str], *, public: bool) -> None:
        judged = clips[clips["label"].notna() & (clips["n_valid"] > 0)]
        tables = {column: texts(judged[column]) for column in columns}
        fit = {column: values for column, values in tables.items() if 2 <= values.nunique() <= MOST_VALUES}
        hidden = _hidden(judged, fit) if public else set()
        self.groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for column, values in fit.items():
            for clip, value in zip(judged["clip_id"].astype(str), values, strict=True):
                if pd.notna(value) and (column, value) not in hidden:
                    self.groups[clip].append((column, value))
        self._right: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Counts from nothing."""
        self._right.clear()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Counts the clips of each group, and those that are right."""
        right = (outputs["predicted"] == batch["label"]).tolist()
        for clip, is_right in zip(batch["clip_id"], right, strict=True):
            for group in self.groups.get(clip, ()):
                self._right[group][0] += is_right
                self._right[group][1] += 1

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the accuracies."""
        worst: dict[str, float] = {}
        for (column, group), (right, clips) in sorted(self._right.items()):
            accuracy = right / clips
            worst[column] = min(worst.get(column, 1.0), accuracy)
            pl_module.log(f"val/group/{column}/{group}/accuracy", accuracy)
        pl_module.log_dict({f"val/group/{column}/worst": accuracy for column, accuracy in worst.items()})


def _hidden(judged: pd.DataFrame, columns: dict[str, pd.Series]) -> set[tuple[str, str | None]]:
    """The groups that the public view leaves out."""
    tables = []
    for column, values in columns.items():
        by_group = judged["subject_id"].groupby(values.fillna(""))  # of no group: the empty one
        sizes = {str(value) or None: Cell(len(rows), rows.nunique()) for value, rows in by_group}
        several = bool((values.groupby(judged["subject_id"]).nunique() > 1).any())
        tables.append(Table(column, sizes, {}, splits_subjects=several))
    return hidden_groups(tables, MIN_SUBJECTS)
