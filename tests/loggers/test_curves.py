"""Learning curves as W&B is told of them: whole after a resumption, the mean of folds, and nothing of few children."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from fer_id.loggers.disclosure import FEW, few_validated
from fer_id.loggers.results import best_epoch_summary, mean_curve
from fer_id.loggers.run_logger import Row, RunLogger
from fer_id.loggers.wandb import PrivateWandbLogger
from fer_id.objectives import best_row
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir


def w_and_b() -> Any:
    """A W&B run that keeps what it is told, under ``rows`` and ``summary``."""
    rows: list[dict[str, float]] = []
    return SimpleNamespace(rows=rows, log=rows.append, summary={})


def make_logger(folder: Path, told: Any, validated: int = 0) -> PrivateWandbLogger:
    """The logger of a run with ``validated`` real children in inner validation, that speaks to ``told``."""
    RunDir(folder).write_job(Job(children={"train": 9 * bool(validated), "validation": validated, "test": 0}))
    RunDir(folder).write_config({"trainer": {"monitor": "val/loss"}})
    logger = PrivateWandbLogger(RunDir(folder))
    logger._opened = [told]
    return logger


def fitting(**facts: Any) -> Any:
    """A Trainer in the second epoch of a training."""
    loop = SimpleNamespace(epoch_progress=SimpleNamespace(current=SimpleNamespace(ready=2)))
    state = SimpleNamespace(fn="fit")
    return SimpleNamespace(**{"fit_loop": loop, "state": state, "testing": False, "logged_metrics": {}, **facts})


def fold(root: Path, name: str, scores: list[float | None], validated: list[str], children: int = 0) -> RunDir:
    """A fold run with a curve; ``children`` of those whom it validates are real."""
    run = RunDir(root / "folds" / name)
    scored: list[Row] = [{} if score is None else {"val/macro_f1": score} for score in scores]
    RunLogger(run).begin([{"epoch": epoch, "train/loss": 1.0} | row for epoch, row in enumerate(scored)])
    run.write_job(Job(children={"validation": children, "train": 9}, subjects={"validation": validated}))
    return run


# ------------------------------------------------------------------------------------------------ one training


def test_every_epoch_is_told_once_and_a_resumed_training_tells_the_earlier_ones_first(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "val/loss": 1.0 - epoch / 4} for epoch in range(3)]
    first, resumed = w_and_b(), w_and_b()
    logger = make_logger(tmp_path, first)
    logger.follow(fitting(logged_metrics=rows[0]))
    logger.begin([])
    for row in rows[:2]:
        logger.log_epoch(row)
        logger.log_metrics(row, step=1)  # as Lightning does, after the checkpoint
    assert first.rows == rows[:2]

    logger = make_logger(tmp_path, resumed)
    logger.begin(rows[:2])
    assert resumed.rows == rows[:2]
    logger.log_epoch(rows[2])
    assert resumed.rows == rows
    assert resumed.summary == {"val/loss": 0.5, "val/best_epoch": 2}


def test_numbers_of_ones_own_are_on_the_present_epoch(tmp_path: Path) -> None:
    told = w_and_b()
    told.log = lambda row, **_: told.rows.append(row)
    logger = make_logger(tmp_path, told)
    logger.experiment.log({"train/early": 1.0})  # before a training
    logger.follow(fitting(global_step=7))
    logger.begin([])
    logger.experiment.log({"train/mine": 1.0})
    logger.experiment.log({"train/mine": 2.0, "epoch": 0})
    logger.log_metrics({"train/beside": 3.0, "epoch": 9})
    logger.log_epoch({"epoch": 1, "val/loss": 0.5})
    assert told.rows == [
        {"train/early": 1.0},
        {"epoch": 1, "train/mine": 1.0},
        {"epoch": 0, "train/mine": 2.0},
        {"epoch": 1, "val/loss": 0.5, "train/beside": 3.0},
    ]


def test_a_training_that_was_over_before_sends_its_recorded_epochs_once(tmp_path: Path) -> None:
    rows: list[Row] = [{"epoch": epoch, "val/loss": 1.0 - epoch / 4} for epoch in range(3)]
    RunLogger(RunDir(tmp_path)).begin(rows)
    told = w_and_b()
    logger = make_logger(tmp_path, told)
    for _ in range(2):
        logger.log_metrics({"test/accuracy": 0.5, "epoch": 3}, step=9)
    assert told.rows == rows
    assert told.summary["test/accuracy"] == 0.5
    assert told.summary["val/loss"] == 0.5


def test_withheld_and_undefined_numbers_are_not_told(tmp_path: Path) -> None:
    told = w_and_b()
    row = {"epoch": 0, "lr": 0.1, "train/loss": 2.0, "train/auc": None, "val/loss": 1.0, "val/group/site/a/accuracy": 1}
    make_logger(tmp_path, told, validated=3).log_epoch(row)
    assert told.rows == [{"epoch": 0, "lr": 0.1, "train/loss": 2.0}]


# ------------------------------------------------------------------------------------------------- the best epoch

CURVE = pd.DataFrame(
    {"epoch": [0, 1, 2, 3], "val/macro_f1": [0.25, None, 0.5, 0.5], "val/loss": [0.9, None, 0.5, 0.25]}
)


@pytest.mark.parametrize(("monitor", "epoch"), [("val/macro_f1", 2), ("val/loss", 3)])
def test_the_best_epoch_is_the_first_of_equals(monitor: str, epoch: int) -> None:
    assert best_row(CURVE, monitor)["epoch"] == epoch


def test_a_training_that_validated_nothing_has_no_best_epoch() -> None:
    assert best_row(pd.DataFrame(), "val/loss") == {}
    assert best_row(CURVE.assign(**{"val/loss": math.nan}), "val/loss") == {}


def test_the_summary_holds_the_mean_of_the_folds_best_epochs() -> None:
    rows = [{"epoch": 2.0, "val/macro_f1": 0.5, "train/loss": 1.0}, {}, {"epoch": 5.0, "val/macro_f1": 0.75}]
    assert best_epoch_summary(rows, {}) == {"val/macro_f1": 0.625, "val/best_epoch": 3.5}
    assert best_epoch_summary(rows, {"val": FEW}) == {}
    assert best_epoch_summary([{}], {}) == {}


# -------------------------------------------------------------------------------------------------- cross-validation


def test_the_mean_curve_is_over_the_folds_that_trained_so_long(tmp_path: Path) -> None:
    folds = [
        fold(tmp_path, "a", [0.25, 0.5, 0.75], ["s1"]),
        fold(tmp_path, "b", [0.75], ["s2"]),
        fold(tmp_path, "c", [], ["s3"]),
    ]
    rows = list(mean_curve(folds))
    assert [row["folds"] for row in rows] == [2, 1, 1]
    assert [row["val/macro_f1"] for row in rows] == [0.5, 0.5, 0.75]
    assert all(row["train/loss"] == 1 for row in rows)
    assert list(mean_curve([])) == []


def test_of_real_children_the_mean_ends_where_fewer_than_five_are_validated(tmp_path: Path) -> None:
    folds = [
        fold(tmp_path, "a", [0.25, 0.5, 0.5], ["s1", "s2", "s3"], children=3),
        fold(tmp_path, "b", [0.75, 0.75, None], ["s4", "s5", "s3"], children=3),
        fold(tmp_path, "c", [0.5], ["s6"], children=1),
    ]
    rows = list(mean_curve(folds))
    assert ["val/macro_f1" in row for row in rows] == [True, True, False]  # 6, 5 and 3 children
    assert all("train/loss" in row for row in rows)
    assert few_validated([one.job() for one in folds[:2]]) == {}
    assert few_validated([one.job() for one in folds[:1]]) == {"val": FEW}


def test_where_real_children_are_among_drawn_ones_they_are_counted_carefully(tmp_path: Path) -> None:
    """Which of the names are real is not known: no more are taken to be there than one fold is known to have."""
    folds = [fold(tmp_path, name, [0.5], [f"{name}{i}" for i in range(6)], children=3) for name in "abc"]
    assert few_validated([one.job() for one in folds]) == {"val": FEW}
    folds = [fold(tmp_path, name, [0.5], [f"{name}{i}" for i in range(6)], children=5) for name in "abc"]
    assert few_validated([one.job() for one in folds]) == {}


def test_runs_that_do_not_say_who_is_real_are_not_told_of(tmp_path: Path) -> None:
    run = fold(tmp_path, "a", [0.5], ["s1"])
    run.write_job(Job.model_validate({}))
    assert set(few_validated([run.job()])) == {"train", "val", "test"}
    assert list(mean_curve([run])) == [{"epoch": 0, "folds": 1}]
