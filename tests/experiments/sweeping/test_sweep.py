"""``fer-id sweep`` from its arguments to its exit code; all tests that need Ray share one."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from experiments.cli import DONE, INTERRUPTED, TERMINATED, main
from experiments.sweeping.ledger import Ledger
from experiments.sweeping.machines import SweepConfig, machines
from experiments.sweeping.spec import SWEEPS
from fer_id.errors import RunError
from fer_id.files import locked
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from tests.experiments.conftest import QUICK
from tests.experiments.messages import Capture, edited, refusal, train
from tests.experiments.sweeping.conftest import SWEEP

TINY = ("model=cnn_lstm", "model.widths=[4,4,8,8]", "model.convs=[1,2,1,1]", "model.hidden=8", "batch_size=8")


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run Ray with two workers; a sweep uses a Ray that is running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
        with machines(SweepConfig(file="a"), shared=tmp_path_factory.mktemp("ray")):
            yield


WriteFile = Callable[..., Path]
BOTH_WAYS = pytest.mark.parametrize("trained", ["here", pytest.param("by Ray", marks=pytest.mark.slow)], indirect=True)


@pytest.fixture
def trained(request: pytest.FixtureRequest) -> str:
    """Place of training: this process, or workers of Ray."""
    request.getfixturevalue("without_ray" if request.param == "here" else "ray")
    return str(request.param)


@pytest.fixture
def write_file(tmp_path: Path, drawn: Path) -> WriteFile:
    """Return a function that writes a sweep of tiny trainings on four drawn children; ``also`` are words of its
    command."""

    def write(*also: str, **changes: Any) -> Path:
        words = ["data=synthetic", f"data.store={drawn}", *TINY, "protocol=holdout"]
        words += ["trainer.max_epochs=1", "trainer.patience=0", *QUICK, *also]
        words = list({word.partition("=")[0]: word for word in words}.values())
        command = ["fer-id", "train", *words, "${args_no_hyphens}"]
        table = SWEEP | {"command": command, "parameters": {"optim.lr": {"values": [0.01, 0.02]}}}
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(table | changes))
        return path

    return write


def study(folder: Path) -> dict[tuple[str | None, int], Any]:
    return dict(Ledger.open(folder).trials)


@BOTH_WAYS
def test_a_failing_trial_leaves_the_others_and_is_tried_again(
    trained: str, write_file: WriteFile, tmp_path: Path, capsys: Capture
) -> None:
    if trained == "here" and torch.cuda.is_available():
        pytest.skip("there is a GPU, which Ray would hide")
    accelerators = {"values": ["cpu", "gpu"]}  # a trial sees only the GPUs that it reserved
    file = write_file(parameters={"optim.lr": {"values": [0.01, 0.02]}, "trainer.accelerator": accelerators})
    text = yaml.safe_load(file.read_text())
    text["command"].remove("trainer.accelerator=cpu")
    file.write_text(yaml.safe_dump(text))
    arguments = ["sweep", "run", str(file), f"runs.root={tmp_path}/runs", "gpus=0"]
    folder = tmp_path / "runs" / "tiny"
    output = refusal(capsys, arguments)
    assert "2 of 4 trials failed" in output
    assert "there is no GPU that torch can use" in output
    assert f"fer-id sweep resume {folder}" in output
    trials = study(folder)
    assert [trials[None, number].status for number in (1, 2, 3, 4)] == ["done", "failed", "done", "failed"]
    assert "there is no GPU" in (folder / trials[None, 2].job / "log.txt").read_text()
    assert (folder / trials[None, 2].job / "log.txt").stat().st_mode & 0o077 == 0

    table = pd.read_csv(folder / "sweep.csv")
    assert table["status"].tolist() == ["done", "failed", "done", "failed"]
    assert set(table["provenance"]) == {"synthetic"}
    assert (folder / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    for number in (1, 3):
        run = RunDir.open(folder / trials[None, number].job)
        curve = run.learning_curve()
        assert trials[None, number].objective == pytest.approx(curve["val/macro_f1"].max())
        command = run.job().command
        assert command.startswith("fer-id train data=synthetic")
        assert f"name=tiny/{trials[None, number].job}" in command

    # Again: finished trials are unchanged; failed trials fail again.
    before = written(folder, trials[None, 1].job, trials[None, 3].job)
    output = refusal(capsys, ["sweep", "resume", str(folder)])
    assert "2 trials are over and stay as they are, 2 failed and are tried again" in output
    assert written(folder, trials[None, 1].job, trials[None, 3].job) == before
    assert [line["status"] for line in lines(folder) if line["number"] == 1] == ["suggested", "done"]
    assert [line["status"] for line in lines(folder) if line["number"] == 2] == ["suggested", "failed"] * 2


def written(folder: Path, *jobs: str) -> dict[Path, int]:
    """Return the modification time of each file of some runs."""
    files = [path for job in jobs for path in (folder / job).rglob("*") if path.is_file() and path.name != "log.txt"]
    return {path: path.stat().st_mtime_ns for path in files}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_every_fold_selects_for_itself(write_file: WriteFile, drawn: Path, tmp_path: Path, capsys: Capture) -> None:
    children = sorted(ClipStore.open(drawn).clips["subject_id"].unique())[:2]
    file = write_file(
        "protocol=loso",
        f"protocol.only=[{','.join(children)}]",
        "trainer.max_epochs=2",
        parameters={"optim.lr": {"values": [0.0001, 0.02]}},
        early_terminate={"type": "hyperband", "min_iter": 1, "eta": 2},
    )
    assert main(["sweep", "run", str(file), f"runs.root={tmp_path}/runs"]) == DONE
    output = capsys.readouterr().out
    folder, trials = tmp_path / "runs" / "tiny", study(tmp_path / "runs" / "tiny")
    folds = sorted({fold for fold, _ in trials if fold})
    assert folds == children
    assert len(trials) == 2 * len(children)

    # By hand, from the records of the finished trainings: the best validation of each fold alone.
    selected = RunDir.open(folder / "selected")
    for fold in folds:
        scores = {}
        for path in (folder / "folds" / fold).iterdir():
            rows = (path / "metrics.jsonl").read_text().splitlines()
            values = [json.loads(line).get("val/macro_f1") for line in rows]
            if (path / "DONE").exists():
                scores[path.name] = max(value for value in values if value is not None)
        chosen = selected.job().selected[fold]
        assert scores[chosen["job"]] == max(scores.values())
        winner = RunDir.open(folder / "folds" / fold / chosen["job"])
        assert winner.job().fold == fold
        linked = RunDir.open(selected.path / "folds" / fold)
        assert linked.checkpoint().samefile(winner.checkpoint())
        assert linked.config()["optim"]["lr"] == chosen["parameters"]["optim.lr"]
    table = selected.predictions()
    assert sorted(table["fold"].unique()) == folds
    tested = table[table["split"] == "test"]
    assert (tested["subject_id"] == tested["fold"]).all()
    assert selected.metrics()["n_subjects"] == len(children)
    assert f"{selected.path}/report.html" in output
    assert main(["evaluate", str(selected.path)]) == DONE

    # Test scores of a trial are never used: with poisoned ones the same trials are selected, without training.
    for _, trial in trials.items():
        if trial.status == "done":
            run = RunDir(folder / "folds" / str(trial.fold) / trial.job)
            with edited(run.path / "metrics.json") as metrics:
                metrics["accuracy"] = float(trial.parameters["optim.lr"] == 0.0001)
    before, done = selected.job().selected, (selected.path / "DONE").stat().st_mtime_ns
    assert main(["sweep", "resume", str(folder)]) == DONE
    assert RunDir(folder / "selected").job().selected == before
    assert (selected.path / "DONE").stat().st_mtime_ns == done


@pytest.mark.slow
@pytest.mark.usefixtures("without_ray")
def test_more_configurations_go_on_where_it_ended(write_file: WriteFile, tmp_path: Path, capsys: Capture) -> None:
    rates = {"optim.lr": {"min": 0.001, "max": 0.1, "distribution": "log_uniform_values"}}
    file = write_file(method="random", run_cap=1, parameters=rates)
    arguments = ["sweep", "run", str(file), f"runs.root={tmp_path}", "name=grown"]
    assert main(arguments) == DONE
    ((_, first),) = study(tmp_path / "grown").items()
    before = written(tmp_path / "grown", first.job)

    # A ledger that was lost costs no training either: the run is there.
    (tmp_path / "grown" / "trials.jsonl").unlink()
    assert main([*arguments, "run_cap=2"]) == DONE
    assert written(tmp_path / "grown", first.job) == before
    trials = study(tmp_path / "grown")
    assert [trial.status for trial in trials.values()] == ["done", "done"]
    assert first in trials.values()
    capsys.readouterr()
    assert main(["sweep", "resume", f"{tmp_path}/grown"]) == DONE  # as it was extended
    assert "side by side" not in capsys.readouterr().err

    # Another sweep does not get into this study.
    assert "is a study of another sweep (differs in overrides)" in refusal(capsys, [*arguments, "trainer.max_epochs=2"])
    another = ["sweep", "run", str(write_file()), f"runs.root={tmp_path}", "name=grown"]
    assert "differs in file" in refusal(capsys, another)


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_lost_worker_is_replaced_once(write_file: WriteFile, tmp_path: Path, capsys: Capture) -> None:
    file = write_file("trainer.max_epochs=12", "protocol.test=false", parameters={"optim.lr": {"values": [0.01]}})
    folder, killed = tmp_path / "runs" / "tiny", list[int]()

    def kill() -> None:
        while not killed and time.monotonic() < until:
            if list(folder.glob("*/checkpoints/last.ckpt")):
                for pid in holders(next(folder.glob("*/log.txt"))):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.02)

    until = time.monotonic() + 120
    thread = threading.Thread(target=kill)
    thread.start()
    code = main(["sweep", "run", str(file), f"runs.root={tmp_path}/runs"])
    thread.join()
    assert len(killed) == 1
    assert code == DONE
    assert "its worker was lost (killed, or its machine went away); it goes on" in capsys.readouterr().err
    (trial,) = study(folder).values()
    run = RunDir.open(folder / trial.job)
    assert run.learning_curve()["epoch"].tolist() == list(range(12))
    assert "resuming" in (run.path / "log.txt").read_text()


POLITE = {signal.SIGTERM: TERMINATED, signal.SIGINT: INTERRUPTED}


def holders(path: Path) -> list[int]:
    """Return the ids of the processes that hold a file open."""
    pids = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == path.resolve():
                pids.append(int(link.parts[2]))
        except OSError:
            continue
    return sorted({*pids} - {os.getpid()})


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_stopped_and_killed_it_goes_on_without_repeating_a_finished_job(write_file: WriteFile, tmp_path: Path) -> None:
    rates = [0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01]  # two at a time may finish before each signal
    file = write_file("trainer.max_epochs=6", "protocol.test=false", parameters={"optim.lr": {"values": rates}})
    folder, finished = tmp_path / "runs" / "tiny", set[Path]()
    arguments = ["run", str(file), f"runs.root={tmp_path}/runs"]
    for sent in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        _kill_half_way(["sweep", *arguments], sent, folder, finished)
        begun = {path.parent.parent for path in folder.glob("*/checkpoints/last.ckpt")}
        finished = {path.parent for path in folder.glob("*/DONE")}
        assert len(finished) < len(rates)
        arguments = ["resume", str(folder)]
    before = written(folder, *(run.name for run in finished))

    assert main(["sweep", "resume", str(folder)]) == DONE
    trials = study(folder)
    assert [number for _, number in trials] == list(range(1, 1 + len(rates)))
    assert {trial.status for trial in trials.values()} == {"done"}
    assert written(folder, *(run.name for run in finished)) == before
    for trial in trials.values():
        assert RunDir.open(folder / trial.job).learning_curve()["epoch"].tolist() == list(range(6))
    for run in begun - finished:
        assert "resuming" in (run / "log.txt").read_text()
    assert len(list(folder.glob("*/DONE"))) == len(rates)
    assert json.loads((folder / "sweep.json").read_text())["state"] == "finished"


def _kill_half_way(arguments: list[str], sent: signal.Signals, folder: Path, finished: set[Path]) -> None:
    """Give the command and send it the signal as soon as one trial more has finished and another has begun; the files
    of the ``finished`` runs stay as they are."""
    before = written(folder, *(run.name for run in finished))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-m", "experiments.cli", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None and not _half_way(folder, finished):
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, sent)
    _, output = process.communicate(timeout=120)
    if sent in POLITE:
        assert process.returncode == POLITE[sent], output
        assert f"go on with: fer-id sweep resume {folder}" in output
        assert json.loads((folder / "sweep.json").read_text())["state"] == "interrupted"
    while (left := [pid for log in folder.glob("*/log.txt") for pid in holders(log)]) and time.monotonic() < until:
        time.sleep(0.1)  # workers notice within seconds that the sweep has ended
    assert not left
    assert written(folder, *(run.name for run in finished)) == before


def _half_way(folder: Path, earlier: set[Path]) -> bool:
    """Return whether a trial has finished that had not ``earlier``, and another has a checkpoint."""
    finished = {path.parent for path in folder.glob("*/DONE")}
    begun = {path.parents[1] for path in folder.glob("*/checkpoints/last.ckpt")}
    return bool(finished - earlier) and bool(begun - finished)


def test_a_cluster_that_does_not_answer_is_reported_before_a_study_begins(
    write_file: WriteFile, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ["sweep", "run", str(write_file()), f"runs.root={tmp_path}/runs", "ray.address=127.0.0.1:1"]
    assert "ray.address=127.0.0.1:1 does not answer" in refusal(capsys, arguments)
    assert not (tmp_path / "runs").exists()


def test_two_processes_do_not_share_a_study(write_file: WriteFile, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    with locked(tmp_path / "runs" / "tiny", RunError):
        output = refusal(capsys, ["sweep", "run", str(write_file()), f"runs.root={tmp_path}/runs"])
    assert "another process is working there" in output


def test_a_folder_of_other_runs_is_left_alone(write_file: WriteFile, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "runs" / "tiny" / "cnn_lstm").mkdir(parents=True)
    output = refusal(capsys, ["sweep", "run", str(write_file()), f"runs.root={tmp_path}/runs"])
    assert "holds other runs (cnn_lstm); choose another name=" in output
    assert sorted(path.name for path in (tmp_path / "runs" / "tiny").iterdir()) == [".lock", "cnn_lstm"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "file is required"),
        (["run", "nothing"], "no such sweep file. Shipped: drawn"),
        (["walk", "drawn"], "expected one of run, resume"),
        (["resume", "nowhere"], "nowhere is no study of a sweep"),
        (["run", "drawn", "name=a/b"], "expected a name without"),
        (["run", "drawn", "trainer.max_epoch=3"], "did you mean trainer.max_epochs?"),
        (["run", "drawn", "data.store=nowhere"], "nowhere"),
        (["run", "drawn", "ray.address=somewhere"], "expected host:port"),
        (["resume", "nowhere", "optim.lr=1"], "a study goes on with the settings it was begun with"),
    ],
)
def test_bad_arguments_are_refused_before_training(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refusal(capsys, ["sweep", *arguments])
    assert not list(tmp_path.rglob("sweep.json"))


# ------------------------------------------------------------------------------------------------- shipped files


@pytest.fixture(scope="module")
def source(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pretrained run whose drawn adults are not in the cohort."""
    root = tmp_path_factory.mktemp("source")
    adults = root / "adults"
    few = ("population=adults", "subjects=3", "clips_per_emotion=1", "frames=3", "seed=22")
    assert main(["synth", f"out={adults}", *few]) == DONE
    words = ["train", "data=synthetic", f"data.store={adults}", *TINY, "protocol=holdout", *QUICK]
    return train([*words, "trainer.max_epochs=1", f"runs.root={root}", "name=source/run"]).path


