"""Our own record of a training: one JSON line per epoch in the RunDir, whatever W&B does or does not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from fer_id.files import atomic_write_text, plain


class Record(pl.Callback):
    """Writes ``metrics.jsonl`` after every epoch.

    The checkpoint holds the lines too: a resumed run has those of its checkpoint, whatever a crash did to the file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began = 0.0
        self._spent = 0.0
        self._validated = False
        self._rows: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """Training seconds so far, so that a resumed run adds to them, and the lines."""
        return {"seconds": self._spent + time.monotonic() - self._began, "rows": list(self._rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the seconds and the lines of the interrupted run."""
        self._spent, self._rows = float(state_dict["seconds"]), list(state_dict["rows"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drops the lines of epochs that will be trained again, and of an older training."""
        self._began = time.monotonic()
        self._write(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The epoch that ends now has validation numbers of its own."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One line: epoch, step, seconds, learning rate, and every number logged."""
        known = trainer.callback_metrics.items()  # Lightning keeps those of the last validation, however old
        numbers = {key: float(value) for key, value in known if self._validated or not key.startswith("val/")}
        self._validated = False
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(self._spent + time.monotonic() - self._began, 2),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            **dict(sorted(numbers.items())),
        }
        self._rows.append(plain(row))
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero:
            atomic_write_text(self.path, "".join(f"{json.dumps(row)}\n" for row in self._rows))
