"""Training of one trial in a Ray worker, on this machine or on another that sees the same folders."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.sweeping.ledger import FAILED, FINISHED
from experiments.sweeping.objective import measured
from fer_id.errors import FerIdError, RunError
from fer_id.files import locked
from fer_id.runs.run_dir import RunDir

VALUE, VALIDATION, LAST, OUTCOME = "value", "validation", "last", "outcome"
"""Keys of a worker's report."""

LOG = "log.txt"
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Assignment:
    """A trial as a worker receives it.

    Attributes:
        fold: of the trial in the ledger.
        verb, arguments: the command line that would train it by hand.
        path: folder of its run, relative to ``home`` like the paths in the arguments.
        home: working directory of the process that began the sweep.
        metric: the objective.
        threads: number of processor cores.
    """

    fold: str | None
    verb: str
    arguments: tuple[str, ...]
    path: str
    home: str
    metric: str
    threads: int


def run_trial(fields: dict[str, Any]) -> dict[str, Any]:
    """Train one trial and report every inner validation to Ray Tune; the trainable function of the sweep.

    Args:
        fields: an :class:`Assignment` as a dict.

    Returns:
        A dict with ``outcome``: status, objective, epochs, seconds, reason of a failure. Errors of a training are
        returned, not raised: a failed trial leaves the others alone.
    """
    assignment = Assignment(**fields)
    try:
        os.chdir(assignment.home)
        Path(assignment.path).mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        reason = f"{assignment.home} cannot be used on the machine of this worker ({problem.strerror})"
        return {OUTCOME: {"status": FAILED, "reason": f"{reason}; all machines of a cluster must see the same folders"}}
    sys.argv = ["fer-id", assignment.verb, *assignment.arguments]  # the command that job.json records
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
    """Return the finished run of the trial: as it is where it is finished, else trained or resumed."""
    import torch

    from experiments.settings.loading import load
    from experiments.sweeping.plan import schema
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
    config = load(schema(assignment.verb), list(assignment.arguments))
    _wait_for(run)
    watch = Watch(run, assignment.metric, _report)
    try:
        return train_one(config, run.path, open_data(config, assignment.fold), job_type=TRIAL, watchers=[watch])
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


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Redirect all output to the trial's log, readable by its owner only: the log may hold pseudonyms."""
    with path.open("a", encoding="utf-8", buffering=1) as log:
        path.chmod(0o600)
        with redirect_stdout(log), redirect_stderr(log):
            yield
