"""A sweep file: W&B's format, read once and checked whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.sweeping.parameters import Parameter, read_parameters
from fer_id.errors import ConfigError, Problems, quoted
from fer_id.settings import WORD, is_name, limits_text
from fer_id.yaml_text import read_yaml

SWEEPS = Path(__file__).parents[1] / "sweeps"
GRID, RANDOM, BAYES = METHODS = ("grid", "random", "bayes")
OBJECTIVES = {"val/macro_f1": "maximize", "val/accuracy": "maximize", "val/loss": "minimize"}
"""What a sweep may be about: the columns of ``metrics.jsonl`` that ``trainer.monitor`` names -> which way is better."""

VERBS = ("train", "adapt")
ARGUMENTS = "${args_no_hyphens}"
OF_WANDB = ("program", "project", "entity", "description")
"""Keys of the file that mean something to W&B's server only."""

KEYS = ("name", "command", "method", "metric", "parameters", "early_terminate", "run_cap", *OF_WANDB)
EXAMPLE = f'command: [fer-id, train, data=synthetic, data.store=data/drawn, "{ARGUMENTS}"]'
FORMAT = "The format is that of W&B's sweeps; experiments/sweeps/ has examples."


@dataclass(frozen=True)
class Stopping:
    """When a trial is stopped early, as ASHA has it.

    Attributes:
        first: validations before the first decision.
        last: validations after which nothing is decided any more.
        factor: a trial goes on beyond ``first``, ``first * factor``, ... validations while it is among the best
            1 / ``factor`` of those that came so far.
    """

    first: int
    last: float
    factor: float


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        name: of the study where nobody names it otherwise.
        verb: ``train`` or ``adapt``.
        base: ``key=value`` that hold for every trial.
        method: ``grid``, ``random`` or ``bayes``.
        metric: the objective, of :data:`OBJECTIVES`.
        parameters: what is varied.
        stopping: None: every trial runs to its end.
        run_cap: configurations at most; None: the whole grid.
        text: the file as it stands.
    """

    name: str
    verb: str
    base: tuple[str, ...]
    method: str
    metric: str
    parameters: tuple[Parameter, ...]
    stopping: Stopping | None
    run_cap: int | None
    text: str

    @property
    def goal(self) -> str:
        """``maximize`` or ``minimize``."""
        return OBJECTIVES[self.metric]

    @property
    def grid(self) -> int:
        """How many points the grid has; 0 where a range is continuous."""
        return math.prod(len(one.points or ()) for one in self.parameters)


def find(choice: str) -> Path:
    """A sweep file by its path, or a shipped one by its name.

    Raises:
        ConfigError: there is none.
    """
    path = Path(choice) if choice.endswith((".yaml", ".yml")) else SWEEPS / f"{choice}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in SWEEPS.glob("*.yaml")))
        raise ConfigError(f"{choice}: no such sweep file. Shipped: {known}; or the path of a .yaml file")
    return path


def read_sweep(path: Path) -> Sweep:
    """A sweep file.

    Raises:
        ConfigError: with every problem of the file that can be told without the configuration.
    """
    sweep, problems = look_at(path)
    problems.raise_if_any(ConfigError, FORMAT)
    return sweep


def look_at(path: Path) -> tuple[Sweep, Problems]:
    """A sweep file as far as it could be read, and what is wrong with the rest, for who can find more.

    Raises:
        ConfigError: nothing of it can be read.
    """
    problems = Problems(str(path))
    table, text = _read(path, problems)
    problems.raise_if_any(ConfigError)
    if unknown := [key for key in table if key not in KEYS]:
        problems.add(f"unknown: {', '.join(map(str, unknown))}. Known: {', '.join(KEYS)}")
    verb, base = _command(table.get("command"), problems)
    method = str(table.get("method"))
    if method not in METHODS:
        problems.add(f"method {method}: expected one of {', '.join(METHODS)}")
    metric = _metric(table.get("metric"), problems)
    parameters = read_parameters(table.get("parameters"), problems)
    _require_end(method, parameters, table.get("run_cap"), problems)
    name = table.get("name") or path.stem
    if not isinstance(name, str) or not is_name(name, {"name": WORD}):
        problems.add(f"name {quoted(name)}: expected {limits_text({'name': WORD})}; it names a folder of the runs")
        name = path.stem
    stopping = _stopping(table.get("early_terminate"), problems)
    sweep = Sweep(name, verb, base, method, metric, parameters, stopping, table.get("run_cap"), text)
    return sweep, problems


def _read(path: Path, problems: Problems) -> tuple[Mapping[str, Any], str]:
    try:
        return read_yaml(path, ConfigError, EXAMPLE)
    except ConfigError as problem:
        problems.add(str(problem).removeprefix(f"{path}: "))
        return {}, ""


def _command(command: Any, problems: Problems) -> tuple[str, tuple[str, ...]]:
    """The verb and its settings; without ``${args_no_hyphens}`` no trial would get its parameters."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    while words[:1] in (["${env}"], ["/usr/bin/env"]):
        words = words[1:]
    if words[:1] != ["fer-id"] or words[1:2] not in ([verb] for verb in VERBS):
        problems.add(f"command: expected a list that begins with fer-id and {' or '.join(VERBS)}, such as {EXAMPLE}")
        return "", ()
    verb, *settings = words[1:]
    if settings.count(ARGUMENTS) != 1:
        problems.add(f'command: needs "{ARGUMENTS}" once, where the parameters of a trial are put in as key=value')
    for word in settings:
        if "${" in word and word != ARGUMENTS:
            problems.add(f"command: {word} is not known here; the parameters come as {ARGUMENTS}")
    return verb, tuple(word for word in settings if "${" not in word)


