"""Hyperparameter search: suggestions within their bounds, distributed as in W&B, and repeatable after a crash."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.sweeping.ledger import FINISHED, STOPPED, Trial
from experiments.sweeping.parameters import Parameter, Value, read_parameters
from experiments.sweeping.search import Search
from experiments.sweeping.spec import Sweep
from fer_id.errors import Problems

NUMBERS = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: float(f"{value:.3g}"))


def sweep(*parameters: Parameter, method: str = "random", run_cap: int | None = 40, metric: str = "val/loss") -> Sweep:
    return Sweep("a", "train", (), method, metric, parameters, None, run_cap, "")


def never(parameters: Mapping[str, Value]) -> bool:
    return False


def draws(parameter: Parameter, count: int) -> list[Any]:
    search = Search(sweep(parameter, run_cap=count), seed=3)
    suggestions = [search.suggest(number, never) for number in range(1, count + 1)]
    return [parameters[parameter.key] for parameters in suggestions if parameters is not None]


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the definition of a range as a sweep file may have it."""
    kind = draw(st.sampled_from(["uniform", "int_uniform", "log_uniform", "log_uniform_values", "q_uniform"]))
    if kind == "int_uniform":
        low = draw(st.integers(-1000, 1000))
        return {"min": low, "max": low + draw(st.integers(1, 100))}
    if kind == "q_uniform":
        q, low = draw(st.sampled_from([0.1, 0.25, 2.0])), draw(st.integers(-9, 9))
        return {"min": low * q, "max": (low + draw(st.integers(1, 9))) * q, "q": q}
    if kind == "log_uniform":
        low_, high = sorted(draw(st.tuples(st.floats(-20, -1), st.floats(0, 20))))
        return {"min": low_, "max": high, "distribution": kind}
    low_ = draw(st.floats(1e-9, 1.0)) if kind == "log_uniform_values" else draw(NUMBERS)
    return {"min": low_, "max": low_ + draw(st.floats(1e-3, 100)), "distribution": kind}


@given(spec=ranges())
@settings(max_examples=40)
def test_every_draw_keeps_the_bounds(spec: dict[str, Any]) -> None:
    problems = Problems("a")
    (parameter,) = read_parameters({"k": spec}, problems)
    low, high = parameter.low, parameter.high
    for value in draws(parameter, 12):
        assert low <= value <= high
        if parameter.points is not None:
            assert value in parameter.points
        if spec.get("distribution") == "log_uniform":
            assert math.exp(spec["min"]) <= value <= math.exp(spec["max"])
    points = parameter.points
    if points is not None:
        assert points[0] == pytest.approx(low)
        assert points[-1] == pytest.approx(high)
        assert len(points) == len(set(points))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"min": 2.0, "max": 5.0}, stats.uniform(2, 3)),
        ({"min": 1e-4, "max": 1.0, "distribution": "log_uniform_values"}, stats.loguniform(1e-4, 1)),
        ({"min": -4, "max": 1, "distribution": "log_uniform"}, stats.loguniform(math.exp(-4), math.exp(1))),
    ],
)
def test_draws_are_spread_as_wandb_spreads_them(spec: dict[str, Any], expected: Any) -> None:
    (parameter,) = read_parameters({"k": spec}, Problems("a"))
    assert stats.kstest(draws(parameter, 300), expected.cdf).pvalue > 0.01


def test_whole_numbers_are_drawn_alike() -> None:
    values = draws(Parameter("k", "int", low=1, high=4, step=1), 400)
    assert stats.chisquare([values.count(value) for value in (1, 2, 3, 4)]).pvalue > 0.01
    assert all(isinstance(value, int) for value in values)


def test_lists_and_truth_values_come_back_as_they_were() -> None:
    values = ((1, 2), True, 1, "a", 0.5)
    assert set(map(repr, draws(Parameter("k", "choice", values), 60))) == set(map(repr, values))


def test_a_grid_is_gone_through_in_order_and_once() -> None:
    a, b = Parameter("a", "choice", (1, 2)), Parameter("b", "int", low=0, high=2, step=1)
    search, seen = Search(sweep(a, b, method="grid", run_cap=None), seed=0), list[dict[str, Value]]()
    while (point := search.suggest(len(seen) + 1, lambda known: known in seen)) is not None:
        seen.append(point)
    assert [tuple(point.values()) for point in seen] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


def test_known_jobs_are_not_suggested_again() -> None:
    search, seen = Search(sweep(Parameter("a", "choice", (1, 2, 3))), seed=0), list[dict[str, Value]]()
    while (point := search.suggest(len(seen) + 1, lambda point: point in seen)) is not None:
        seen.append(point)
    assert sorted(point["a"] for point in seen) == [1, 2, 3]  # type: ignore[type-var]


LR = Parameter("lr", "float", low=1e-4, high=1.0, log=True)
SIDE = Parameter("side", "choice", ("left", "right"))


def loss(parameters: Mapping[str, Any], best: float = 0.01) -> float:
    return abs(math.log(parameters["lr"] / best)) + (parameters["side"] == "left")


def searched(method: str, count: int, *, best: float = 0.01, crashes: bool = False) -> list[Trial]:
    """Return trials searched one after another, every third stopped early; with ``crashes`` each is suggested by a new
    search."""
    space, trials = sweep(LR, SIDE, method=method), list[Trial]()
    search = Search(space, seed=5)
    for number in range(1, count + 1):
        if crashes:
            curves = {trial.number: [float(trial.objective or 0) + 1, float(trial.objective or 0)] for trial in trials}
            search = Search(space, seed=5, past=trials, curves=curves)
        parameters = search.suggest(number, never)
        assert parameters is not None
        trial = Trial(number, None, f"{number}", parameters)
        search.begin(trial)
        value, status = loss(parameters, best), STOPPED if number % 3 == 0 else FINISHED
        trial = Trial(number, None, f"{number}", parameters, status, value)
        search.tell(trial, [value + 1, value])
        trials.append(trial)
    return trials


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_crash_changes_nothing(method: str) -> None:
    assert searched(method, 24, crashes=True) == searched(method, 24)


def test_an_interrupted_trial_counts_as_under_way() -> None:
    """Otherwise several workers would get nearly the same parameters."""
    space, past = sweep(LR, SIDE, method="bayes"), searched("bayes", 18)
    first = Search(space, seed=5, past=past).suggest(30, never)
    assert first is not None
    under_way = [Trial(number, None, f"{number}", first) for number in range(19, 30)]
    assert Search(space, seed=5, past=[*past, *under_way]).suggest(30, never) != first


def test_folds_searched_at_random_try_the_same() -> None:
    first, other = searched("random", 10), searched("random", 10, best=0.5)
    assert [trial.parameters for trial in first] == [trial.parameters for trial in other]


def test_bayes_learns_from_its_own_fold() -> None:
    """Two folds with distant optima search different regions, and both do better than chance."""
    low, high = searched("bayes", 40, best=3e-4), searched("bayes", 40, best=0.5)
    last = [sorted(float(trial.parameters["lr"]) for trial in trials[-15:])[7] for trials in (low, high)]  # type: ignore[arg-type]
    assert last[0] < 0.005 < last[1]
    chance = sorted(loss(trial.parameters, 3e-4) for trial in searched("random", 40, best=3e-4))[20]
    assert sorted(loss(trial.parameters, 3e-4) for trial in low[-15:])[7] < chance / 2
