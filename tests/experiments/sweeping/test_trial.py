"""Training of one trial by the worker function, in this process and without Ray."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from experiments.config import TrainConfig
from experiments.settings.loading import load
from experiments.sweeping import trial as worker
from experiments.sweeping.trial import OUTCOME, Assignment, Outcome, run_trial
from experiments.training.setup import open_data
from experiments.training.training import train_one
from fer_id.callbacks.record import EndedOutside, Watch
from fer_id.errors import RunError
from fer_id.files import locked
from fer_id.loggers.disclosure import TRIAL
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Tiny

Assigned = Callable[..., dict[str, Any]]


@pytest.fixture
def assigned(drawn: Path, tiny: Tiny, tmp_path: Path) -> Iterator[Assigned]:
    """Yield a function that makes an assignment (``assigned("optim.lr=0.1")``); the process state that the worker
    changes is restored."""
    before = Path.cwd(), sys.argv

    def make(*more: str, fold: str | None = None, home: Path = tmp_path) -> dict[str, Any]:
        words = tiny(drawn, Path("runs"), "name=a/b", *more)[1:]
        return asdict(Assignment(fold, "train", tuple(words), "runs/a/b", str(home), "val/macro_f1", 1))

    yield make
    os.chdir(before[0])
    sys.argv = before[1]


def test_a_trial_trains_in_its_folder_and_only_once(
    assigned: Assigned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[tuple[int, float, bool]] = []
    monkeypatch.setattr(worker, "_report", lambda *report: reports.append(report))
    outcome = run_trial(assigned("trainer.max_epochs=2"))[OUTCOME]
    run = RunDir.open(tmp_path / "runs" / "a" / "b")
    curve = run.learning_curve()["val/macro_f1"]
    assert reports == [(1, pytest.approx(curve[0]), False), (2, pytest.approx(curve[1]), True)]
    assert outcome == {
        "status": "done", "reason": None, "objective": curve.max(), "epochs": 2, "seconds": run.job().seconds
    }  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.name != "log.txt"}
    assert run_trial(assigned("trainer.max_epochs=2"))[OUTCOME] == outcome
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(reports) == 2


def test_errors_of_a_training_are_returned_and_logged(
    assigned: Assigned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "runs" / "a" / "b" / "log.txt"
    outcome = run_trial(assigned("data.store=nowhere"))[OUTCOME]
    assert (outcome["status"], "nowhere" in outcome["reason"]) == ("failed", True)
    assert outcome["reason"] in log.read_text()

    def fault(*_: object) -> None:
        raise LookupError("a fault of ours")

    monkeypatch.setattr(worker, "_report", fault)
    outcome = run_trial(assigned())[OUTCOME]
    assert outcome == asdict(Outcome("failed", reason="LookupError: a fault of ours"))
    assert "Traceback" in log.read_text()
    assert not (log.parent / "DONE").exists()


def test_a_trial_waits_for_the_worker_of_a_killed_sweep(
    assigned: Assigned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_report", lambda *_: None)
    run, held = tmp_path / "runs" / "a" / "b", threading.Event()
    run.mkdir(parents=True)

    def work() -> None:
        with locked(run, RunError):
            held.set()
            time.sleep(1.2)
            (run / "was_here").touch()

    other = threading.Thread(target=work)
    other.start()
    held.wait()
    assert run_trial(assigned())[OUTCOME]["status"] == "done"
    assert (run / "was_here").exists()
    other.join()


def test_a_machine_without_the_folder_says_so(assigned: Assigned, tmp_path: Path) -> None:
    outcome = run_trial(assigned(home=tmp_path / "of another machine"))[OUTCOME]
    assert outcome["status"] == "failed"
    assert "all machines of a cluster must see the same folders" in outcome["reason"]


def test_a_resumed_trial_reports_its_earlier_validations_too(drawn: Path, tiny: Tiny, tmp_path: Path) -> None:
    """A lost worker's trial: ASHA compares whole curves."""
    words = tiny(drawn, tmp_path, "name=a", "trainer.max_epochs=4", "trainer.validate_every=2")[1:]
    config, run = load(TrainConfig, words), RunDir(tmp_path / "a")
    reports: list[tuple[int, float, bool]] = []

    def tell(*report: Any) -> None:
        reports.append(report)
        if len(reports) == 1:
            raise EndedOutside

    for _ in range(2):
        watch = Watch(run, "val/loss", tell)
        try:
            train_one(config, run.path, open_data(config, None), job_type=TRIAL, watchers=[watch])
        except EndedOutside:
            assert not run.done
    curve = run.learning_curve()
    values = curve["val/loss"].dropna().tolist()
    assert curve["epoch"].tolist() == [0, 1, 2, 3]
    assert [report[0] for report in reports] == [1, 1, 2]
    assert [report[1] for report in reports[1:]] == pytest.approx(values)
    assert [report[2] for report in reports] == [False, False, True]
