"""Sweep files made on the spot."""

from collections.abc import Callable
from pathlib import Path
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


@pytest.fixture
def write_sweep(tmp_path: Path) -> WriteSweep:
    """``write_sweep(method="random", run_cap=3)``: a sound file with these keys; None leaves a key out."""

    def write(**changes: Any) -> Path:
        table = {key: value for key, value in (SWEEP | changes).items() if value is not None}
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(table, sort_keys=False))
        return path

    return write


@pytest.fixture
def make_plan(write_sweep: WriteSweep, tmp_path: Path) -> Callable[..., Plan]:
    """The plan of such a file; ``overrides`` are those of the command line."""

    def make(overrides: tuple[str, ...] = (), **changes: Any) -> Plan:
        return Plan(read_sweep(write_sweep(**changes)), "tiny", str(tmp_path / "runs"), overrides)

    return make
