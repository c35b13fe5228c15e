"""Hyperparameter search within a fold: Optuna's samplers behind the methods of W&B's format.

A suggestion is a function of the seed, its number and the trials known by then. So a study continues after a crash as
it would have without one, and folds searched by ``grid`` or ``random`` try the same configurations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.sweeping.ledger import FINISHED, STOPPED, Trial
from experiments.sweeping.parameters import CHOICE, Parameter, Value, text
from experiments.sweeping.spec import BAYES, GRID, Sweep

if TYPE_CHECKING:
    import optuna

TRIES = 100
"""Number of suggestions that may repeat a known job before the search space counts as exhausted."""

LEAST_RANDOM = 4
"""Minimum number of random trials before bayes fits a model: a third of ``run_cap``, at least this, at most ten."""


def distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    """Return Optuna's distribution of a parameter. Points are drawn by their index, since Optuna holds no lists and
    counts steps in binary fractions."""
    from optuna import distributions

    points = parameter.points
    if points is None:
        return distributions.FloatDistribution(float(parameter.low), float(parameter.high), log=parameter.log)
    if parameter.kind == CHOICE:
        return distributions.CategoricalDistribution(range(len(points)))
    return distributions.IntDistribution(0, len(points) - 1)


class Search:
    """Search over the trials of one fold; ``past`` has those of an earlier session, ``curves`` their objective at each
    inner validation by trial number."""

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
        self._space = {parameter.key: distribution(parameter) for parameter in sweep.parameters}
        self._study = optuna.create_study(direction="maximize" if sweep.goal == "maximize" else "minimize")
        self._open: dict[int, optuna.Trial] = {}
        for trial in past:
            self.begin(trial)
            if trial.is_over:
                self.tell(trial, (curves or {}).get(trial.number, ()))

    def suggest(self, number: int, is_known: Callable[[Mapping[str, Value]], bool]) -> dict[str, Value] | None:
        """Return the parameters of a new trial, numbered from 1 in order; None where the search space is exhausted.
        ``is_known`` returns whether this fold already has the job of some parameters."""
        if self.sweep.run_cap is not None and number > self.sweep.run_cap:
            return None
        if self.sweep.method == GRID:
            return next((point for point in self.sweep.points() if not is_known(point)), None)
        for attempt in range(TRIES):
            parameters = self._drawn(number, attempt)
            if not is_known(parameters):
                return parameters
        return None

    def begin(self, trial: Trial) -> None:
        """Register a running trial, of this session or of an earlier one."""
        if self.sweep.method != GRID:
            space = self.sweep.parameters
            self._study.enqueue_trial({each.key: _code(each, trial.parameters[each.key]) for each in space})
            self._open[trial.number] = self._study.ask(dict(self._space))

    def tell(self, trial: Trial, curve: Sequence[float] = ()) -> None:
        """Register the outcome of a trial; ``curve`` is its objective at each inner validation."""
        from optuna.trial import TrialState

        pending = self._open.pop(trial.number, None)
        if pending is None:
            return
        finite = trial.objective is not None and math.isfinite(trial.objective)
        if trial.status == FINISHED and finite:
            self._study.tell(pending, trial.objective)
        elif trial.status == STOPPED and finite:
            for step, value in enumerate(curve):
                pending.report(value, step)
            self._study.tell(pending, state=TrialState.PRUNED)
        else:
            self._study.tell(pending, state=TrialState.FAIL)

    def _sampler(self, number: int, attempt: int) -> optuna.samplers.BaseSampler:
        """Return a new sampler for each suggestion: no sampler carries a random state that a crash could lose."""
        from optuna.samplers import RandomSampler, TPESampler

        seed = int(np.random.SeedSequence([self.seed, number, attempt]).generate_state(1)[0])
        if self.sweep.method == BAYES:
            startup = min(10, max(LEAST_RANDOM, (self.sweep.run_cap or 0) // 3))
            return TPESampler(n_startup_trials=startup, seed=seed)
        return RandomSampler(seed=seed)

    def _drawn(self, number: int, attempt: int) -> dict[str, Value]:
        """Draw parameters. The drawn Optuna trial is discarded: trials enter by :meth:`begin`, as after a crash."""
        from optuna.trial import TrialState

        self._study.sampler = self._sampler(number, attempt)
        trial = self._study.ask(dict(self._space))
        self._study.tell(trial, state=TrialState.FAIL)
        return {parameter.key: _decode(parameter, trial.params[parameter.key]) for parameter in self.sweep.parameters}


def _decode(parameter: Parameter, drawn: float) -> Value:
    """Return a point by its index; any other number rounded to four significant digits, where that keeps the bounds."""
    if parameter.points is not None:
        return parameter.points[int(drawn)]
    short = float(f"{drawn:.4g}")
    return short if parameter.low <= short <= parameter.high else float(drawn)


def _code(parameter: Parameter, value: Value) -> Value:
    """Return the index of a point (compared as text: in Python 1 equals True), any other number unchanged."""
    if parameter.points is None:
        return value
    return [text(parameter.key, point) for point in parameter.points].index(text(parameter.key, value))
