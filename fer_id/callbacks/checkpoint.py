"""Crash-safe checkpoints: each file is written atomically, and the previous one is kept beside it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fer_id.callbacks.resuming import previous
from fer_id.files import atomic_write_bytes
from fer_id.objectives import lower_is_better

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
"""Keys of the state of ``ModelCheckpoint`` that hold a path."""


class WholeFiles(TorchCheckpointIO):
    """Checkpoint files that are written atomically and flushed to the disk, after keeping the previous file.

    A power cut that spoils flushed data costs the newest checkpoint alone, see ``fer_id.callbacks.resuming``.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``path``; the file that was there becomes ``<name>.previous.ckpt``."""
        content, path = io.BytesIO(), Path(path)
        torch.save(checkpoint, content)
        if path.is_file():
            _keep(path)
        atomic_write_bytes(path, content.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = lambda storage, location: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read ``path``, tensors and plain containers alone, whatever ``weights_only`` is: loading runs no code."""
        return super().load_checkpoint(path, map_location, weights_only=True)


def _keep(path: Path) -> None:
    """Give a file its ``previous`` name as a second one; on a disk without hard links, rename it."""
    second = path.with_name(f".{path.name}.previous")
    try:
        second.unlink(missing_ok=True)
        second.hardlink_to(path)
    except OSError:
        path.replace(previous(path))
    else:
        second.replace(previous(path))


def better(monitor: str) -> str:
    """Return Lightning's ``mode`` of a number: ``min`` where its name ends in ``loss``, else ``max``."""
    return "min" if lower_is_better(monitor) else "max"


class Checkpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint`` for ``<name>.ckpt`` in one folder, whose state holds file names instead of paths:
    a run that was moved can be resumed, and no checkpoint holds a path of the machine.

    ``monitor``: save only where this number is the best so far, see :func:`better`; None: after every epoch.
    """

    def __init__(self, folder: Path, name: str, *, monitor: str | None = None) -> None:
        every_epoch = True if monitor is None else None
        super().__init__(
            folder,
            filename=name,
            monitor=monitor,
            mode=better(monitor or ""),
            save_on_train_epoch_end=every_epoch,
            enable_version_counter=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state of ``ModelCheckpoint`` with file names instead of paths."""
        return _placed(super().state_dict(), Path())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, with the paths of the present folder."""
        super().load_state_dict(_placed(state_dict, Path(str(self.dirpath))))


def _placed(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the state of a ``ModelCheckpoint`` with its files in ``folder``."""

    def place(path: str) -> str:
        return str(folder / Path(path).name) if path else ""

    paths = {key: place(state[key]) for key in PATHS}
    return {
        **state,
        **paths,
        "dirpath": str(folder),
        "best_k_models": {place(path): score for path, score in state["best_k_models"].items()},
    }
