"""Our own record of a training: one JSON line per logged step in the RunDir, whatever W&B does or does not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from fer_id.files import atomic_write_text, plain


class Record(pl.Callback):
    """Appends to ``metrics.jsonl`` after every epoch; a resumed run drops the lines past its checkpoint and goes on.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._began = 0.0
        self._spent = 0.0
        self._validated = False

    def state_dict(self) -> dict[str, Any]:
        """Training seconds so far, so that a resumed run adds to them."""
        return {"seconds": self._spent + time.monotonic() - self._began}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the seconds of the interrupted run."""
        self._spent = float(state_dict["seconds"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drops the lines of epochs that will be trained again (at ``on_fit_start`` the epoch is not yet restored)."""
        self._began = time.monotonic()
        if trainer.is_global_zero and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _epoch(line) < trainer.current_epoch]
            atomic_write_text(self.path, "".join(f"{line}\n" for line in kept))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The epoch that ends now has validation numbers of its own."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One line: epoch, step, seconds, learning rate, and every number logged."""
        if not trainer.is_global_zero:
            return
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
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(plain(row)) + "\n")


def _epoch(line: str) -> float:
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
