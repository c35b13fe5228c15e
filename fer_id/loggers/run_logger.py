"""RunLogger: a Lightning logger that writes ``metrics.jsonl`` of a run, one JSON line per epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger

from fer_id.files import atomic_write_text, plain
from fer_id.runs.run_dir import RunDir

Row = dict[str, float | None]
"""Line of ``metrics.jsonl``: the numbers of an epoch; null where one is not finite."""


class EpochRows(Logger):
    """Base of loggers with one row per epoch: that of ``Record``, or without it the numbers that Lightning logs."""

    _recorded = False
    _row: Row | None = None

    def log_epoch(self, row: Row) -> None:
        """Log the row of an epoch."""
        raise NotImplementedError

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Collect numbers of no test into the row of their epoch, in a Trainer without ``Record``."""
        numbers = {name: float(value) for name, value in metrics.items() if not name.startswith("test/")}
        if self._recorded or "epoch" not in numbers or len(numbers) == 1:
            return
        epoch = int(numbers.pop("epoch"))
        if self._row and self._row["epoch"] != epoch:
            self._complete()
        self._row = {"epoch": epoch, "step": step, **(self._row or {}), **numbers}

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Log the row of the last epoch, in a Trainer without ``Record``."""
        self._complete()

    def _complete(self) -> None:
        row, self._row = self._row, None
        if row:
            self.log_epoch(row)


class RunLogger(EpochRows):
    """Logger of ``metrics.jsonl``: number, step, seconds, learning rate and all logged numbers of every epoch.

    The callback ``Record``, one of ``run.callbacks()``, completes the line of an epoch before the checkpoint of that
    epoch is saved, and after resuming restores the lines from the checkpoint: a run that was killed at any moment has
    each epoch once. In a Trainer without that callback a line has the numbers that Lightning logs, and an epoch may be
    missing after a crash. Numbers of ``trainer.test`` are not written: ``metrics.json`` has them.
    """

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self.run = run
        self.rows: list[Row] = []

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.run.path.name

    @property
    def version(self) -> str:
        """Empty: a run is one training."""
        return ""

    @property
    def save_dir(self) -> str:
        """Folder of the run."""
        return str(self.run.path)

    def begin(self, rows: Sequence[Row]) -> None:
        """Replace the content of the file by the lines of earlier epochs."""
        self._recorded = True
        self.rows = list(rows)
        self._write()

    def log_epoch(self, row: Row) -> None:
        """Append the line of an epoch."""
        self.rows.append(row)
        self._write()

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``config.yaml`` holds the settings."""

    @rank_zero_only
    def _write(self) -> None:
        atomic_write_text(self.run.path / "metrics.jsonl", "".join(f"{json.dumps(plain(row))}\n" for row in self.rows))