def _metric(told: Any, problems: Problems) -> str:
    known = ", ".join(OBJECTIVES)
    if not isinstance(told, Mapping) or "name" not in told:
        problems.add(f"metric: expected {{name: val/macro_f1, goal: maximize}}; name one of {known}")
        return ""
    name, goal = str(told["name"]), told.get("goal", "minimize")
    if name.startswith("test") or "/test" in name:
        problems.add(f"metric {name}: whoever is tested must not choose what is tested; inner validation does: {known}")
    elif name not in OBJECTIVES:
        problems.add(f"metric {name} is unknown. Known: {known}")
    elif goal != OBJECTIVES[name]:
        said = "" if "goal" in told else " (W&B's default)"
        problems.add(f"metric {name}: goal {goal}{said} is the wrong way; say goal: {OBJECTIVES[name]}")
    if unknown := [key for key in told if key not in ("name", "goal")]:
        problems.add(f"metric: unknown: {', '.join(map(str, unknown))}. Known: name, goal")
    return name


def _require_end(method: str, parameters: tuple[Parameter, ...], run_cap: Any, problems: Problems) -> None:
    """A grid has an end if every parameter has; the others end where the file says."""
    if run_cap is not None and (not isinstance(run_cap, int) or isinstance(run_cap, bool) or run_cap < 1):
        problems.add(f"run_cap {run_cap!r}: expected a whole number of configurations, at least 1")
    elif method in (RANDOM, BAYES) and run_cap is None:
        problems.add(f"run_cap: is needed, since {method} has no end of its own; say how many configurations to try")
    if method == GRID:
        for one in parameters:
            if one.points is None:
                problems.add(f"parameters.{one.key}: a grid over a continuous range has no end; say values, or q")


def _stopping(told: Any, problems: Problems) -> Stopping | None:
    """W&B's hyperband as ASHA: both decide at the same validations, powers of ``eta`` up from ``min_iter`` or down from
    ``max_iter``."""
    if told is None:
        return None
    if not isinstance(told, Mapping) or told.get("type") != "hyperband":
        problems.add(f"early_terminate {told!r}: expected type: hyperband, with min_iter, or with max_iter and s")
        return None
    known = ("type", "min_iter", "max_iter", "s", "eta", "strict")
    if unknown := [key for key in told if key not in known]:
        problems.add(f"early_terminate: unknown: {', '.join(map(str, unknown))}. Known: {', '.join(known)}")
    if told.get("strict"):
        problems.add("early_terminate.strict: has no equal in Ray's ASHA, which decides as trials come; leave it out")
    eta, before = told.get("eta", 3), len(problems)
    if not isinstance(eta, int | float) or isinstance(eta, bool) or eta <= 1:
        problems.add(f"early_terminate.eta {eta!r}: expected a number above 1")
    for key in ("min_iter", "max_iter", "s"):
        value = told.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.add(f"early_terminate.{key} {value!r}: expected a whole number of validations, at least 1")
    if ("min_iter" in told) == ("max_iter" in told):
        problems.add("early_terminate: say either min_iter, or max_iter and s")
    if len(problems) > before:
        return None
    if "min_iter" in told:
        return Stopping(told["min_iter"], math.inf, eta)
    last, brackets = told["max_iter"] / eta, told.get("s", 1)
    first = told["max_iter"] / eta**brackets
    if first < 1:
        problems.add(f"early_terminate: max_iter {told['max_iter']} divided {brackets} times by {eta} is less than 1")
        return None
    return Stopping(math.ceil(first), max(last, math.ceil(first)), eta)
