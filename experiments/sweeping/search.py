"""What to try next: one search a fold, with Optuna's samplers behind the methods of W&B's format.

A suggestion is a function of the seed, its number and what is known by then. So a study goes on after a crash as it
would have gone on without, and folds that are searched by ``grid`` or ``random`` try the same configurations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.sweeping.ledger import FINISHED, STOPPED, Trial
from experiments.sweeping.parameters import CHOICE, Parameter, Value, text
from experiments.sweeping.spec import BAYES, GRID, Sweep

if TYPE_CHECKING:
    import optuna

TRIES = 100
"""Suggestions that may repeat a known job before the space is taken for exhausted."""

LEAST_RANDOM = 4
"""Trials that bayes draws at random before it models anything: a third of the cap, at least these, at most ten."""


def distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    """Optuna's distribution; where there are points, they are drawn by their place: Optuna holds no lists, and counts
    steps in binary fractions."""
    from optuna import distributions

    points = parameter.points
    if points is None:
        return distributions.FloatDistribution(float(parameter.low), float(parameter.high), log=parameter.log)
    if parameter.kind == CHOICE:
        return distributions.CategoricalDistribution(range(len(points)))
    return distributions.IntDistribution(0, len(points) - 1)


class Search:
    """The trials of one fold.

    Args:
        sweep: method, parameters and goal.
        seed: of the search.
        past: trials of an earlier session, by number.
        curves: their objective at each inner validation, by number.
    """

    def __init__(
        self,
        sweep: Sweep,
        *,
        seed: int,
        past: Sequence[Trial] = (),
        curves: Mapping[int, Sequence[float]] | None = None,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sweep, self.seed = sweep, seed
        self._space = {one.key: distribution(one) for one in sweep.parameters}
        self._study = optuna.create_study(direction="maximize" if sweep.goal == "maximize" else "minimize")
        self._asked: dict[int, optuna.Trial] = {}
        for one in past:
            self.begin(one)
            if one.is_over:
                self.tell(one, (curves or {}).get(one.number, ()))

    def suggest(self, number: int, is_known: Callable[[Mapping[str, Value]], bool]) -> dict[str, Value] | None:
        """The parameters of a trial; None where nothing new is left.

        Args:
            number: of the trial, from 1; asked in order.
            is_known: whether parameters lead to a job that this fold has already.
        """
        if self.sweep.run_cap is not None and number > self.sweep.run_cap:
            return None
        if self.sweep.method == GRID:
            return self._on_grid(is_known)
        for attempt in range(TRIES):
            parameters = self._drawn(number, attempt)
            if not is_known(parameters):
                return parameters
        return None

    def begin(self, trial: Trial) -> None:
        """Notes a trial that is under way, of this session or an earlier one."""
        if self.sweep.method != GRID:
            self._study.enqueue_trial(self._coded(trial.parameters))
            self._asked[trial.number] = self._study.ask(dict(self._space))

    def tell(self, trial: Trial, curve: Sequence[float] = ()) -> None:
        """How a trial ended.

        Args:
            trial: with its status and objective.
            curve: the objective at each inner validation.
        """
        from optuna.trial import TrialState

        asked = self._asked.pop(trial.number, None)
        if asked is None:
            return
        finite = trial.objective is not None and math.isfinite(trial.objective)
        if trial.status == FINISHED and finite:
            self._study.tell(asked, trial.objective)
        elif trial.status == STOPPED and finite:
            for step, value in enumerate(curve):
                asked.report(value, step)
            self._study.tell(asked, state=TrialState.PRUNED)
        else:
            self._study.tell(asked, state=TrialState.FAIL)

    def _on_grid(self, is_known: Callable[[Mapping[str, Value]], bool]) -> dict[str, Value] | None:
        keys = list(self._space)
        for point in itertools.product(*(one.points or () for one in self.sweep.parameters)):
            parameters = dict(zip(keys, point, strict=True))
            if not is_known(parameters):
                return parameters
        return None

    def _sampler(self, number: int, attempt: int) -> optuna.samplers.BaseSampler:
        """A sampler of its own for every suggestion: none carries a random state that a crash could lose."""
        from optuna.samplers import RandomSampler, TPESampler

        seed = int(np.random.SeedSequence([self.seed, number, attempt]).generate_state(1)[0])
        if self.sweep.method == BAYES:
            startup = min(10, max(LEAST_RANDOM, (self.sweep.run_cap or 0) // 3))
            return TPESampler(n_startup_trials=startup, seed=seed)
        return RandomSampler(seed=seed)

    def _drawn(self, number: int, attempt: int) -> dict[str, Value]:
        """One draw. The trial it is drawn for is forgotten: what is tried enters by :meth:`begin`, as after a crash."""
        from optuna.trial import TrialState

        self._study.sampler = self._sampler(number, attempt)
        trial = self._study.ask(dict(self._space))
        self._study.tell(trial, state=TrialState.FAIL)
        return {one.key: _decode(one, trial.params[one.key]) for one in self.sweep.parameters}

    def _coded(self, parameters: Mapping[str, Value]) -> dict[str, Any]:
        return {one.key: _code(one, parameters[one.key]) for one in self.sweep.parameters}


def _decode(parameter: Parameter, drawn: Any) -> Value:
    """A point by its place; any other number with four digits, as people write it, where that keeps the bounds."""
    if parameter.points is not None:
        return parameter.points[int(drawn)]
    short = float(f"{drawn:.4g}")
    return short if parameter.low <= short <= parameter.high else float(drawn)


def _code(parameter: Parameter, value: Value) -> Any:
    """The place of a point (by its text: 1 and true are equal to Python), any other number as it is."""
    if parameter.points is None:
        return value
    return [text(parameter.key, one) for one in parameter.points].index(text(parameter.key, value))
