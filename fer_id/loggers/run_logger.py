"""RunLogger: a Lightning logger that writes ``metrics.jsonl`` of a run, JSON lines of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.trainer.states import TrainerFn

from fer_id.errors import RunError
from fer_id.files import atomic_write_text, plain, read_json_lines
from fer_id.runs.run_dir import RunDir, is_of_training

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

Row = dict[str, float | None]
"""Line of ``metrics.jsonl``: the numbers of an epoch, or others (see :class:`RunLogger`); null where not finite."""


class EpochRows(Logger):
    """Base of loggers with one row per epoch: that of ``Record``, or without it the numbers that Lightning logs."""

    _trainer: Trainer | None = None
    _row: Row | None = None

    def log_epoch(self, row: Row) -> None:
        """Log the row of an epoch."""
        raise NotImplementedError

    def log_own(self, numbers: Mapping[str, float], epoch: int | None, step: int | None) -> None:
        """Log numbers that a callback gave this logger itself, beside the row of their epoch."""
        raise NotImplementedError

    def log_tested(self, numbers: Mapping[str, float]) -> None:
        """Log numbers of a test."""
        raise NotImplementedError

    def follow(self, trainer: Trainer) -> None:
        """Take the epoch from a Trainer; its callback ``Record`` logs the rows."""
        row, self._row, self._trainer = self._row, None, trainer
        if row:  # from a hook before that of Record
            self.log_own({name: value for name, value in row.items() if value is not None}, self.epoch, None)

    @property
    def epoch(self) -> int | None:
        """Epoch of the training, from 0, the last one after it; None where no Trainer is followed, or it is testing."""
        if self._trainer is None or self._trainer.state.fn != TrainerFn.FITTING:
            return None
        return max(self._trainer.fit_loop.epoch_progress.current.ready - 1, 0)

    def __getstate__(self) -> dict[str, object]:
        """Return the state without the Trainer."""
        return {**self.__dict__, "_trainer": None}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of Lightning (already in the row of their epoch where ``Record`` is) or of a callback.

        An ``epoch`` among them that is later than the present one counts as the present one."""
        numbers = {name: float(value) for name, value in metrics.items()}
        given, trainer = numbers.pop("epoch", None), self._trainer
        testing = trainer is not None and trainer.testing
        if tested := {name: value for name, value in numbers.items() if testing or name.startswith("test/")}:
            self.log_tested(tested)
        rest = {name: value for name, value in numbers.items() if name not in tested}
        if trainer is not None:
            rest = {name: value for name, value in rest.items() if name not in trainer.logged_metrics}
        if not rest:
            return
        if trainer is None and given is not None:
            self._collect(int(given), step, rest)
            return
        epoch = self.epoch if given is None or self.epoch is None else min(int(given), self.epoch)
        self.log_own(rest, epoch, step if step is not None or trainer is None else trainer.global_step)

    def _collect(self, epoch: int, step: int | None, numbers: Mapping[str, float]) -> None:
        """Collect numbers into the row of their epoch, in a Trainer without ``Record``."""
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
    missing after a crash.

    Numbers that a callback logs by :meth:`log_metrics` make a line of their own, with their step, and their epoch where
    one is trained; ``RunDir.learning_curve`` joins it to that epoch. The numbers of ``trainer.test`` are one line
    without an epoch, which the next test replaces.
    """

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self.run = run
        self.rows: list[Row] = []
        self._new: list[Row] = []  # lines of log_own that Record has not taken
        self._tested: Row = {}
        self._begun = False

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

    @property
    def experiment(self) -> RunDir:
        """The run that is written, as every logger of Lightning has its backend there."""
        return self.run

    def begin(self, rows: Sequence[Row]) -> None:
        """Replace the content of the file by the lines of earlier epochs."""
        self._begun = True
        self.rows = [*rows, *self._new]
        self._write()

    def log_epoch(self, row: Row) -> None:
        """Append the line of an epoch."""
        self.rows.append(row)
        self._write()

    def log_own(self, numbers: Mapping[str, float], epoch: int | None, step: int | None) -> None:
        """Append a line; before the training begins, it is kept for :meth:`begin`."""
        where = {"epoch": epoch, "step": step}
        line: Row = {**{name: value for name, value in where.items() if value is not None}, **numbers}
        self.rows.append(line)
        self._new.append(line)
        if self._begun:
            with (self.run.path / "metrics.jsonl").open("a", encoding="utf-8") as out:
                out.write(_text(line))
        elif self._trainer is None:
            self._write()

    def take_new(self) -> list[Row]:
        """Return the lines of :meth:`log_own` since the last call."""
        new, self._new = self._new, []
        return new

    def log_tested(self, numbers: Mapping[str, float]) -> None:
        """Write the line of the test."""
        self._tested |= numbers
        known = self.rows or read_json_lines(self.run.path / "metrics.jsonl", RunError)
        self.rows = [*filter(is_of_training, known), self._tested]
        self._write()

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``config.yaml`` holds the settings."""

    @rank_zero_only
    def _write(self) -> None:
        atomic_write_text(self.run.path / "metrics.jsonl", "".join(map(_text, self.rows)))


def _text(row: Row) -> str:
    return f"{json.dumps(plain(row))}\n"
