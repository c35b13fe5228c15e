"""Ray Tune around a study: it starts workers, gives them trials, decides who stops early, and notices who died."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from experiments.sweeping.ledger import FAILED, FINISHED, STOPPED, Trial
from experiments.sweeping.machines import Machines
from experiments.sweeping.parameters import text
from experiments.sweeping.spec import Sweep
from experiments.sweeping.study import Study
from experiments.sweeping.trial import LAST, LOG, OUTCOME, VALIDATION, VALUE, Assignment, run_trial
from fer_id.progress import say

UNENDING = 1_000_000
"""Validations that no trial reaches, for a schedule without an end."""


def tune_study(study: Study, machines: Machines, *, cpus: int) -> None:
    """Trains every trial that is left.

    Args:
        study: gives and takes trials.
        machines: what Ray was given.
        cpus: of each trial.
    """
    given = Given(study)
    tuner = tune.Tuner(
        tune.with_resources(run_trial, {"cpu": cpus, "gpu": machines.gpus_each}),
        tune_config=TuneConfig(
            search_alg=Suggestions(given, threads=cpus),
            scheduler=Stopper(study),
            num_samples=-1,
            max_concurrent_trials=machines.concurrent,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(machines.storage.resolve()),
            verbose=0,
            failure_config=FailureConfig(max_failures=1),  # of the worker: a trial that raises reports that itself
            callbacks=[Bookkeeper(given)],
        ),
    )
    tuner.fit()


class Given:
    """Which trial Ray is training under which name.

    Attributes:
        study: of all trials.
        trials: by Ray's name for them.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.trials: dict[str, Trial] = {}


class Suggestions(Searcher):
    """Hands the trials of a study to Ray.

    Args:
        given: keeps which is which.
        threads: cores of a trial.
    """

    def __init__(self, given: Given, *, threads: int) -> None:
        super().__init__()
        self._given, self._threads = given, threads

    def suggest(self, trial_id: str) -> Any:
        """The next trial as the worker takes it, or Ray's word for the end."""
        study = self._given.study
        trial = study.next()
        if trial is None:
            return Searcher.FINISHED
        self._given.trials[trial_id] = trial
        plan = study.plan
        arguments = plan.arguments(trial.parameters, plan.name(trial.fold, trial.job))
        if self._threads == 1 and not any(one.startswith("data.num_workers=") for one in arguments):
            arguments.append("data.num_workers=0")  # a reader beside it would be a second process on its core
        told = Assignment(
            trial.number,
            trial.fold,
            trial.job,
            plan.sweep.verb,
            tuple(arguments),
            str(plan.path(trial.fold, trial.job)),
            str(Path.cwd()),
            plan.sweep.metric,
            self._threads,
        )
        return asdict(told)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: :class:`Bookkeeper` hears it too, and why."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's own record is what it resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing either."""


class Stopper(FIFOScheduler):
    """Ray's ASHA, one for every outer fold: trials are compared with those of their own fold alone.

    Args:
        study: whose ended trials are filled in, so that a resumed study decides as if it had not been interrupted.
    """

    def __init__(self, study: Study) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray's
        folds = [] if study.plan.sweep.stopping is None else study.folds
        self._folds: dict[str | None, Any] = {fold: asha(study.plan.sweep) for fold in folds}
        for fold, scheduler in self._folds.items():
            for number, curve in study.curves(fold).items():
                earlier = _Earlier(f"earlier-{number}")
                scheduler.on_trial_add(None, earlier)
                for validation, value in enumerate(curve, start=1):
                    scheduler.on_trial_result(None, earlier, {VALUE: value, VALIDATION: validation})

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Of its fold."""
        if self._folds:
            self._folds[trial.config["fold"]].on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Whether the trial goes on; after its last validation there is nothing left to save."""
        if not self._folds or VALUE not in result:
            return self.CONTINUE
        said: str = self._folds[trial.config["fold"]].on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if result[LAST] else said


def asha(sweep: Sweep) -> ASHAScheduler:
    """ASHA as ``early_terminate`` asks for it."""
    if sweep.stopping is None:
        raise ValueError("the sweep stops no trial early")
    last = min(sweep.stopping.last, UNENDING)
    return ASHAScheduler(
        time_attr=VALIDATION,
        metric=VALUE,
        mode="max" if sweep.goal == "maximize" else "min",
        grace_period=sweep.stopping.first,
        max_t=last * (1 + 1e-9),  # type: ignore[arg-type]  # rungs are counted by a quotient of logarithms, cut off
        reduction_factor=sweep.stopping.factor,
        stop_last_trials=False,
    )


class _Earlier:
    """All that ASHA asks of a trial."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


class Bookkeeper(Callback):
    """Notes how trials end, and says so."""

    def __init__(self, given: Given) -> None:
        self._given, self._study = given, given.study

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A worker died; Ray starts another one, once."""
        one = self._given.trials[trial.trial_id]
        say(f"{one.title}: {_death(trial)}; it goes on from its last checkpoint")

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """It said how it ended, or was stopped early."""
        one, outcome = self._given.trials.pop(trial.trial_id), (trial.last_result or {}).get(OUTCOME)
        if outcome is None:
            self._told(self._study.stopped(one))
        else:
            self._told(self._study.over(one, **outcome))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Its second worker died too."""
        one = self._given.trials.pop(trial.trial_id)
        self._told(self._study.over(one, FAILED, reason=f"{_death(trial)}, twice"))

    def _told(self, trial: Trial) -> None:
        study = self._study
        of = f"/{study.total}" if study.total else ""
        chosen = " ".join(text(key, value) for key, value in trial.parameters.items())
        said = {FINISHED: "", STOPPED: " (stopped early)"}.get(trial.status)
        if said is None:
            log = study.plan.path(trial.fold, trial.job) / LOG
            lines = (trial.reason or "").strip().splitlines() or ["no reason"]
            say(f"[{len(study.ended)}{of}] {trial.title} FAILED: {lines[0]} ({chosen}; {log})")
            return
        leader = study.leader(trial.fold)
        best = f", best {leader.objective:.4f}" if leader and leader.objective is not None else ""
        value = "none" if trial.objective is None else f"{trial.objective:.4f}"
        say(f"[{len(study.ended)}{of}] {trial.title}: {study.plan.sweep.metric} {value}{said}{best} ({chosen})")


def _death(trial: TuneTrial) -> str:
    """Why a worker is gone, in a few words."""
    told = str(trial.get_error() or "")
    if "memory" in told.lower() and ("oom" in told.lower() or "out of memory" in told.lower()):
        return "its worker ran out of memory and was ended"
    return "its worker was lost (killed, or its machine went away)"
