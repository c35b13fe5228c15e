"""Sweep files: their content, and the report of all mistakes at once."""

import math
from pathlib import Path
from typing import Any

import pytest

from experiments.sweeping.parameters import Parameter
from experiments.sweeping.spec import SWEEPS, Stopping, find, read_sweep
from fer_id.errors import ConfigError
from tests.experiments.sweeping.conftest import COMMAND, WriteSweep


def test_a_sound_file(write_sweep: WriteSweep) -> None:
    sweep = read_sweep(write_sweep(command=["${env}", *COMMAND], run_cap=7))
    assert (sweep.name, sweep.verb, sweep.method, sweep.metric, sweep.goal) == (
        *("tiny", "train", "grid", "val/macro_f1", "maximize"),
    )
    assert sweep.base == ("data=synthetic", "data.store=data/drawn", "protocol=holdout")
    assert sweep.run_cap == 7
    assert sweep.parameters == (Parameter("optim.lr", "choice", (0.001, 0.01)),)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"value": 3}, Parameter("k", "choice", (3,))),
        ({"values": [[1, 2], "a", True]}, Parameter("k", "choice", ((1, 2), "a", True))),
        ({"min": 1, "max": 5}, Parameter("k", "int", low=1, high=5, step=1)),
        ({"min": 0.0, "max": 1}, Parameter("k", "float", low=0.0, high=1)),
        ({"min": "1e-4", "max": "1e-2", "distribution": "log_uniform_values"},
         Parameter("k", "float", low=1e-4, high=1e-2, log=True)),
        ({"min": -4, "max": 0, "distribution": "log_uniform"},
         Parameter("k", "float", low=math.exp(-4), high=1.0, log=True)),
        ({"min": 0.0, "max": 0.3, "q": 0.1}, Parameter("k", "float", low=0.0, high=0.3, step=0.1)),
        ({"min": 8, "max": 32, "q": 8}, Parameter("k", "int", low=8, high=32, step=8)),
    ],
)  # fmt: skip
def test_distributions(spec: dict[str, Any], expected: Parameter, write_sweep: WriteSweep) -> None:
    sweep = read_sweep(write_sweep(method="random", run_cap=1, parameters={"k": spec}))
    assert sweep.parameters == (expected,)


