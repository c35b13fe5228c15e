"""SIGTERM as the program has it: Lightning waits for the end of a batch, tells other processes, and requeues jobs."""

from __future__ import annotations

import signal
import threading

import pytorch_lightning as pl


class OwnSignals(pl.Callback):
    """Puts back the handler of SIGTERM that was there before the Trainer put its own."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After the Trainer has put its own; it takes them back itself when it ends."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Whatever ends this process ends those that it started to train with it."""
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGTERM)
