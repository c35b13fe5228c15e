"""Reader and checks of a sweep file in W&B's format."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.sweeping.parameters import Parameter, Value, read_parameters, unknown_keys
from fer_id import objectives
from fer_id.errors import ConfigError, Problems, quoted
from fer_id.objectives import lower_is_better
from fer_id.settings import WORD, is_name, limits_text
from fer_id.yaml_text import read_yaml

SWEEPS = Path(__file__).parents[1] / "sweeps"
GRID, RANDOM, BAYES = METHODS = ("grid", "random", "bayes")
OBJECTIVES = {score: "minimize" if lower_is_better(score) else "maximize" for score in objectives.OBJECTIVES}
"""Possible objectives, columns of ``metrics.jsonl`` that ``trainer.monitor`` may name -> goal."""

VERBS = ("train", "adapt")
ARGUMENTS = "${args_no_hyphens}"
OF_WANDB = ("program", "project", "entity", "description")
"""Keys of the file that only W&B's server uses."""

KEYS = ("name", "command", "method", "metric", "parameters", "early_terminate", "run_cap", *OF_WANDB)
EXAMPLE = f'command: [fer-id, train, data=synthetic, data.store=data/drawn, "{ARGUMENTS}"]'
FORMAT = "The format is that of W&B's sweeps; experiments/sweeps/ has examples."


@dataclass(frozen=True)
class Stopping:
    """Early stopping of trials by ASHA (asynchronous successive halving): up to ``last`` validations, a trial goes on
    beyond ``first``, ``first * factor``, ... while it is among the best 1 / ``factor`` of those that got so far."""

    first: int
    last: float
    factor: float


@dataclass(frozen=True)
class Sweep:
    """Content of a sweep file."""

    name: str  # default name of the study
    verb: str  # ``train`` or ``adapt``
    base: tuple[str, ...]  # settings common to all trials, ``key=value``
    method: str
    metric: str  # the objective, a key of :data:`OBJECTIVES`
    parameters: tuple[Parameter, ...]
    stopping: Stopping | None  # None: every trial runs to its end
    run_cap: int | None  # configurations at most; None: the whole grid
    text: str

    @property
    def goal(self) -> str:
        """``maximize`` or ``minimize``."""
        return OBJECTIVES[self.metric]

    @property
    def grid(self) -> int:
        """Number of points of the grid; 0 where a range is continuous."""
        return math.prod(len(parameter.points or ()) for parameter in self.parameters)

    def points(self) -> Iterator[dict[str, Value]]:
        """Yield every point of the grid, the last parameter changing fastest."""
        keys = [parameter.key for parameter in self.parameters]
        for point in itertools.product(*(parameter.points or () for parameter in self.parameters)):
            yield dict(zip(keys, point, strict=True))


