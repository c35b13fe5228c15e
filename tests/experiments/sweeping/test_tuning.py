"""Early stopping by Ray's ASHA, and the resources of Ray; no cluster is started."""

import socket
from pathlib import Path
from typing import Any

import pytest

from experiments.sweeping import machines as module
from experiments.sweeping.ledger import FINISHED, Ledger
from experiments.sweeping.machines import SweepConfig, fitting, require_answer
from experiments.sweeping.plan import Plan
from experiments.sweeping.study import Study
from experiments.sweeping.trial import LAST, VALIDATION, VALUE, Outcome
from experiments.sweeping.tuning import Stopper, _death
from fer_id.errors import ConfigError
from tests.experiments.sweeping.conftest import MakePlan

GO_ON, STOP = "CONTINUE", "STOP"


class RayTrial:
    """A trial as Ray passes it to the scheduler."""

    def __init__(self, name: str, fold: str | None = None) -> None:
        self.trial_id, self.config = name, {"fold": fold}


def stopper(plan: Plan, folds: tuple[str | None, ...] = (None,)) -> Stopper:
    return Stopper(Study(plan, Ledger.create(plan.folder, plan.sweep.text, {}), folds, seed=0))


def decisions(scheduler: Any, trial: RayTrial, values: list[float]) -> str:
    """Return the decision at each validation: g to go on, S to stop; the last validation is marked as last."""
    scheduler.on_trial_add(None, trial)
    letters = ""
    for validation, value in enumerate(values, start=1):
        result = {VALUE: value, VALIDATION: validation, LAST: validation == len(values)}
        letters += {GO_ON: "g", STOP: "S"}[scheduler.on_trial_result(None, trial, result)]
    return letters


@pytest.mark.parametrize(
    ("spec", "stops"),
    [
        ({"min_iter": 2, "eta": 2}, {2, 4, 8, 16}),
        ({"min_iter": 1, "eta": 3}, {1, 3, 9, 27}),
        ({"min_iter": 1, "eta": 10}, {1, 10}),  # whose logarithms do not divide evenly in floating point
        ({"max_iter": 27, "s": 2}, {3, 9}),
        ({"max_iter": 16, "s": 3, "eta": 2}, {2, 4, 8}),
        ({"max_iter": 30, "s": 1}, {10}),
    ],
)
def test_decisions_fall_where_wandb_has_its_brackets(
    spec: dict[str, Any], stops: set[int], make_plan: MakePlan
) -> None:
    scheduler = stopper(make_plan(early_terminate={"type": "hyperband", **spec}))
    assert decisions(scheduler, RayTrial("good"), [0.9] * 30) == "g" * 30
    letters = decisions(scheduler, RayTrial("bad"), [0.1] * 30)
    assert {place for place, letter in enumerate(letters, start=1) if letter == "S"} == stops - {30}


def test_without_early_terminate_nothing_stops(make_plan: MakePlan) -> None:
    scheduler = stopper(make_plan())
    assert decisions(scheduler, RayTrial("good"), [0.9] * 9) == "g" * 9
    assert decisions(scheduler, RayTrial("bad"), [0.1] * 9) == "g" * 9


def test_the_last_validation_ends_nothing(make_plan: MakePlan) -> None:
    """After it the training is over; a stopped trial would have no predictions."""
    scheduler = stopper(make_plan(early_terminate={"type": "hyperband", "min_iter": 2, "eta": 2}))
    assert decisions(scheduler, RayTrial("good"), [0.9] * 4) == "gggg"
    assert decisions(scheduler, RayTrial("bad"), [0.1] * 4) == "gSgg"


def test_a_loss_is_better_when_it_is_smaller(make_plan: MakePlan) -> None:
    metric = {"name": "val/loss", "goal": "minimize"}
    scheduler = stopper(make_plan(metric=metric, early_terminate={"type": "hyperband", "min_iter": 1}))
    assert decisions(scheduler, RayTrial("good"), [0.1, 0.1]) == "gg"
    assert decisions(scheduler, RayTrial("bad"), [0.9, 0.9]) == "Sg"


def test_folds_are_not_compared(make_plan: MakePlan) -> None:
    scheduler = stopper(make_plan(early_terminate={"type": "hyperband", "min_iter": 1}), ("a", "b"))
    assert decisions(scheduler, RayTrial("good", "a"), [0.9] * 2) == "gg"
    assert decisions(scheduler, RayTrial("bad", "b"), [0.1] * 2) == "gg"
    assert decisions(scheduler, RayTrial("worse", "b"), [0.05] * 2) == "Sg"


def test_trials_ended_before_a_crash_are_compared_with(make_plan: MakePlan) -> None:
    plan = make_plan(early_terminate={"type": "hyperband", "min_iter": 2})
    study = Study(plan, Ledger.create(plan.folder, plan.sweep.text, {}), (None,), seed=0)
    trial = study.next()
    assert trial is not None
    run = study.ledger.folder_of(trial)
    run.mkdir(parents=True)
    lines = [f'{{"epoch": {epoch}, "val/macro_f1": 0.9}}\n' for epoch in range(3)]
    (run / "metrics.jsonl").write_text("".join(lines))
    study.over(trial, Outcome(FINISHED, 0.9))
    resumed = Stopper(Study(plan, Ledger.open(plan.folder), (None,), seed=0))
    assert decisions(resumed, RayTrial("bad"), [0.1] * 3) == "gSg"


@pytest.mark.parametrize(
    ("settings", "resources", "expected"),
    [
        ({}, {"CPU": 4.0}, (4, 0.0)),
        ({"cpus": 3}, {"CPU": 8.0}, (2, 0.0)),
        ({"concurrent": 2}, {"CPU": 8.0}, (2, 0.0)),
        ({}, {"CPU": 16.0, "GPU": 2.0}, (2, 1.0)),
        ({"gpus": 0.5}, {"CPU": 16.0, "GPU": 2.0}, (4, 0.5)),
        ({"gpus": 0.1}, {"CPU": 16.0, "GPU": 1.0}, (10, 0.1)),
        ({"gpus": 0.0}, {"CPU": 16.0, "GPU": 2.0}, (16, 0.0)),
    ],
)
def test_as_many_trials_run_at_a_time_as_fit(
    settings: dict[str, Any], resources: dict[str, float], expected: tuple[int, float]
) -> None:
    machines = fitting(SweepConfig(file="a", **settings), resources, Path("a"))
    assert (machines.concurrent, machines.gpus_each) == expected


@pytest.mark.parametrize(
    ("settings", "message"), [({"cpus": 5}, "cpus=5: there are 4"), ({"gpus": 1.0}, "gpus=1: there are 0")]
)
def test_a_trial_that_never_fits_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fitting(SweepConfig(file="a", **settings), {"CPU": 4.0}, Path("a"))


@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1:port"])
def test_an_address_needs_a_port(address: str) -> None:
    with pytest.raises(ConfigError, match="expected host:port"):
        require_answer(address)


def test_an_address_of_another_service_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_OF_RAY_S", 3.0)
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ConfigError, match="does not answer as the head of a Ray"),
    ):
        require_answer(f"127.0.0.1:{other.getsockname()[1]}")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("The actor died because its worker ran out of memory (OOM) and was killed", "ran out of memory"),
        ("The actor died unexpectedly before finishing this task.", "was lost"),
        (None, "was lost"),
    ],
)
def test_the_cause_of_a_worker_death(error: str | None, cause: str) -> None:
    class Gone:
        def get_error(self) -> str | None:
            return error

    gone: Any = Gone()
    assert cause in _death(gone)
