"""Early stopping as Ray decides it, and the machines it runs on; no cluster is started."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.sweeping import machines as module
from experiments.sweeping.config import SweepConfig
from experiments.sweeping.ledger import FINISHED, Ledger
from experiments.sweeping.machines import fitting, require_answer
from experiments.sweeping.plan import Plan
from experiments.sweeping.study import Study
from experiments.sweeping.trial import LAST, VALIDATION, VALUE
from experiments.sweeping.tuning import Stopper, _death
from fer_id.errors import ConfigError

GO_ON, STOP = "CONTINUE", "STOP"
MakePlan = Callable[..., Plan]


class Asked:
    """What the scheduler is given of a trial of Ray's."""

    def __init__(self, name: str, fold: str | None = None) -> None:
        self.trial_id, self.config = name, {"fold": fold}


def stopper(plan: Plan, folds: tuple[str | None, ...] = (None,)) -> Stopper:
    return Stopper(Study(plan, Ledger.create(plan.folder, plan.sweep.text, {}), folds, seed=0))


def decisions(scheduler: Any, trial: Asked, values: list[float]) -> str:
    """Of each validation: g to go on, S to stop; the last is told as such."""
    scheduler.on_trial_add(None, trial)
    said = ""
    for validation, value in enumerate(values, start=1):
        result = {VALUE: value, VALIDATION: validation, LAST: validation == len(values)}
        said += {GO_ON: "g", STOP: "S"}[scheduler.on_trial_result(None, trial, result)]
    return said


@pytest.mark.parametrize(
    ("told", "where"),
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
    told: dict[str, Any], where: set[int], make_plan: MakePlan
) -> None:
    scheduler = stopper(make_plan(early_terminate={"type": "hyperband", **told}))
    assert decisions(scheduler, Asked("good"), [0.9] * 30) == "g" * 30
    found = decisions(scheduler, Asked("bad"), [0.1] * 30)
    assert {place for place, one in enumerate(found, start=1) if one == "S"} == where - {30}


def test_without_early_terminate_nothing_stops(make_plan: MakePlan) -> None:
    scheduler = stopper(make_plan())
    assert decisions(scheduler, Asked("good"), [0.9] * 9) + decisions(scheduler, Asked("bad"), [0.1] * 9) == "g" * 18


def test_the_last_validation_ends_nothing(make_plan: MakePlan) -> None:
    """The training is over then; stopped it would have no predictions."""
    scheduler = stopper(make_plan(early_terminate={"type": "hyperband", "min_iter": 2, "eta": 2}))
    assert decisions(scheduler, Asked("good"), [0.9] * 4) == "gggg"
    assert decisions(scheduler, Asked("bad"), [0.1] * 4) == "gSgg"


def test_a_loss_is_better_when_it_is_smaller(make_plan: MakePlan) -> None:
    metric = {"name": "val/loss", "goal": "minimize"}
    scheduler = stopper(make_plan(metric=metric, early_terminate={"type": "hyperband", "min_iter": 1}))
    assert decisions(scheduler, Asked("good"), [0.1, 0.1]) == "gg"
    assert decisions(scheduler, Asked("bad"), [0.9, 0.9]) == "Sg"


def test_folds_are_not_compared(make_plan: MakePlan) -> None:
    scheduler = stopper(make_plan(early_terminate={"type": "hyperband", "min_iter": 1}), ("a", "b"))
    assert decisions(scheduler, Asked("good", "a"), [0.9] * 2) == "gg"
    assert decisions(scheduler, Asked("bad", "b"), [0.1] * 2) == "gg"
    assert decisions(scheduler, Asked("worse", "b"), [0.05] * 2) == "Sg"


def test_what_ended_before_a_crash_is_compared_with(make_plan: MakePlan) -> None:
    plan = make_plan(early_terminate={"type": "hyperband", "min_iter": 2})
    study = Study(plan, Ledger.create(plan.folder, plan.sweep.text, {}), (None,), seed=0)
    trial = study.next()
    assert trial is not None
    run = plan.path(None, trial.job)
    run.mkdir(parents=True)
    lines = [f'{{"epoch": {epoch}, "val/macro_f1": 0.9}}\n' for epoch in range(3)]
    (run / "metrics.jsonl").write_text("".join(lines))
    study.over(trial, FINISHED, objective=0.9)
    resumed = Stopper(Study(plan, Ledger.open(plan.folder), (None,), seed=0))
    assert decisions(resumed, Asked("bad"), [0.1] * 3) == "gSg"


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
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
def test_as_many_side_by_side_as_fit(
    asked: dict[str, Any], there: dict[str, float], expected: tuple[int, float]
) -> None:
    found = fitting(SweepConfig(file="a", **asked), there, Path("a"))
    assert (found.concurrent, found.gpus_each) == expected


@pytest.mark.parametrize(
    ("asked", "told"), [({"cpus": 5}, "cpus=5: there are 4"), ({"gpus": 1.0}, "gpus=1: there are 0")]
)
def test_a_trial_that_never_fits_is_refused(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        fitting(SweepConfig(file="a", **asked), {"CPU": 4.0}, Path("a"))


@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1:port"])
def test_an_address_needs_a_port(address: str) -> None:
    with pytest.raises(ConfigError, match="expected host:port"):
        require_answer(address)


def test_an_address_that_does_not_answer() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nobody listens there
        with pytest.raises(ConfigError, match="does not answer"):
            require_answer(f"127.0.0.1:{free.getsockname()[1]}")


def test_somebody_else_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_OF_RAY_S", 3.0)
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ConfigError, match="does not answer as the head of a Ray"),
    ):
        require_answer(f"127.0.0.1:{other.getsockname()[1]}")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("The actor died because its worker ran out of memory (OOM) and was killed", "ran out of memory"),
        ("The actor died unexpectedly before finishing this task.", "was lost"),
        (None, "was lost"),
    ],
)
def test_why_a_worker_is_gone(error: str | None, told: str) -> None:
    class Gone:
        def get_error(self) -> str | None:
            return error

    gone: Any = Gone()
    assert told in _death(gone)
