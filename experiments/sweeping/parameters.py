"""Parameters of a sweep file: the distributions of W&B's format that Optuna supports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fer_id.errors import Problems

Value = bool | int | float | str | tuple[Any, ...]

CHOICE, INT, FLOAT = "choice", "int", "float"

BOUNDED = {
    "int_uniform": (INT, False),
    "uniform": (FLOAT, False),
    "q_uniform": (FLOAT, False),
    "log_uniform": (FLOAT, True),
    "log_uniform_values": (FLOAT, True),
}
"""Distribution with two bounds -> kind of its values, and whether it is uniform in the logarithm."""

KNOWN = ("constant", "categorical", *BOUNDED)
LARGEST_EXPONENT = 709
"""Largest exponent of e before a float overflows."""

NO_EQUAL = (
    *("normal", "q_normal", "log_normal", "q_log_normal", "beta", "q_beta", "inv_log_uniform"),
    *("inv_log_uniform_values", "q_log_uniform", "q_log_uniform_values", "categorical_w_probabilities"),
)
"""W&B's distributions that Optuna cannot draw from."""

KEYS = ("value", "values", "distribution", "min", "max", "q")


@dataclass(frozen=True)
class Parameter:
    """Search space of one configuration key (dotted, or a selector such as ``model``): the ``choices`` of a choice, or
    the inclusive bounds of a range with the ``step`` of its values (None: any), uniform or log-uniform."""

    key: str
    kind: str
    choices: tuple[Value, ...] = ()
    low: float = math.nan
    high: float = math.nan
    step: float | None = None
    log: bool = False

    @property
    def points(self) -> tuple[Value, ...] | None:
        """All values, for a grid; None for a continuous range."""
        if self.kind == CHOICE:
            return self.choices
        if self.step is None:
            return None
        count = round((self.high - self.low) / self.step) + 1
        return tuple(_tidy(self.low + index * self.step, self.kind) for index in range(count))

    @property
    def probes(self) -> tuple[Value, ...]:
        """Values for checking the configuration: all values of a choice, the two bounds of a range."""
        return self.choices or (_tidy(self.low, self.kind), _tidy(self.high, self.kind))


def read_parameters(table: Any, problems: Problems) -> tuple[Parameter, ...]:
    """Return the valid parameters of a sweep file; the others are added to ``problems``."""
    if not isinstance(table, Mapping) or not table:
        problems.add("parameters: expected at least one, such as 'optim.lr: {values: [1e-4, 1e-3]}'")
        return ()
    parameters = []
    for key, spec in table.items():
        mistakes: list[str] = []
        try:
            parameter = _parameter(str(key), spec, mistakes)
        except ValueError as mistake:
            mistakes.append(str(mistake))
        problems.found += [f"parameters.{key}: {mistake}" for mistake in mistakes]
        if not mistakes:
            parameters.append(parameter)
    return tuple(parameters)


def unknown_keys(table: Mapping[str, object], known: Sequence[str], where: str = "") -> list[str]:
    """Return the problem of the keys of a mapping that are not ``known``; no problem without such keys."""
    unknown = ", ".join(str(key) for key in table if key not in known)
    return [f"{where}unknown: {unknown}. Known: {', '.join(known)}"] if unknown else []


def text(key: str, value: Value) -> str:
    """Return ``key=value`` as W&B's agent writes it, so that a file means the same to W&B and here."""
    return f"{key}={value_text(value)}"


def value_text(value: Value) -> str:
    """Return the value as :func:`text` writes it."""
    return str(list(value) if isinstance(value, tuple) else value)


def recorded_key(key: str) -> str:
    """Return the key under which a run's configuration holds a parameter: ``model.name`` for the selector ``model``."""
    return f"{key}.name" if key in ("data", "model", "protocol") else key


