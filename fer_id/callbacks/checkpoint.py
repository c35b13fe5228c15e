"""Checkpoints that no crash can take: each is whole or not there, and the one before it is kept beside it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fer_id.callbacks.resuming import previous
from fer_id.files import atomic_write_bytes

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
"""What ``ModelCheckpoint`` remembers of places."""


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint at once or not at all, on the disk before it takes its name, after keeping the one before.

    A power cut that undoes what the disk had promised costs the newest one alone, see ``fer_id.callbacks.resuming``.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes ``path``; what was there becomes ``<name>.previous.ckpt``."""
        content, path = io.BytesIO(), Path(path)
        torch.save(checkpoint, content)
        if path.is_file():
            _keep(path)
        atomic_write_bytes(path, content.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = lambda storage, location: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read ``path``, tensors and plain containers alone, whatever is asked for: a file runs nothing."""
        return super().load_checkpoint(path, map_location, weights_only=True)


def _keep(path: Path) -> None:
    """Gives a file a second name; on a disk without hard links it has that one alone until the next is written."""
    second = path.with_name(f".{path.name}.previous")
    try:
        second.unlink(missing_ok=True)
        second.hardlink_to(path)
    except OSError:
        path.replace(previous(path))
    else:
        second.replace(previous(path))


class Checkpoint(ModelCheckpoint):
    """Lightning's, but one file in one folder, remembered by its name: a run that was moved meanwhile goes on too, and
    no checkpoint says on which machine it was made.

    Args:
        folder: where it lies.
        name: ``<name>.ckpt`` is the file.
        monitor: save only where this number is better than ever; None: after every epoch.
        mode: ``min`` or ``max``, what is better.
    """

    def __init__(self, folder: Path, name: str, *, monitor: str | None = None, mode: str = "min") -> None:
        every_epoch = True if monitor is None else None
        super().__init__(
            folder,
            filename=name,
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=every_epoch,
            enable_version_counter=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, with names for paths."""
        return _placed(super().state_dict(), Path())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's, with the paths of today."""
        super().load_state_dict(_placed(state_dict, Path(str(self.dirpath))))


def _placed(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The state of a ``ModelCheckpoint`` whose files lie in ``folder``."""

    def place(path: str) -> str:
        return str(folder / Path(path).name) if path else ""

    paths = {key: place(state[key]) for key in PATHS}
    return {
        **state,
        **paths,
        "dirpath": str(folder),
        "best_k_models": {place(path): score for path, score in state["best_k_models"].items()},
    }
