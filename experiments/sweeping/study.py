"""Which trial comes next, and what is known of the others: every fold searches for itself, in turns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from experiments.sweeping.ledger import FAILED, FINISHED, STOPPED, SUGGESTED, Ledger, Trial
from experiments.sweeping.objective import best, objective_curve
from experiments.sweeping.parameters import Value
from experiments.sweeping.plan import Plan
from experiments.sweeping.search import Search
from experiments.sweeping.spec import GRID
from fer_id.errors import ConfigError, RunError
from fer_id.progress import say
from fer_id.runs.run_dir import RunDir


class Study:
    """The trials of a sweep: those to come and those that were.

    Args:
        plan: what is trained.
        ledger: its record; trials of an earlier session that were interrupted, failed, or lost their run, come first.
        folds: names of the outer folds; ``[None]`` where there is one split.
        seed: of the search.
    """

    def __init__(self, plan: Plan, ledger: Ledger, folds: Sequence[str | None], *, seed: int) -> None:
        self.plan, self.ledger, self.folds = plan, ledger, list(folds)
        self._jobs: dict[str, str] = {}
        self._exhausted: set[str | None] = set()
        self._damaged: set[str] = set()
        self._searches = {
            fold: Search(plan.sweep, seed=seed, past=ledger.of(fold), curves=self.curves(fold)) for fold in self.folds
        }
        left = [one for one in ledger.trials.values() if one.fold in self.folds and self._is_left(one)]
        self._left = sorted(left, key=lambda one: (one.number, self.folds.index(one.fold)))

    def _is_left(self, trial: Trial) -> bool:
        """Whether it is to be trained: interrupted, failed, or done with its run gone or cut short since."""
        gone = trial.status == FINISHED and not RunDir(self.plan.path(trial.fold, trial.job)).done
        return gone or not trial.is_over

    def curves(self, fold: str | None) -> dict[int, list[float]]:
        """The objective at each inner validation of the trials of a fold that have ended, by number.

        A trial whose curve cannot be read is left out: the ledger has its objective, and early stopping can do without.
        """
        ended = [one for one in self.ledger.of(fold) if one.status in (FINISHED, STOPPED)]
        found = {one.number: self._curve(one) for one in ended}
        return {number: curve for number, curve in found.items() if curve is not None}

    def _curve(self, trial: Trial) -> list[float] | None:
        """Of one trial; None where it cannot be read, which is said once."""
        try:
            return objective_curve(RunDir(self.plan.path(trial.fold, trial.job)), self.plan.sweep.metric)[0]
        except RunError as problem:
            if trial.title not in self._damaged:
                say(f"{trial.title}: its curve is left out ({problem})")
            self._damaged.add(trial.title)
            return None

    @cached_property
    def total(self) -> int | None:
        """How many trials there will be at most; None where nobody can tell."""
        cap, points = self.plan.sweep.run_cap, self.plan.sweep.grid if self.plan.sweep.method == GRID else None
        known = [one for one in (cap, points) if one is not None]
        return min(known) * len(self.folds) if known else None

    @property
    def ended(self) -> list[Trial]:
        """Trials that are over."""
        return [one for one in self.ledger.trials.values() if one.status != SUGGESTED]

    def next(self) -> Trial | None:
        """The trial to train now; None where no fold has one left."""
        if self._left:
            again = self._left.pop(0)
            if again.status != SUGGESTED:
                again = replace(again, status=SUGGESTED, reason=None)
                self.ledger.note(again)
            return again
        while open_folds := [fold for fold in self.folds if fold not in self._exhausted]:
            fold = min(open_folds, key=lambda one: len(self.ledger.of(one)))  # the first of those that had fewest
            trial = self._suggested(fold)
            if trial is not None and trial.status == SUGGESTED:
                return trial
            if trial is None:
                self._exhausted.add(fold)
        return None

    def has_more(self) -> bool:
        """Whether anything is left to train."""
        trial = self.next()
        if trial is not None:
            self._left.insert(0, trial)
        return trial is not None

    def _suggested(self, fold: str | None) -> Trial | None:
        """A new trial of a fold; one whose configuration cannot be is noted as failed."""
        earlier = self.ledger.of(fold)
        known = {self._name(one.parameters) for one in earlier}
        number = len(earlier) + 1
        parameters = self._searches[fold].suggest(number, lambda one: self._name(one) in known)
        if parameters is None:
            return None
        trial = Trial(number, fold, "", parameters)
        self._searches[fold].begin(trial)
        try:
            trial = replace(trial, job=self.plan.job(parameters))
        except ConfigError as problem:
            return self.over(trial, FAILED, reason=str(problem))
        self.ledger.note(trial)
        return trial

    def _name(self, parameters: Mapping[str, Value]) -> str:
        """The job that parameters lead to; of those that lead to none, their text."""
        text = json.dumps(parameters, sort_keys=True, default=str)
        if text not in self._jobs:
            try:
                self._jobs[text] = self.plan.job(parameters)
            except ConfigError:
                self._jobs[text] = text
        return self._jobs[text]

    def over(
        self,
        trial: Trial,
        status: str,
        *,
        objective: float | None = None,
        epochs: int | None = None,
        seconds: float | None = None,
        reason: str | None = None,
    ) -> Trial:
        """Notes how a trial ended, and tells the search of its fold."""
        ended = replace(trial, status=status, objective=objective, epochs=epochs, seconds=seconds, reason=reason)
        self.ledger.note(ended)
        curve = self._curve(ended) if status == STOPPED else None
        self._searches[trial.fold].tell(ended, curve or [])
        return ended

    def stopped(self, trial: Trial) -> Trial:
        """Notes a trial that was stopped early, by what its run wrote down."""
        values, epochs = objective_curve(RunDir(self.plan.path(trial.fold, trial.job)), self.plan.sweep.metric)
        objective = best(values, self.plan.sweep.metric) if values else None
        return self.over(trial, STOPPED, objective=objective, epochs=epochs)

    def ranked(self, fold: str | None) -> list[Trial]:
        """The finished trials of a fold by inner validation, the best first, equals as they came.

        A trial that was stopped early has no predictions, so it has no rank.
        """
        finished = [one for one in self.ledger.of(fold) if one.status == FINISHED and one.objective is not None]
        sign = -1 if self.plan.sweep.goal == "maximize" else 1
        return sorted(finished, key=lambda one: sign * (one.objective or 0.0))

    def leader(self, fold: str | None) -> Trial | None:
        """The first of :meth:`ranked`; None where none finished."""
        return next(iter(self.ranked(fold)), None)
