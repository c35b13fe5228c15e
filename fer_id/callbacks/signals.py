"""OwnSignals: keeps the program's handler of SIGTERM; Lightning's waits for the end of a batch and requeues jobs."""

from __future__ import annotations

import signal
import threading

import pytorch_lightning as pl


class OwnSignals(pl.Callback):
    """Callback that restores the handler of SIGTERM that was set before the Trainer set its own."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the handler after the Trainer has set its own, which it removes itself when it ends."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Terminate the processes that this one started for a distributed training."""
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGTERM)