def _parameter(key: str, spec: Any, mistakes: list[str]) -> Parameter:
    """Return a parameter; raise ValueError for a mistake that leaves nothing to check, and add the others to a list."""
    if not isinstance(spec, Mapping):
        raise ValueError(f"{spec!r}: expected value, values, or min and max")
    if "parameters" in spec:
        raise ValueError(f"is nested; write its keys dotted, such as {key}.{next(iter(spec['parameters']), 'key')}")
    distribution = spec.get("distribution")
    if "probabilities" in spec or distribution in NO_EQUAL:
        name = distribution or "categorical with probabilities"
        raise ValueError(f"distribution {name} has no equal in Optuna. Known: {', '.join(KNOWN)}")
    mistakes += unknown_keys(spec, KEYS)
    ways = [way for way in ("value", "values", "min") if way in spec]
    if len(ways) != 1:
        raise ValueError(f"{' and '.join(ways) or 'nothing'} given; say one of: value, values, or min and max")
    if ways == ["min"]:
        return _range(key, spec, mistakes)
    fits = {"value": "constant", "values": "categorical"}[ways[0]]
    if distribution not in (None, fits):
        mistakes.append(f"distribution {distribution} does not go with {ways[0]}; leave it out")
    return _choice(key, [spec["value"]] if ways == ["value"] else spec["values"], mistakes)


def _choice(key: str, values: Any, mistakes: list[str]) -> Parameter:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ValueError(f"values {values!r}: expected a list of at least one value")
    if any(value is None for value in values):
        mistakes.append(
            "null cannot be passed on by W&B's agent; leave the key out of the parameters where it is unset"
        )
    if any(isinstance(value, Mapping) for value in values):
        mistakes.append("a value is a mapping; write dotted keys")
    chosen = [tuple(value) if isinstance(value, list) else value for value in values]
    if len({text(key, value) for value in chosen}) < len(chosen):
        mistakes.append(f"values {values}: one is there twice")
    return Parameter(key, CHOICE, tuple(chosen))


def _range(key: str, spec: Mapping[str, Any], mistakes: list[str]) -> Parameter:
    low, high, q = (_number(spec.get(name)) for name in ("min", "max", "q"))
    if low is None or high is None:
        raise ValueError(f"min {spec.get('min')!r}, max {spec.get('max')!r}: expected two numbers")
    whole = isinstance(low, int) and isinstance(high, int)
    name = spec.get("distribution") or ("q_uniform" if "q" in spec else "int_uniform" if whole else "uniform")
    if name not in BOUNDED:
        raise ValueError(f"distribution {name} is unknown. Known: {', '.join(KNOWN)}")
    kind, log = BOUNDED[name]
    if low >= high:
        mistakes.append(f"min {low} is not below max {high}")
    if name == "log_uniform":  # its bounds are exponents of e
        low, high = (math.exp(bound) if bound < LARGEST_EXPONENT else math.inf for bound in (low, high))
    if log and (low <= 0 or not math.isfinite(high)):
        mistakes.append(f"{name} needs bounds above 0; it has {spec['min']} and {spec['max']}")
    if kind == INT and not whole:
        mistakes.append(f"int_uniform needs whole bounds; it has {low} and {high}")
    if (name == "q_uniform") != (q is not None):
        mistakes.append("q goes with distribution q_uniform alone" if q is not None else "q_uniform needs q, its step")
    if q is None or mistakes:
        return Parameter(key, kind, low=low, high=high, step=1 if kind == INT else None, log=log)
    steps = (high - low) / q if q > 0 else math.nan
    if not math.isclose(steps, round(steps) if q > 0 else 0, abs_tol=1e-9):
        mistakes.append(f"q {q} does not divide the way from min {low} to max {high}")
    return Parameter(key, INT if whole and isinstance(q, int) else FLOAT, low=low, high=high, step=q)


def _number(value: Any) -> int | float | None:
    """Return a finite number, also from text such as ``1e-4``, which YAML 1.1 reads as a string; else None."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _tidy(value: float, kind: str) -> Value:
    """Return an integer for an INT parameter, else the value without rounding noise (0.3, not 0.30000000000000004)."""
    return round(value) if kind == INT else float(f"{value:.12g}")
