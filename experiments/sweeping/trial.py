"""Training of one trial in a Ray worker, on this machine or on another that sees the same folders."""

from __future__ import annotations

import math
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.own_code import own_fault
from experiments.sweeping.ledger import FAILED, FINISHED
from experiments.sweeping.spec import OBJECTIVES
from fer_id.errors import FerIdError, RunError
from fer_id.files import locked
from fer_id.runs.run_dir import RunDir

VALUE, VALIDATION, LAST, OUTCOME = "value", "validation", "last", "outcome"
"""Keys of a worker's report."""

LOG = "log.txt"
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """Outcome of a trial: status, objective, epochs, seconds, and the reason of a failure."""

    status: str
    objective: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Assignment:
    """A trial as a worker receives it: its fold in the ledger, the command line that would train it by hand, and the
    folder of its run, relative like the paths in the arguments to ``home``, where the sweep was begun."""

    fold: str | None
    verb: str
    arguments: tuple[str, ...]
    path: str
    home: str
    metric: str
    threads: int


def run_trial(fields: Mapping[str, Any]) -> dict[str, dict[str, object]]:
    """Train one trial (the fields of an :class:`Assignment`) and report every inner validation to Ray Tune; the
    trainable function of the sweep. Return the fields of its :class:`Outcome` under ``outcome``.

    Errors of a training are returned, not raised: a failed trial leaves the others alone.
    """
    assignment = Assignment(**fields)
    try:
        os.chdir(assignment.home)
        Path(assignment.path).mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        reason = f"{assignment.home} cannot be used on the machine of this worker ({problem.strerror})"
        failed = Outcome(FAILED, reason=f"{reason}; all machines of a cluster must see the same folders")
        return {OUTCOME: asdict(failed)}
    sys.argv = ["fer-id", assignment.verb, *assignment.arguments]  # the command that job.json records
    path = Path(assignment.path) / LOG
    with path.open("a", encoding="utf-8", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
        path.chmod(0o600)  # it may hold pseudonyms
        return {OUTCOME: asdict(_outcome(assignment))}


def _outcome(assignment: Assignment) -> Outcome:
    try:
        return measured(_train(assignment), assignment.metric)
    except FerIdError as problem:
        print(f"fer-id: {problem}", file=sys.stderr)
        return Outcome(FAILED, reason=str(problem))
    except Exception as problem:
        if (own := own_fault(problem)) is not None:
            print(f"fer-id: {own}", file=sys.stderr)
        else:
            traceback.print_exc()
        return Outcome(FAILED, reason=f"{type(problem).__name__}: {problem}")
    finally:
        if "wandb" in sys.modules:
            from fer_id.loggers.wandb_session import close_session

            close_session()


def _train(assignment: Assignment) -> RunDir:
    """Return the finished run of the trial: as it is where it is finished, else trained or resumed."""
    import torch

    from experiments.settings.loading import load
    from experiments.sweeping.plan import SCHEMAS
    from experiments.training.budget import within_budget
    from experiments.training.setup import open_data
    from experiments.training.trainer import quiet
    from experiments.training.training import train_one
    from fer_id.callbacks.record import EndedOutside, Watch
    from fer_id.loggers.disclosure import TRIAL

    run = RunDir(assignment.path)
    run.require_consent()
    if run.done:
        return run
    quiet()
    torch.set_num_threads(assignment.threads)
    config = load(SCHEMAS[assignment.verb], list(assignment.arguments))
    _wait_for(run)
    watch = Watch(run, assignment.metric, _report)
    try:
        data = open_data(config, assignment.fold)
        return train_one(within_budget(config, data), run.path, data, job_type=TRIAL, watchers=[watch])
    except EndedOutside:
        raise SystemExit(0) from None  # Ray's way to end a function that it stopped
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # for the next trial of this worker


def _wait_for(run: RunDir) -> None:
    """Wait while another process trains the run: the worker of a killed sweep notices it after seconds."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with suppress(RunError), locked(run.path, RunError):
            return
        time.sleep(0.5)


def _report(validation: int, value: float, last: bool) -> None:
    """Report a validation to Ray and wait for its decision whether the trial continues."""
    from ray import tune

    from fer_id.callbacks.record import EndedOutside

    try:
        tune.report({VALUE: value, VALIDATION: validation, LAST: last})
    except SystemExit:  # Lightning would end the process without a message
        raise EndedOutside from None


def measured(run: RunDir, metric: str) -> Outcome:
    """Return the outcome of a finished run: its best inner validation score, computed without test subjects; raise
    RunError where it has none that is finite."""
    values, epochs = objective_curve(run, metric)
    objective = best(values, metric) if values else _as_predicted(run, metric)
    return Outcome(FINISHED, objective, epochs, run.job().seconds)


def objective_curve(run: RunDir, metric: str) -> tuple[list[float], int]:
    """Return the objective at each inner validation so far, and the number of epochs trained."""
    curve = run.learning_curve()
    if metric not in curve:
        return [], len(curve)
    return [float(score) for score in curve[metric].dropna() if math.isfinite(score)], len(curve)


def best(values: Sequence[float], metric: str) -> float:
    """Return the best of the objective's values."""
    return max(values) if OBJECTIVES[metric] == "maximize" else min(values)


def _as_predicted(run: RunDir, metric: str) -> float:
    """Return the objective from the validation predictions of a run that trained nothing and so logged no curve."""
    import torch
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    table = run.predictions()
    table = table[(table["split"] == "validation") & table["label"].notna() & table["predicted"].notna()]
    if metric == "val/loss" or table.empty:
        why = "no clip of its inner validation could be judged" if table.empty else "it learned nothing, so logged none"
        raise RunError(f"{run.path} has no {metric}: {why}")
    names = run.label_space().names
    truth, predicted = (torch.tensor([names.index(label) for label in table[name]]) for name in ("label", "predicted"))
    if metric == "val/accuracy":
        return float(multiclass_accuracy(predicted, truth, len(names), average="micro"))
    return float(multiclass_f1_score(predicted, truth, len(names), average="macro"))
