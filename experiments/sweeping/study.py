"""Study: the next trial to run and the outcomes so far; the outer folds take turns, each with a search of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from experiments.sweeping.ledger import FAILED, FINISHED, STOPPED, SUGGESTED, Ledger, Trial
from experiments.sweeping.parameters import Value
from experiments.sweeping.plan import Plan
from experiments.sweeping.search import Search
from experiments.sweeping.spec import GRID
from experiments.sweeping.trial import Outcome, best, objective_curve
from fer_id.errors import ConfigError, RunError
from fer_id.progress import say
from fer_id.runs.run_dir import RunDir


class Study:
    """Trials of a sweep, finished and to come, in the outer ``folds`` (``[None]`` for a single split).

    Trials of an earlier session that were interrupted, failed, or lost their run come first.
    """

    def __init__(self, plan: Plan, ledger: Ledger, folds: Sequence[str | None], *, seed: int) -> None:
        self.plan, self.ledger, self.folds = plan, ledger, list(folds)
        self._jobs: dict[str, str] = {}
        self._exhausted: set[str | None] = set()
        self._damaged: set[str] = set()
        self._searches = {
            fold: Search(plan.sweep, seed=seed, past=ledger.of(fold), curves=self.curves(fold)) for fold in self.folds
        }
        left = [trial for trial in ledger.trials.values() if trial.fold in self.folds and self._is_left(trial)]
        self._left = sorted(left, key=lambda trial: (trial.number, self.folds.index(trial.fold)))

    def _is_left(self, trial: Trial) -> bool:
        """Return whether the trial is to be trained: interrupted, failed, or its run missing or incomplete."""
        gone = trial.status == FINISHED and not RunDir(self.ledger.folder_of(trial)).done
        return gone or not trial.is_over

    def curves(self, fold: str | None) -> dict[int, list[float]]:
        """Return the objective at each inner validation of the ended trials of a fold, by trial number. A trial whose
        curve cannot be read is left out: the ledger has its objective, and early stopping can do without."""
        ended = [trial for trial in self.ledger.of(fold) if trial.status in (FINISHED, STOPPED)]
        return {trial.number: curve for trial in ended if (curve := self._curve(trial)) is not None}

    def _curve(self, trial: Trial) -> list[float] | None:
        """Return the curve of a trial; None, with one message, where its curve cannot be read."""
        try:
            return objective_curve(RunDir(self.ledger.folder_of(trial)), self.plan.sweep.metric)[0]
        except RunError as problem:
            if trial.title not in self._damaged:
                say(f"{trial.title}: its curve is left out ({problem})")
            self._damaged.add(trial.title)
            return None

    @cached_property
    def total(self) -> int | None:
        """Maximum number of trials; None where the search has no known end."""
        cap, points = self.plan.sweep.run_cap, self.plan.sweep.grid if self.plan.sweep.method == GRID else None
        known = [limit for limit in (cap, points) if limit is not None]
        return min(known) * len(self.folds) if known else None

    @property
    def ended(self) -> list[Trial]:
        """Trials that ended."""
        return [trial for trial in self.ledger.trials.values() if trial.status != SUGGESTED]

    def next(self) -> Trial | None:
        """Return the trial to train now; None where no fold has a trial left."""
        if self._left:
            again = self._left.pop(0)
            if again.status != SUGGESTED:
                again = replace(again, status=SUGGESTED, reason=None)
                self.ledger.note(again)
            return again
        while open_folds := [fold for fold in self.folds if fold not in self._exhausted]:
            fold = min(open_folds, key=lambda name: len(self.ledger.of(name)))  # the first with fewest trials
            trial = self._suggested(fold)
            if trial is not None and trial.status == SUGGESTED:
                return trial
            if trial is None:
                self._exhausted.add(fold)
        return None

    def has_more(self) -> bool:
        """Return whether a trial is left to train."""
        trial = self.next()
        if trial is not None:
            self._left.insert(0, trial)
        return trial is not None

    def _suggested(self, fold: str | None) -> Trial | None:
        """Return a new trial of a fold; a trial whose configuration is invalid is recorded as failed."""
        earlier = self.ledger.of(fold)
        known = {self._name(trial.parameters) for trial in earlier}
        number = len(earlier) + 1
        parameters = self._searches[fold].suggest(number, lambda candidate: self._name(candidate) in known)
        if parameters is None:
            return None
        trial = Trial(number, fold, "", parameters)
        self._searches[fold].begin(trial)
        try:
            trial = replace(trial, job=self.plan.job(parameters))
        except ConfigError as problem:
            return self.over(trial, Outcome(FAILED, reason=str(problem)))
        self.ledger.note(trial)
        return trial

    def _name(self, parameters: Mapping[str, Value]) -> str:
        """Return the job of the parameters, or their text where the configuration is invalid."""
        text = json.dumps(parameters, sort_keys=True, default=str)
        if text not in self._jobs:
            try:
                self._jobs[text] = self.plan.job(parameters)
            except ConfigError:
                self._jobs[text] = text
        return self._jobs[text]

    def over(self, trial: Trial, outcome: Outcome) -> Trial:
        """Record how a trial ended, and pass the outcome to the search of its fold."""
        ended = replace(trial, **vars(outcome))
        self.ledger.note(ended)
        curve = self._curve(ended) if outcome.status == STOPPED else None
        self._searches[trial.fold].tell(ended, curve or [])
        return ended

    def stopped(self, trial: Trial) -> Trial:
        """Record a trial that was stopped early, with the curve that its run wrote."""
        values, epochs = objective_curve(RunDir(self.ledger.folder_of(trial)), self.plan.sweep.metric)
        objective = best(values, self.plan.sweep.metric) if values else None
        return self.over(trial, Outcome(STOPPED, objective, epochs))

    def ranked(self, fold: str | None) -> list[Trial]:
        """Return the finished trials of a fold by inner validation, best first, ties in their order. A trial that was
        stopped early has no predictions, so it has no rank."""
        finished = [trial for trial in self.ledger.of(fold) if trial.status == FINISHED and trial.objective is not None]
        sign = -1 if self.plan.sweep.goal == "maximize" else 1
        return sorted(finished, key=lambda trial: sign * (trial.objective or 0.0))

    def leader(self, fold: str | None) -> Trial | None:
        """Return the first of :meth:`ranked`; None where no trial finished."""
        return next(iter(self.ranked(fold)), None)
