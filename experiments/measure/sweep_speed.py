"""Overhead of a sweep over running its trials by hand, and speed-up by running two trials at a time."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import yaml

from experiments.measure.timing import command_seconds
from experiments.sweeping.ledger import Ledger
from fer_id.runs.run_dir import RunDir

EPOCHS = 70
"""Epochs of a trial: about a minute on one core."""

TRIAL = (
    *("data=synthetic", "protocol=holdout", "recipe=demo", "model=conv4", "model.widths=[16,32,64,128]"),
    *("data.frames=frame", "trainer.precision=32", "trainer.memory_format=channels_last", "trainer.accelerator=cpu"),
)


class Race(NamedTuple):
    """Durations of the same two trials in seconds.

    Attributes:
        by_hand: two commands, one after the other, one thread each.
        alone: a sweep with one trial at a time.
        together: a sweep with two trials at a time.
    """

    by_hand: list[float]
    alone: float
    together: float


def race(epochs: int = EPOCHS) -> Race:
    """Train two configurations three times: in a sweep, by hand before and after it, and side by side."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        _command(["synth", f"out={root / 'store'}", "subjects=12", "seed=7"])
        file = root / "race.yaml"
        file.write_text(yaml.safe_dump(_sweep(root / "store", epochs)))
        # One epoch, to obtain the recorded commands that are then run by hand.
        _command(["sweep", "run", str(file), f"runs.root={root}/plan", "trainer.max_epochs=1", "concurrent=1"])
        trials = Ledger.open(root / "plan" / "race").trials.values()
        commands = [str(RunDir(root / "plan" / "race" / trial.job).job().command) for trial in trials]
        before = _by_hand(commands[0], root, epochs)
        alone = _command(["sweep", "run", str(file), f"runs.root={root}/alone", "concurrent=1"])
        after = _by_hand(commands[1], root, epochs)
        together = _command(["sweep", "run", str(file), f"runs.root={root}/together", "concurrent=2"])
    return Race([before, after], alone, together)


def _sweep(store: Path, epochs: int) -> dict[str, object]:
    command = ["fer-id", "train", *TRIAL, f"data.store={store}", f"trainer.max_epochs={epochs}", "${args_no_hyphens}"]
    return {
        "name": "race",
        "command": command,
        "method": "grid",
        "metric": {"name": "val/macro_f1", "goal": "maximize"},
        "parameters": {"optim.lr": {"values": [0.001, 0.002]}},
    }


def _by_hand(command: str, root: Path, epochs: int) -> float:
    changed = {"runs.root": f"{root}/hand", "trainer.max_epochs": str(epochs)}
    words = [
        f"{key}={changed[key]}" if (key := word.partition("=")[0]) in changed else word
        for word in shlex.split(command)[1:]
    ]
    return _command(words)


def _command(words: Sequence[str]) -> float:
    return command_seconds(words, OMP_NUM_THREADS="1", WANDB_MODE="disabled")
