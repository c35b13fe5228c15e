"""Ray Tune around a study: workers, assignment of trials, early stopping by ASHA, and recovery of lost workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher

from experiments.sweeping.ledger import FAILED, FINISHED, STOPPED, Trial, place
from experiments.sweeping.machines import Machines
from experiments.sweeping.parameters import text
from experiments.sweeping.spec import Sweep
from experiments.sweeping.study import Study
from experiments.sweeping.trial import LAST, LOG, OUTCOME, VALIDATION, VALUE, Assignment, Outcome, run_trial
from fer_id.progress import say

UNENDING = 1_000_000
"""Validations that no trial reaches, for a schedule without an end."""


def tune_study(study: Study, machines: Machines, *, cpus: int, before_step: Callable[[], None]) -> None:
    """Train every trial that is left, each on ``cpus`` processor cores; ``before_step`` is called at every step of
    Ray's loop, and raises where the study was interrupted."""
    running: dict[str, Trial] = {}
    tuner = tune.Tuner(
        tune.with_resources(run_trial, {"cpu": cpus, "gpu": machines.gpus_each}),
        tune_config=TuneConfig(
            search_alg=Suggestions(study, running, threads=cpus),
            scheduler=Stopper(study),
            num_samples=-1,
            max_concurrent_trials=machines.concurrent,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(machines.storage.resolve()),
            verbose=0,
            failure_config=FailureConfig(max_failures=1),  # of a worker; a trial's error is an outcome
            callbacks=[Bookkeeper(study, running, before_step)],
        ),
    )
    tuner.fit()


class Suggestions(Searcher):
    """Ray's search algorithm: takes the trials from a study and adds them to ``running``, by Ray's names for them."""

    def __init__(self, study: Study, running: dict[str, Trial], *, threads: int) -> None:
        super().__init__()
        self._study, self._running, self._threads = study, running, threads

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial as an :class:`Assignment`, or Ray's mark of the end."""
        trial = self._study.next()
        if trial is None:
            return Searcher.FINISHED
        self._running[trial_id] = trial
        plan = self._study.plan
        arguments = plan.arguments(trial.parameters, place(trial.fold, trial.job))
        if self._threads == 1 and not any(argument.startswith("data.num_workers=") for argument in arguments):
            arguments.append("data.num_workers=0")  # a loader would be a second process on the trial's one core
        path, verb, metric = str(self._study.ledger.folder_of(trial)), plan.sweep.verb, plan.sweep.metric
        return asdict(Assignment(trial.fold, verb, tuple(arguments), path, str(Path.cwd()), metric, self._threads))

    def on_trial_complete(self, trial_id: str, result: object = None, error: bool = False) -> None:
        """Do nothing: :class:`Bookkeeper` records the outcome."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a study resumes from its own record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a study resumes from its own record."""


class Stopper(FIFOScheduler):
    """Ray's ASHA, one per outer fold: trials are compared within their fold only. The study's ended trials are
    replayed, so that a resumed study decides as an uninterrupted one."""

    def __init__(self, study: Study) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray has no types here
        folds = [] if study.plan.sweep.stopping is None else study.folds
        self._folds: dict[str | None, Any] = {fold: asha(study.plan.sweep) for fold in folds}
        for fold, scheduler in self._folds.items():
            for number, curve in study.curves(fold).items():
                earlier = SimpleNamespace(trial_id=f"earlier-{number}")  # the one attribute that ASHA reads
                scheduler.on_trial_add(None, earlier)
                for validation, value in enumerate(curve, start=1):
                    scheduler.on_trial_result(None, earlier, {VALUE: value, VALIDATION: validation})

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Register the trial with the scheduler of its fold."""
        if self._folds:
            self._folds[trial.config["fold"]].on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: Mapping[str, object]) -> str:
        """Return whether the trial continues; after its last validation it always does."""
        if not self._folds or VALUE not in result:
            return self.CONTINUE
        decision: str = self._folds[trial.config["fold"]].on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if result[LAST] else decision


def asha(sweep: Sweep) -> ASHAScheduler:
    """Return ASHA with the settings of ``early_terminate``."""
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


class Bookkeeper(Callback):
    """Records and reports how trials end."""

    def __init__(self, study: Study, running: dict[str, Trial], before_step: Callable[[], None]) -> None:
        self._study, self._running, self._before_step = study, running, before_step

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """End an interrupted study."""
        self._before_step()

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Report that a worker died; Ray starts another one, once."""
        lost = self._running[trial.trial_id]
        say(f"{lost.title}: {_death(trial)}; it goes on from its last checkpoint")

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record the outcome that the worker returned, or an early stop."""
        ended, outcome = self._running.pop(trial.trial_id), (trial.last_result or {}).get(OUTCOME)
        study = self._study
        self._announce(study.stopped(ended) if outcome is None else study.over(ended, Outcome(**outcome)))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record a failure: the second worker died too."""
        failed = self._running.pop(trial.trial_id)
        self._announce(self._study.over(failed, Outcome(FAILED, reason=f"{_death(trial)}, twice")))

    def _announce(self, trial: Trial) -> None:
        study = self._study
        total = f"/{study.total}" if study.total else ""
        chosen = " ".join(text(key, value) for key, value in trial.parameters.items())
        ending = {FINISHED: "", STOPPED: " (stopped early)"}.get(trial.status)
        if ending is None:
            log = study.ledger.folder_of(trial) / LOG
            say(f"[{len(study.ended)}{total}] {trial.title} FAILED: {trial.why} ({chosen}; {log})")
            return
        leader = study.leader(trial.fold)
        best = f", best {leader.objective:.4f}" if leader and leader.objective is not None else ""
        value = "none" if trial.objective is None else f"{trial.objective:.4f}"
        say(f"[{len(study.ended)}{total}] {trial.title}: {study.plan.sweep.metric} {value}{ending}{best} ({chosen})")


def _death(trial: TuneTrial) -> str:
    """Return the cause of a worker's death in a few words."""
    error = str(trial.get_error() or "")
    if "memory" in error.lower() and ("oom" in error.lower() or "out of memory" in error.lower()):
        return "its worker ran out of memory and was ended"
    return "its worker was lost (killed, or its machine went away)"
