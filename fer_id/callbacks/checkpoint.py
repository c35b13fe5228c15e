"""Crash-safe checkpoints, and the choice of one to resume from: the newest that is whole, with the best at that epoch.

A training writes ``last.ckpt`` after every epoch and ``best.ckpt`` after an epoch that was the best so far, each file
atomically, and keeps the previous file of each. The process may be killed between two writes, and a power cut may spoil
the last file.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fer_id.files import atomic_write_bytes, put_in_place, sweep
from fer_id.models.checkpoint import DamagedError, read_checkpoint
from fer_id.objectives import lower_is_better
from fer_id.progress import say

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
"""Keys of the state of ``ModelCheckpoint`` that hold a path."""


class WholeFiles(TorchCheckpointIO):
    """Checkpoint files that are written atomically and flushed to the disk, after keeping the previous file. A power
    cut that spoils flushed data costs the newest checkpoint alone, see :func:`find_start`."""

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
    a run that was moved can be resumed, and no checkpoint holds a path of the machine. ``monitor``: save only where
    this number is the best so far, see :func:`better`; None: after every epoch."""

    def __init__(self, folder: Path, name: str, *, monitor: str | None = None) -> None:
        super().__init__(
            folder,
            filename=name,
            monitor=monitor,
            mode=better(monitor or ""),
            save_on_train_epoch_end=True if monitor is None else None,
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

    best = {place(path): score for path, score in state["best_k_models"].items()}
    return state | {key: place(state[key]) for key in PATHS} | {"dirpath": str(folder), "best_k_models": best}


class Start(NamedTuple):
    """Checkpoints that a training starts from: without ``last`` it begins from the beginning; ``best`` is the best one
    then.

    ``unpaired`` are whole checkpoints of an epoch, useless since the best one at that epoch is damaged or missing.
    """

    last: Path | None
    best: Path | None
    damaged: list[Path]
    unpaired: list[Path]

    def obstacle(self) -> str | None:
        """Return why a training cannot resume from any of its checkpoints; None where it can, or where it has none."""
        if self.last is None and self.unpaired:
            return f"{self.unpaired[0]} is whole, but best.ckpt of its time is damaged or missing"
        return "no whole checkpoint left" if self.last is None and self.damaged else None


def previous(path: Path) -> Path:
    """Return the path of the previous checkpoint: ``last.ckpt`` -> ``last.previous.ckpt``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def find_start(folder: Path) -> Start:
    """Find the checkpoints of one training to resume from, without changing any file.

    Raises CheckpointError where a file holds more than weights, so that fer_id did not write it."""
    last, best, damaged, unpaired = folder / "last.ckpt", folder / "best.ckpt", list[Path](), list[Path]()
    scores = {path: _best_score(_content(path, damaged)) for path in (best, previous(best)) if path.is_file()}
    for path in (last, previous(last)):
        if not path.is_file() or (content := _content(path, damaged)) is None:
            continue
        # Compared by score, which only improves: another score means that best.ckpt is of a later epoch than this one.
        if (score := _best_score(content)) is None:
            return Start(path, None, damaged, [])
        if (of_its_time := next((file for file, its in scores.items() if its == score), None)) is not None:
            return Start(path, of_its_time, damaged, [])
        unpaired.append(path)
    return Start(None, None, damaged, unpaired)


def resume_at(start: Start, run: Path) -> Path | None:
    """Keep the checkpoints of a start alone in a run, under the usual names, with a message on what is not whole. No
    other process may write there. After an interruption :func:`find_start` returns the same start again. The result is
    ``checkpoints/last.ckpt``; None where the training begins from the beginning."""
    for path in start.damaged:
        say(f"{path} is not whole: it is left out")
    sweep(run / "checkpoints")
    last, best = run / "checkpoints" / "last.ckpt", run / "checkpoints" / "best.ckpt"
    for chosen, path in ((start.best, best), (start.last, last)):
        if chosen is None:
            path.unlink(missing_ok=True)
            previous(path).unlink(missing_ok=True)
        elif chosen != path:
            put_in_place(chosen, path)
    if start.last is not None:
        say(f"resuming {run} from its last {'' if start.last == last else 'whole '}checkpoint")
        return last
    if obstacle := start.obstacle():
        say(f"{run}: {obstacle}: training from the beginning")
    return None


def forget_previous(folder: Path) -> None:
    """Remove the previous checkpoints of a training that is over."""
    for name in ("last.ckpt", "best.ckpt"):
        previous(folder / name).unlink(missing_ok=True)


def _content(path: Path, damaged: list[Path]) -> Any:
    """Return the content of a checkpoint; None where it is not whole, after adding it to ``damaged``."""
    try:
        return read_checkpoint(path)
    except DamagedError:
        damaged.append(path)
        return None


def _best_score(content: Any) -> float | None:
    """Return the best score up to the epoch of a checkpoint; None before the first validation."""
    states = content.get("callbacks") if isinstance(content, dict) else None
    for state in states.values() if isinstance(states, dict) else ():
        if isinstance(state, dict) and state.get("monitor") and state.get("best_model_score") is not None:
            return float(state["best_model_score"])
    return None
