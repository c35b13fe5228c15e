"""One trial where it runs: in a worker of Ray, on this machine or another one that sees the same folders."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.sweeping.ledger import FAILED, FINISHED
from experiments.sweeping.objective import measured
from fer_id.errors import FerIdError, RunError
from fer_id.files import locked
from fer_id.runs.run_dir import RunDir

VALUE, VALIDATION, LAST, OUTCOME = "value", "validation", "last", "outcome"
"""Keys of what a worker reports."""

LOG = "log.txt"
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Assignment:
    """What a worker is told.

    Attributes:
        number, fold: of the trial.
        job: its hash.
        verb, arguments: the command that would train it by hand.
        path: of its run, relative to ``home`` as everything in the arguments.
        home: working directory of whoever began the sweep.
        metric: the objective.
        threads: processor cores it may use.
    """

    number: int
    fold: str | None
    job: str
    verb: str
    arguments: tuple[str, ...]
    path: str
    home: str
    metric: str
    threads: int


def run_trial(told: dict[str, Any]) -> dict[str, Any]:
    """Trains one trial, telling Ray every inner validation; the function that Ray Tune calls.

    Args:
        told: an :class:`Assignment` as a dict.

    Returns:
        under ``outcome`` its status, objective, epochs, seconds, and why it failed. It raises nothing of a training: a
        trial that fails leaves the others alone.
    """
    assignment = Assignment(**told)
    try:
        os.chdir(assignment.home)
        Path(assignment.path).mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        reason = f"{assignment.home} cannot be used on the machine of this worker ({problem.strerror})"
        return {OUTCOME: {"status": FAILED, "reason": f"{reason}; all machines of a cluster must see the same folders"}}
    sys.argv = ["fer-id", assignment.verb, *assignment.arguments]  # what job.json notes as the command
    with _logged(Path(assignment.path) / LOG):
        return {OUTCOME: _outcome(assignment)}


def _outcome(assignment: Assignment) -> dict[str, Any]:
    try:
        run = _train(assignment)
        return {"status": FINISHED, "reason": None, **measured(run, assignment.metric)}
    except FerIdError as problem:
        print(f"fer-id: {problem}", file=sys.stderr)
        return {"status": FAILED, "reason": str(problem)}
    except Exception as problem:
        traceback.print_exc()
        return {"status": FAILED, "reason": f"{type(problem).__name__}: {problem}"}
    finally:
        if "wandb" in sys.modules:
            from fer_id.loggers.wandb_session import close_session

            close_session()


def _train(assignment: Assignment) -> RunDir:
    """The finished run: as it is where it is finished already, else trained, or taken up where it was interrupted."""
    import torch

    from experiments.settings.loading import load
    from experiments.sweeping.plan import schema
    from experiments.training.setup import open_data
    from experiments.training.trainer import quiet
    from experiments.training.training import train_one
    from fer_id.callbacks.trial_report import EndedOutside, Watch
    from fer_id.loggers.disclosure import TRIAL

    run = RunDir(assignment.path)
    run.require_consent()
    if run.done:
        return run
    quiet()
    torch.set_num_threads(assignment.threads)
    # Nobody may type the name of a run inside folds/, which is where a trial of a fold has its place.
    settings = [argument for argument in assignment.arguments if not argument.startswith("name=")]
    config = load(schema(assignment.verb), settings)
    config = replace(config, name=Path(assignment.path).relative_to(config.runs.root).as_posix())
    _wait_for(run)
    watch = Watch(run, assignment.metric, _report)
    try:
        return train_one(config, run.path, open_data(config, assignment.fold), job_type=TRIAL, watchers=[watch])
    except EndedOutside:
        raise SystemExit(0) from None  # how Ray ends a function it stopped
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the next trial of this worker may need what this one held


def _wait_for(run: RunDir) -> None:
    """Waits while another process trains the run: the worker of a sweep that was killed notices after seconds."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with suppress(RunError), locked(run.path, RunError):
            return
        time.sleep(0.5)


def _report(validation: int, value: float, last: bool) -> None:
    """Waits until Ray has decided whether the trial goes on."""
    from ray import tune

    from fer_id.callbacks.trial_report import EndedOutside

    try:
        tune.report({VALUE: value, VALIDATION: validation, LAST: last})
    except SystemExit:  # Lightning would end the process without a word
        raise EndedOutside from None


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Everything said goes to the log of the trial, readable by its owner only: it may hold pseudonyms."""
    with path.open("a", encoding="utf-8", buffering=1) as log:
        path.chmod(0o600)
        with redirect_stdout(log), redirect_stderr(log):
            yield