SMALL = ("model.widths=[4,4,8,8]", "model.convs=[1,2,1,1]", "model.hidden=8")
SHIPPED = {
    "drawn": ("data.num_workers=0", "model.widths=[4,4,8,8]", "trainer.validate_every=1"),
    "lr_augmentation": ("data=synthetic", "protocol=holdout", *SMALL),
    "models": ("data=synthetic", "protocol=holdout"),
    "strategies": ("data=synthetic", "protocol=kfold", "protocol.folds=2", *SMALL),
}


def test_every_shipped_file_is_run() -> None:
    assert {path.stem for path in SWEEPS.glob("*.yaml")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.usefixtures("without_ray")
def test_shipped(name: str, drawn: Path, source: Path, tmp_path: Path) -> None:
    chosen = {setting.partition("=")[0] for setting in SHIPPED[name]}
    quick = [word for word in QUICK if word.partition("=")[0] not in chosen]
    also = [f"init.run={source}"] if name == "strategies" else []
    arguments = [*SHIPPED[name], *quick, *also, f"data.store={drawn}", "trainer.max_epochs=1", "batch_size=8"]
    assert main(["sweep", "run", name, f"runs.root={tmp_path}", "run_cap=1", "concurrent=1", *arguments]) == DONE
    folder = tmp_path / name
    assert {trial.status for trial in study(folder).values()} == {"done"}
    assert (folder / "selected" / "DONE").is_file() == (name == "strategies")
    before = written(folder, *(path.parent.name for path in folder.glob("*/DONE")))
    assert main(["sweep", "resume", str(folder)]) == DONE
    assert written(folder, *(path.parent.name for path in folder.glob("*/DONE"))) == before