def find(choice: str) -> Path:
    """Return the file of a sweep, given by its path or a shipped name; raise ConfigError where there is none."""
    path = Path(choice) if choice.endswith((".yaml", ".yml")) else SWEEPS / f"{choice}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(shipped.stem for shipped in SWEEPS.glob("*.yaml")))
        raise ConfigError(f"{choice}: no such sweep file. Shipped: {known}; or the path of a .yaml file")
    return path


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file; raise ConfigError with every problem that shows without the configuration."""
    sweep, problems = look_at(path)
    problems.raise_if_any(ConfigError, FORMAT)
    return sweep


def look_at(path: Path) -> tuple[Sweep, Problems]:
    """Return the readable part of a sweep file and its problems so far, for callers that check further; raise
    ConfigError where the file cannot be read at all."""
    problems = Problems(str(path))
    try:
        table, text = read_yaml(path, ConfigError, EXAMPLE)
    except ConfigError as problem:
        problems.add(str(problem).removeprefix(f"{path}: "))
        problems.raise_if_any(ConfigError)
        raise
    problems.found += unknown_keys(table, KEYS)
    verb, base = _command(table.get("command"), problems)
    method = str(table.get("method"))
    if method not in METHODS:
        problems.add(f"method {method}: expected one of {', '.join(METHODS)}")
    metric = _metric(table.get("metric"), problems)
    parameters = read_parameters(table.get("parameters"), problems)
    _require_end(method, parameters, table.get("run_cap"), problems)
    name = table.get("name") or path.stem
    if not isinstance(name, str) or not is_name(name, WORD):
        problems.add(f"name {quoted(name)}: expected {limits_text({'name': WORD})}; it names a folder of the runs")
        name = path.stem
    stopping = _stopping(table.get("early_terminate"), problems)
    sweep = Sweep(name, verb, base, method, metric, parameters, stopping, table.get("run_cap"), text)
    return sweep, problems


def _command(command: Any, problems: Problems) -> tuple[str, tuple[str, ...]]:
    """Return the verb and its settings; without ``${args_no_hyphens}`` no trial would get its parameters."""
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


def _metric(spec: Any, problems: Problems) -> str:
    known = ", ".join(OBJECTIVES)
    if not isinstance(spec, Mapping) or "name" not in spec:
        problems.add(f"metric: expected {{name: val/macro_f1, goal: maximize}}; name one of {known}")
        return ""
    name, goal = str(spec["name"]), spec.get("goal", "minimize")
    if name.startswith("test") or "/test" in name:
        problems.add(f"metric {name}: whoever is tested must not choose what is tested; inner validation does: {known}")
    elif name not in OBJECTIVES:
        problems.add(f"metric {name} is unknown. Known: {known}")
    elif goal != OBJECTIVES[name]:
        default = "" if "goal" in spec else " (W&B's default)"
        problems.add(f"metric {name}: goal {goal}{default} is the wrong way; say goal: {OBJECTIVES[name]}")
    problems.found += unknown_keys(spec, ("name", "goal"), "metric: ")
    return name


def _require_end(method: str, parameters: tuple[Parameter, ...], run_cap: Any, problems: Problems) -> None:
    """Report a search without an end: a grid needs finite parameters, the other methods need ``run_cap``."""
    if run_cap is not None and not _counts(run_cap):
        problems.add(f"run_cap {run_cap!r}: expected a whole number of configurations, at least 1")
    elif method in (RANDOM, BAYES) and run_cap is None:
        problems.add(f"run_cap: is needed, since {method} has no end of its own; say how many configurations to try")
    if method == GRID:
        for parameter in parameters:
            if parameter.points is None:
                problems.add(f"parameters.{parameter.key}: a grid over a continuous range has no end; say values, or q")


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _stopping(spec: Any, problems: Problems) -> Stopping | None:
    """Return W&B's hyperband as ASHA; both decide at the same validations, powers of ``eta`` up from ``min_iter`` or
    down from ``max_iter``."""
    if spec is None:
        return None
    if not isinstance(spec, Mapping) or spec.get("type") != "hyperband":
        problems.add(f"early_terminate {spec!r}: expected type: hyperband, with min_iter, or with max_iter and s")
        return None
    problems.found += unknown_keys(spec, ("type", "min_iter", "max_iter", "s", "eta", "strict"), "early_terminate: ")
    if spec.get("strict"):
        problems.add("early_terminate.strict: has no equal in Ray's ASHA, which decides as trials come; leave it out")
    eta, before = spec.get("eta", 3), len(problems)
    if not isinstance(eta, int | float) or isinstance(eta, bool) or eta <= 1:
        problems.add(f"early_terminate.eta {eta!r}: expected a number above 1")
    for key in ("min_iter", "max_iter", "s"):
        if not _counts(spec.get(key, 1)):
            problems.add(f"early_terminate.{key} {spec[key]!r}: expected a whole number of validations, at least 1")
    if ("min_iter" in spec) == ("max_iter" in spec):
        problems.add("early_terminate: say either min_iter, or max_iter and s")
    if len(problems) > before:
        return None
    if "min_iter" in spec:
        return Stopping(spec["min_iter"], math.inf, eta)
    last, brackets = spec["max_iter"] / eta, spec.get("s", 1)
    first = spec["max_iter"] / eta**brackets
    if first < 1:
        problems.add(f"early_terminate: max_iter {spec['max_iter']} divided {brackets} times by {eta} is less than 1")
        return None
    return Stopping(math.ceil(first), max(last, math.ceil(first)), eta)
