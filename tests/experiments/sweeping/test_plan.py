"""A trial's configuration, job hash and folder."""

from pathlib import Path
from typing import Any

import pytest

from experiments.config import AdaptConfig, TrainConfig
from experiments.settings.loading import load, plain
from experiments.sweeping.plan import Plan, read_plan
from fer_id.errors import ConfigError
from fer_id.runs.configs import job_hash
from tests.experiments.sweeping.conftest import COMMAND, MakePlan, WriteSweep


def test_parameters_reach_the_configuration(make_plan: MakePlan) -> None:
    parameters = {
        "optim.lr": {"values": [0.5]},
        "model": {"value": "conv4"},
        "model.widths": {"values": [[8, 8, 8, 8]]},
    }
    plan = make_plan(parameters=parameters, metric={"name": "val/loss", "goal": "minimize"})
    config = plan.check()
    assert (config.optim.lr, config.model.name, config.model.widths) == (0.5, "conv4", [8, 8, 8, 8])
    assert config.trainer.monitor == "val/loss"  # the sweep's objective also chooses the best epoch


def test_overrides_win_over_the_command(make_plan: MakePlan) -> None:
    plan = make_plan(("data.store=elsewhere", "trainer.max_epochs=3"))
    config = plan.resolve(plan.first())
    assert (config.data.store, config.trainer.max_epochs) == (["elsewhere"], 3)


def test_equal_trainings_have_one_name(make_plan: MakePlan) -> None:
    plan, first = make_plan(), {"optim.lr": 0.001}
    same = [
        make_plan(("logging.wandb=disabled", "data.num_workers=3", "explain.clips=0")),
        make_plan(command=[*COMMAND[:2], *reversed(COMMAND[2:])]),
        Plan(plan.sweep, "another", "elsewhere"),
        make_plan(("optim.name=adam",)),  # as it is anyway
    ]
    assert {arguments.job(first) for arguments in same} == {plan.job(first)}
    others = [plan.job({"optim.lr": 0.002}), make_plan(("seed=1",)).job(first), make_plan(("data.store=b",)).job(first)]
    assert len({plan.job(first), *others}) == 4


def test_job_hashes_do_not_change() -> None:
    """Another hash would make every existing study train all of its trials again."""
    config = {"seed": 0, "name": "a", "optim": {"lr": 1e-4, "name": "adam"}, "data": {"store": ["a"], "num_workers": 2}}
    assert job_hash(config) == "50ae7b10f5ed"


@pytest.mark.parametrize(
    ("schema", "arguments", "expected"),
    [
        (TrainConfig, "data=synthetic data.store=data/drawn", "308a315a7970"),
        (TrainConfig, "data=simulated data.store=data/simulated model=timm:resnet18", "b83f346b550e"),
        (TrainConfig, "data=fer2013 data.store=data/fer2013 model=shallow_cnn recipe=tuned optim.lr=0.001",
         "b3ca54651884"),
        (TrainConfig, "data=ferplus data.store=data/ferplus model=resnet50 model.stride=halved", "c86ca48a0856"),
        (TrainConfig, "data=affectnet data.store=data/affectnet data.label_space=target5", "31700ecaa3c8"),
        (TrainConfig, "data=folder data.store=data/folder protocol=holdout", "1e253db6212d"),
        (TrainConfig, "data=cohort data.store=data/site protocol=loso data.frames=frame model=resnet50 "
         "model.stride=halved",
         "d152db9b8d56"),
        (AdaptConfig, "data=cohort data.store=data/site init.run=runs/a adapt.strategy=gradual", "76eeaa0ff70d"),
    ],
)  # fmt: skip
def test_trials_of_earlier_versions_keep_their_hash(schema: type[TrainConfig], arguments: str, expected: str) -> None:
    """The hashes that version 4dd8c20 gave, when the settings of ``prepare`` were part of a training's."""
    assert job_hash(plain(load(schema, arguments.split()))) == expected


@pytest.mark.parametrize(
    ("overrides", "changes", "message"),
    [
        ((), {"parameters": {"data.source": {"values": ["a", "b"]}}}, "unknown key; fer-id prepare takes it"),
        ((), {"parameters": {"optim.rate": {"values": [1, 2]}}}, "optim.rate=1 (this sweep): unknown key"),
        ((), {"parameters": {"optim.lr": {"values": [0.1, -1]}}}, "optim.lr=-1 (this sweep): expected above 0"),
        ((), {"parameters": {"optim.lr": {"min": 0.1, "max": 20.0}}, "method": "random", "run_cap": 1},
         "optim.lr=20.0 (this sweep): expected above 0, at most 10"),
        ((), {"parameters": {"data.frames": {"values": ["clip", "frame"]}}}, "teach a temporal head nothing"),
        ((), {"parameters": {"protocol": {"values": ["loso", "kfold"]}}}, "validated on different clips"),
        ((), {"parameters": {"data.store": {"values": ["a", "b"]}}}, "validated on different clips"),
        ((), {"parameters": {"trainer.monitor": {"values": ["val/loss"]}}}, "not varied by a sweep"),
        ((), {"parameters": {"seed": {"values": [0, 1]}}}, "seed also divides the subjects"),
        (("optim.lr=1",), {}, "optim.lr is varied by the sweep"),
        (("trainer.monitor=val/loss",), {}, "the sweep sets trainer.monitor itself"),
        (("optm.lr=1",), {}, "optm.lr=1 (this sweep): unknown key, did you mean optim.lr?"),
        ((), {"command": [*COMMAND, "name=mine"]}, "the sweep sets name itself"),
        ((), {"command": [*COMMAND, "optim.lr=1"]}, "optim.lr is given twice"),
    ],
)  # fmt: skip
def test_invalid_parameters_and_overrides_are_refused(
    overrides: tuple[str, ...], changes: dict[str, Any], message: str, make_plan: MakePlan
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(overrides, **changes).check()
    assert message in str(caught.value)


def test_seeds_can_be_varied_where_they_divide_nobody(make_plan: MakePlan) -> None:
    command = [*COMMAND[:4], "protocol=official", COMMAND[-1]]
    assert make_plan(command=command, parameters={"seed": {"values": [0, 1]}}).check().seed == 0


def test_problems_of_all_parameters_come_together(make_plan: MakePlan) -> None:
    parameters = {"optim.rate": {"value": 1}, "trainer.max_epochs": {"values": ["many", 3]}}
    with pytest.raises(ConfigError, match="2 problems"):
        make_plan(parameters=parameters).check()


def test_problems_of_the_file_and_of_the_configuration_come_together(write_sweep: WriteSweep, tmp_path: Path) -> None:
    parameters = {"optim.rate": {"value": 1}, "trainer.max_epochs": {"values": [0, 3]}}
    path = write_sweep(method="sorted", metric={"name": "test/auc"}, name="../up", parameters=parameters)
    with pytest.raises(ConfigError, match="5 problems") as caught:
        read_plan(path, None, str(tmp_path), [])
    assert "optim.rate=1 (this sweep): unknown key" in str(caught.value)
    assert "trainer.max_epochs" in str(caught.value)


def test_settings_missing_from_an_unreadable_part_are_no_problems(write_sweep: WriteSweep, tmp_path: Path) -> None:
    command = [*COMMAND[:-1], "data.frames=frame", "${args}", COMMAND[-1]]
    path = write_sweep(command=command, parameters={"model": {"values": ["conv4", "conv4"]}})
    with pytest.raises(ConfigError, match="2 problems") as caught:
        read_plan(path, None, str(tmp_path), [])
    assert "one is there twice" in str(caught.value)
    assert "${args} is not known here" in str(caught.value)
