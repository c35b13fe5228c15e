"""Overhead of a sweep over running its trials by hand, and speed-up by running two trials at a time."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from experiments.measure.timing import Result, command_seconds
from experiments.sweeping.ledger import Ledger
from fer_id.runs.run_dir import RunDir

EPOCHS = 70  # epochs of a trial: about a minute on one core

TRIAL = (
    *("data=synthetic", "protocol=holdout", "recipe=demo", "model=conv4", "model.widths=[16,32,64,128]"),
    *("data.frames=frame", "trainer.precision=32", "trainer.memory_format=channels_last", "trainer.accelerator=cpu"),
)


def sweeping() -> Iterator[Result]:
    """Measure two trials of a minute: by hand before and after a sweep, in it, and side by side; one thread each."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        _command(["synth", f"out={root / 'store'}", "subjects=12", "seed=7"])
        file = root / "race.yaml"
        file.write_text(yaml.safe_dump(_sweep(root / "store")))
        # One epoch, to obtain the recorded commands that are then run by hand.
        _command(["sweep", "run", str(file), f"runs.root={root}/plan", "trainer.max_epochs=1", "concurrent=1"])
        trials = Ledger.open(root / "plan" / "race").trials.values()
        commands = [str(RunDir(root / "plan" / "race" / trial.job).job().command) for trial in trials]
        before = _by_hand(commands[0], root)
        alone = _command(["sweep", "run", str(file), f"runs.root={root}/alone", "concurrent=1"])
        after = _by_hand(commands[1], root)
        together = _command(["sweep", "run", str(file), f"runs.root={root}/together", "concurrent=2"])
    note = f"{alone:.0f} s against {before:.0f} + {after:.0f} s"
    yield Result("sweep over its trials by hand", alone / (before + after), "ratio", 1.10, note=note)
    note = f"{together:.0f} s against {alone:.0f} s, both with the start of the sweep"
    yield Result("two trials side by side", together / alone, "ratio", 0.65, note=note)


def _sweep(store: Path) -> dict[str, object]:
    command = ["fer-id", "train", *TRIAL, f"data.store={store}", f"trainer.max_epochs={EPOCHS}", "${args_no_hyphens}"]
    return {
        "name": "race",
        "command": command,
        "method": "grid",
        "metric": {"name": "val/macro_f1", "goal": "maximize"},
        "parameters": {"optim.lr": {"values": [0.001, 0.002]}},
    }


def _by_hand(command: str, root: Path) -> float:
    changed = {"runs.root": f"{root}/hand", "trainer.max_epochs": str(EPOCHS)}
    pairs = [(word, word.partition("=")[0]) for word in shlex.split(command)[1:]]
    return _command([f"{key}={changed[key]}" if key in changed else word for word, key in pairs])


def _command(words: Sequence[str]) -> float:
    return command_seconds(words, OMP_NUM_THREADS="1", WANDB_MODE="disabled")
