"""Choice of the checkpoint to resume from: the newest one that is whole, with the best one at that epoch.

A training writes ``last.ckpt`` after every epoch and ``best.ckpt`` after an epoch that was the best so far, and keeps
the previous file of each. The process may be killed between two writes, and a power cut may spoil the last file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from fer_id.files import put_in_place, sweep
from fer_id.models.checkpoint import DamagedError, read_checkpoint
from fer_id.progress import say


class Start(NamedTuple):
    """Checkpoints that a training starts from.

    Attributes:
        last: checkpoint to resume from; None: train from the beginning.
        best: the best checkpoint at the epoch of ``last``; None where there was none yet.
        damaged: files that are not whole.
        unpaired: whole checkpoints of an epoch, useless since the best one at that epoch is damaged or missing.
    """

    last: Path | None
    best: Path | None
    damaged: list[Path]
    unpaired: list[Path]

    def obstacle(self) -> str | None:
        """Return why a training cannot resume from any of its checkpoints; None where it can, or where it has none."""
        if self.last is not None or not (self.damaged or self.unpaired):
            return None
        if self.unpaired:
            return f"{self.unpaired[0]} is whole, but best.ckpt of its time is damaged or missing"
        return "no whole checkpoint left"


def previous(path: Path) -> Path:
    """Return the path of the previous checkpoint: ``last.ckpt`` -> ``last.previous.ckpt``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def find_start(folder: Path) -> Start:
    """Find the checkpoints to resume from, without changing any file.

    Args:
        folder: checkpoints of one training.

    Raises:
        CheckpointError: a file holds more than weights, so fer_id did not write it.
    """
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    damaged: list[Path] = []
    unpaired: list[Path] = []
    scores = {path: _best_score(_content(path, damaged)) for path in (best, previous(best)) if path.is_file()}
    for path in (last, previous(last)):
        if not path.is_file() or (content := _content(path, damaged)) is None:
            continue
        # Compared by score, which only improves: another score means that best.ckpt is of a later epoch than this one.
        if (score := _best_score(content)) is None:
            return Start(path, None, damaged, [])
        if (of_its_time := next((one for one, its in scores.items() if its == score), None)) is not None:
            return Start(path, of_its_time, damaged, [])
        unpaired.append(path)
    return Start(None, None, damaged, unpaired)


def resume_at(start: Start, run: Path) -> Path | None:
    """Keep the checkpoints of a start alone in a run, under the usual names, with a message on what is not whole.

    No other process may write there. After an interruption :func:`find_start` returns the same start again. The result
    is ``checkpoints/last.ckpt``; None where the training begins from the beginning.
    """
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
