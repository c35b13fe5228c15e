"""Fixtures of the sweep tests: sweep files and plans made on the spot, and trials trained without Ray."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from experiments.sweeping.plan import Plan
from experiments.sweeping.spec import read_sweep

COMMAND = ["fer-id", "train", "data=synthetic", "data.store=data/drawn", "protocol=holdout", "${args_no_hyphens}"]
SWEEP: dict[str, Any] = {
    "name": "tiny",
    "command": COMMAND,
    "method": "grid",
    "metric": {"name": "val/macro_f1", "goal": "maximize"},
    "parameters": {"optim.lr": {"values": [0.001, 0.01]}},
}

WriteSweep = Callable[..., Path]
MakePlan = Callable[..., Plan]


@pytest.fixture
def write_sweep(tmp_path: Path) -> WriteSweep:
    """Return a function that writes a valid sweep file with the given keys; None leaves a key out."""

    def write(**changes: Any) -> Path:
        table = {key: value for key, value in (SWEEP | changes).items() if value is not None}
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(table, sort_keys=False))
        return path

    return write


@pytest.fixture
def make_plan(write_sweep: WriteSweep, tmp_path: Path) -> MakePlan:
    """Return a function that makes the plan of such a file; ``overrides`` are those of the command line."""

    def make(overrides: tuple[str, ...] = (), **changes: Any) -> Plan:
        return Plan(read_sweep(write_sweep(**changes)), "tiny", str(tmp_path / "runs"), overrides)

    return make


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the trials of a sweep in this process, one after the other (each worker of Ray would import torch)."""
    monkeypatch.chdir(Path.cwd())  # a trial changes both
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr("experiments.verbs.sweep._tune", _tune_here)


def _tune_here(config: Any, study: Any) -> None:
    """Run the suggestions, the worker function, early stopping and the records as Ray Tune does."""
    from experiments.sweeping import trial as worker
    from experiments.sweeping.tuning import Bookkeeper, Stopper, Suggestions
    from fer_id.callbacks.record import EndedOutside

    running: dict[str, Any] = {}
    suggestions, stopper = Suggestions(study, running, threads=config.cpus), Stopper(study)
    bookkeeper = Bookkeeper(study, running, lambda: None)
    number = 0
    while isinstance(assignment := suggestions.suggest(f"ray-{number}"), dict):
        trial: Any = SimpleNamespace(trial_id=f"ray-{number}", config=assignment, last_result=None)
        stopper.on_trial_add(None, trial)

        def report(validation: int, value: float, last: bool, trial: Any = trial) -> None:
            result = {worker.VALUE: value, worker.VALIDATION: validation, worker.LAST: last}
            if stopper.on_trial_result(None, trial, result) == stopper.STOP:
                raise EndedOutside

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker, "_report", report)
            try:
                trial.last_result = worker.run_trial(assignment)
            except SystemExit:  # stopped early
                trial.last_result = {}
        bookkeeper.on_trial_complete(0, [], trial)
        number += 1
