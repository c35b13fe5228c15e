"""What an interrupted training goes on from: the newest checkpoint that is whole, with the best one of its time.

A training leaves ``last.ckpt`` after every epoch, ``best.ckpt`` where an epoch was the best so far, and beside each the
one before it. Between any two writes a process may be killed, and a power cut may spoil what was written last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from fer_id.files import put_in_place, sweep
from fer_id.models.checkpoint import DamagedError, read_checkpoint


class Start(NamedTuple):
    """Where a training begins.

    Attributes:
        last: the checkpoint to go on from; None: from the beginning.
        best: the best one of that time; None where there was none yet.
        damaged: files that are not whole.
        unpaired: checkpoints of an epoch that are whole, but whose best one is damaged or missing: of no use.
    """

    last: Path | None
    best: Path | None
    damaged: list[Path]
    unpaired: list[Path]

    def obstacle(self) -> str | None:
        """Return why a begun training cannot go on from any of its checkpoints; None where it can, or where none is."""
        if self.last is not None or not (self.damaged or self.unpaired):
            return None
        if self.unpaired:
            return f"{self.unpaired[0]} is whole, but best.ckpt of its time is damaged or missing"
        return "no whole checkpoint left"


def previous(path: Path) -> Path:
    """Where the checkpoint before this one is kept: ``last.ckpt`` -> ``last.previous.ckpt``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def find_start(folder: Path) -> Start:
    """What there is to go on from; nothing is changed.

    Args:
        folder: of the checkpoints of one training.

    Raises:
        CheckpointError: a file holds more than weights, so somebody else wrote it.
    """
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    damaged: list[Path] = []
    unpaired: list[Path] = []
    scores = {path: _best_score(_content(path, damaged)) for path in (best, previous(best)) if path.is_file()}
    for path in (last, previous(last)):
        if not path.is_file() or (content := _content(path, damaged)) is None:
            continue
        # By its score, which only ever rises: a best one of a later epoch was saved just before the end.
        if (score := _best_score(content)) is None:
            return Start(path, None, damaged, [])
        if (of_its_time := next((one for one, its in scores.items() if its == score), None)) is not None:
            return Start(path, of_its_time, damaged, [])
        unpaired.append(path)
    return Start(None, None, damaged, unpaired)


def begin_at(start: Start, folder: Path) -> None:
    """Leaves in a folder of checkpoints what belongs to a start alone, under the usual names; nobody else writes there.

    Interrupted, it finds the same start again.
    """
    sweep(folder)
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    for chosen, path in ((start.best, best), (start.last, last)):
        if chosen is None:
            path.unlink(missing_ok=True)
            previous(path).unlink(missing_ok=True)
        elif chosen != path:
            put_in_place(chosen, path)


def forget_previous(folder: Path) -> None:
    """Removes the second-last checkpoints of a training that is over."""
    for name in ("last.ckpt", "best.ckpt"):
        previous(folder / name).unlink(missing_ok=True)


def _content(path: Path, damaged: list[Path]) -> Any:
    """What a checkpoint holds; None, and it is noted, where it is not whole."""
    try:
        return read_checkpoint(path)
    except DamagedError:
        damaged.append(path)
        return None


def _best_score(content: Any) -> float | None:
    """The best score so far, of the epochs that a checkpoint knows; None before the first validation."""
    states = content.get("callbacks") if isinstance(content, dict) else None
    for state in states.values() if isinstance(states, dict) else ():
        if isinstance(state, dict) and state.get("monitor") and state.get("best_model_score") is not None:
            return float(state["best_model_score"])
    return None
