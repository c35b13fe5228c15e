"""One trial as a worker trains it, in this process and without Ray."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from experiments.settings.loading import load
from experiments.sweeping import trial as worker
from experiments.sweeping.plan import schema
from experiments.sweeping.trial import OUTCOME, Assignment, run_trial
from experiments.training.setup import open_data
from experiments.training.training import train_one
from fer_id.callbacks.trial_report import EndedOutside, Watch
from fer_id.errors import RunError
from fer_id.files import locked
from fer_id.loggers.disclosure import TRIAL
from fer_id.runs.run_dir import RunDir

Tiny = Callable[..., list[str]]


@pytest.fixture
def assigned(drawn: Path, tiny: Tiny, tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """``assigned("optim.lr=0.1")``: what a worker is told. It may change its process: that is put back."""
    before = Path.cwd(), sys.argv

    def make(*more: str, fold: str | None = None, home: Path = tmp_path) -> dict[str, Any]:
        words = tiny(drawn, Path("runs"), "name=a/b", *more)[1:]
        return asdict(Assignment(1, fold, "b", "train", tuple(words), "runs/a/b", str(home), "val/macro_f1", 1))

    yield make
    os.chdir(before[0])
    sys.argv = before[1]


def test_it_trains_where_it_is_told_and_only_once(
    assigned: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, float, bool]] = []
    monkeypatch.setattr(worker, "_report", lambda *one: told.append(one))
    outcome = run_trial(assigned("trainer.max_epochs=2"))[OUTCOME]
    run = RunDir.open(tmp_path / "runs" / "a" / "b")
    curve = run.learning_curve()["val/macro_f1"]
    assert told == [(1, pytest.approx(curve[0]), False), (2, pytest.approx(curve[1]), True)]
    assert outcome == {
        "status": "done", "reason": None, "objective": curve.max(), "epochs": 2, "seconds": run.job()["seconds"]
    }  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.name != "log.txt"}
    assert run_trial(assigned("trainer.max_epochs=2"))[OUTCOME] == outcome
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(told) == 2


def test_what_a_training_raises_is_said_and_logged(
    assigned: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "runs" / "a" / "b" / "log.txt"
    outcome = run_trial(assigned("data.store=nowhere"))[OUTCOME]
    assert (outcome["status"], "nowhere" in outcome["reason"]) == ("failed", True)
    assert outcome["reason"] in log.read_text()

    def fault(*_: object) -> None:
        raise LookupError("a fault of ours")

    monkeypatch.setattr(worker, "_report", fault)
    outcome = run_trial(assigned())[OUTCOME]
    assert outcome == {"status": "failed", "reason": "LookupError: a fault of ours"}
    assert "Traceback" in log.read_text()
    assert not (log.parent / "DONE").exists()


def test_a_worker_of_a_killed_sweep_is_waited_for(
    assigned: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_machine_without_the_folder_says_so(assigned: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    outcome = run_trial(assigned(home=tmp_path / "of another machine"))[OUTCOME]
    assert outcome["status"] == "failed"
    assert "all machines of a cluster must see the same folders" in outcome["reason"]


def test_an_ended_trial_goes_on_and_tells_what_was_before(drawn: Path, tiny: Tiny, tmp_path: Path) -> None:
    """As after a lost worker: whoever compares curves needs all of them."""
    words = tiny(drawn, tmp_path, "name=a", "trainer.max_epochs=4", "trainer.validate_every=2")[1:]
    config, run = load(schema("train"), words), RunDir(tmp_path / "a")
    told: list[tuple[int, float, bool]] = []

    def tell(*one: Any) -> None:
        told.append(one)
        if len(told) == 1:
            raise EndedOutside

    for _ in range(2):
        try:
            train_one(
                config, run.path, open_data(config, None), job_type=TRIAL, watchers=[Watch(run, "val/loss", tell)]
            )
        except EndedOutside:
            assert not run.done
    curve = run.learning_curve()
    values = curve["val/loss"].dropna().tolist()
    assert curve["epoch"].tolist() == [0, 1, 2, 3]
    assert [one[0] for one in told] == [1, 1, 2]
    assert [one[1] for one in told[1:]] == pytest.approx(values)
    assert [one[2] for one in told] == [False, False, True]