@pytest.mark.parametrize(
    ("definition", "stopping"),
    [
        ({"min_iter": 3}, Stopping(3, math.inf, 3)),
        ({"min_iter": 2, "eta": 2}, Stopping(2, math.inf, 2)),
        ({"max_iter": 27, "s": 2}, Stopping(3, 9.0, 3)),
        ({"max_iter": 27}, Stopping(9, 9.0, 3)),
        ({"max_iter": 10}, Stopping(4, 4, 3)),
    ],
)
def test_early_termination(definition: dict[str, Any], stopping: Stopping, write_sweep: WriteSweep) -> None:
    assert read_sweep(write_sweep(early_terminate={"type": "hyperband", **definition})).stopping == stopping


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metod": "grid"}, "unknown: metod. Known: name, command, method"),
        ({"method": "annealing"}, "method annealing: expected one of grid, random, bayes"),
        ({"command": None}, "expected a list that begins with fer-id and train or adapt"),
        ({"command": ["fer-id", "predict", "${args_no_hyphens}"]}, "begins with fer-id and train or adapt"),
        ({"command": COMMAND[:-1]}, 'needs "${args_no_hyphens}" once'),
        ({"command": [*COMMAND[:-1], "${args}"]}, "${args} is not known here"),
        ({"metric": None}, "metric: expected {name: val/macro_f1, goal: maximize}"),
        ({"metric": {"name": "val/f1", "goal": "maximize"}}, "metric val/f1 is unknown. Known: val/macro_f1"),
        ({"metric": {"name": "test/accuracy", "goal": "maximize"}}, "must not choose what is tested"),
        ({"metric": {"name": "val/loss", "goal": "maximize"}}, "wrong way; say goal: minimize"),
        ({"metric": {"name": "val/accuracy"}}, "goal minimize (W&B's default) is the wrong way"),
        ({"method": "random"}, "run_cap: is needed"),
        ({"run_cap": 0}, "run_cap 0: expected a whole number"),
        ({"name": "../up"}, "name '../up': expected a name without"),
        ({"parameters": {}}, "parameters: expected at least one"),
        ({"parameters": {"optim.lr": {"values": []}}}, "values []: expected a list of at least one value"),
        ({"parameters": {"optim.lr": {"values": [1, 1]}}}, "one is there twice"),
        ({"parameters": {"optim.lr": {"values": [None]}}}, "null cannot be passed on"),
        ({"parameters": {"optim.lr": {"min": 1, "max": 0.1}}}, "min 1 is not below max 0.1"),
        ({"parameters": {"optim.lr": {"min": 0.1}}}, "max None: expected two numbers"),
        ({"parameters": {"optim.lr": {"min": 0.1, "max": "high"}}}, "max 'high': expected two numbers"),
        ({"parameters": {"optim.lr": {"min": 0.1, "max": 0.2}}}, "a grid over a continuous range has no end"),
        ({"parameters": {"optim.lr": {"min": 0.0, "max": 0.2, "distribution": "log_uniform_values"}}},
         "needs bounds above 0"),
        ({"parameters": {"optim.lr": {"mu": 0, "sigma": 1, "distribution": "normal"}}},
         "distribution normal has no equal in Optuna"),
        ({"parameters": {"optim.lr": {"values": [1, 2], "probabilities": [0.1, 0.9]}}},
         "categorical with probabilities has no equal"),
        ({"parameters": {"optim.lr": {"min": 1, "max": 2, "distribution": "even"}}}, "distribution even is unknown"),
        ({"parameters": {"optim.lr": {"min": 0.0, "max": 1.0, "q": 0.3}}}, "q 0.3 does not divide"),
        ({"parameters": {"optim.lr": {"min": 0.0, "max": 1.0, "q": 0}}}, "q 0 does not divide"),
        ({"parameters": {"optim.lr": {"value": 1, "min": 0}}}, "value and min given"),
        ({"parameters": {"optim.lr": {"lowest": 0}}}, "unknown: lowest"),
        ({"parameters": {"optim": {"parameters": {"lr": {"value": 1}}}}}, "is nested; write its keys dotted"),
        ({"parameters": {"optim.lr": 0.1}}, "expected value, values, or min and max"),
        ({"early_terminate": {"type": "median"}}, "expected type: hyperband"),
        ({"early_terminate": {"type": "hyperband"}}, "say either min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "min_iter 0: expected a whole number"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}}, "eta 1: expected a number above 1"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "strict": True}}, "strict: has no equal"),
        ({"early_terminate": {"type": "hyperband", "max_iter": 2, "s": 2}}, "is less than 1"),
    ],
)  # fmt: skip
def test_problems(changes: dict[str, Any], message: str, write_sweep: WriteSweep) -> None:
    with pytest.raises(ConfigError) as caught:
        read_sweep(write_sweep(**changes))
    assert message in str(caught.value)


def test_all_problems_come_together(write_sweep: WriteSweep) -> None:
    path = write_sweep(method="sorted", metric={"name": "test/auc"}, parameters={"a": {"min": 2, "max": 1}})
    with pytest.raises(ConfigError, match="3 problems") as caught:
        read_sweep(path)
    assert str(caught.value).count("\n  - ") == 3


@pytest.mark.parametrize("text", ["a: 1\na: 2", "- a", "a: [", ""])
def test_a_file_that_is_no_sweep_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        read_sweep(path)


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="Shipped: drawn, lr_augmentation, models, strategies"):
        find("nothing")


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_files_are_named_after_themselves(path: Path) -> None:
    assert find(path.stem) == path
    assert read_sweep(path).name == path.stem
