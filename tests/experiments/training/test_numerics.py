"""Which numerics a training gets, what is remembered of them, and how runs of another machine open on this one."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from experiments.cli import DONE, USERS_FAULT, main
from experiments.config import TrainConfig
from experiments.settings.loading import load
from experiments.training import numerics
from experiments.training.numerics import MEMORY, settled
from experiments.training.video_model import open_run
from fer_id import files
from fer_id.callbacks.record import Record
from fer_id.errors import RunError
from fer_id.files import locked, write_json
from fer_id.labels import TARGET
from fer_id.runs.run_dir import RunDir
from fer_id.tasks import numerics as capabilities
from fer_id.tasks.numerics import Numerics
from tests.experiments.messages import Capture, Tiny, Trained, reconfigure, refusal, stop, train
from tests.experiments.sweeping.conftest import SWEEP

Timings = list[tuple[str, ...]]


def record(run: RunDir, precision: str) -> RunDir:
    """Lets a run say that it was trained in another precision: what a machine that has it would have left."""
    reconfigure(run, "trainer", precision=precision)
    run.write_job(run.job().model_copy(update={"precision": precision}))
    return run


@pytest.fixture
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "_has_bf16", lambda device_type: True)


# ---------------------------------------------------------------------------------------------- what is remembered


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch) -> Timings:
    """The candidates of every measurement, of which the last one is the fastest."""
    calls: Timings = []

    def measure(model: Any, shape: Any, *, device: Any, precisions: Any, formats: Any, side: int) -> list[Numerics]:
        calls.append((*precisions, *formats))
        pairs = [(p, f) for p in precisions if capabilities.supports(p, device) for f in formats]
        return [Numerics(*pair, 0.1 * number) for number, pair in enumerate(reversed(pairs), start=1)]

    monkeypatch.setattr(numerics, "measure", measure)
    return calls


def config(root: Path, *more: str) -> TrainConfig:
    common = ("data=synthetic", "data.store=unused", "model=cnn_lstm", "model.widths=[4,4,4,4]", "model.hidden=4")
    arguments = [*common, f"runs.root={root}", "trainer.accelerator=cpu", *more]
    return load(TrainConfig, list({one.partition("=")[0]: one for one in arguments}.values()))  # the later one wins


def decide(root: Path, *more: str, frames: int = 3) -> tuple[str, str]:
    """The numerics of a new training on clips of so many frames."""
    data: Any = SimpleNamespace(labels=TARGET, crop=64, clips=pd.DataFrame({"length": [2, frames]}))
    trainer = settled(config(root, *more), root / "new", data).trainer
    return trainer.precision, trainer.memory_format


@pytest.mark.usefixtures("without_bf16")
def test_a_decision_is_remembered_and_says_where(tmp_path: Path, timings: Timings, capsys: Capture) -> None:
    assert decide(tmp_path) == ("32", "contiguous")
    assert "32 contiguous: 0.100 s a timed step (32 channels_last 0.200)" in capsys.readouterr().err
    indifferent = ("optim.lr=0.5", "seed=3", "model.dropout=0.5", "name=other", "trainer.max_epochs=2")
    assert decide(tmp_path, *indifferent) == ("32", "contiguous")
    said = capsys.readouterr().err
    day = r"\d{4}-\d\d-\d\d"
    assert re.fullmatch(
        rf"precision 32 contiguous: remembered from {day} \(delete {tmp_path / MEMORY} to measure again\)\n", said
    )
    assert len(timings) == 1
    (tmp_path / MEMORY).unlink()
    decide(tmp_path)
    assert len(timings) == 2


@pytest.mark.usefixtures("without_bf16")
@pytest.mark.parametrize(
    "changes",
    [
        {"settings": ("model.widths=[4,4,4,8]",)},
        {"settings": ("model=conv4", "data.frames=frame")},
        {"settings": ("model.head=gru",)},
        {"settings": ("batch_size=7",)},
        {"settings": ("trainer.memory_format=channels_last",)},
        {"frames": 5},
        {"patch": (capabilities, "_has_bf16", lambda device_type: True)},
        {"patch": (numerics, "machine", lambda device_type: "another processor, 1 CPU threads")},
        {"patch": (torch, "get_num_threads", lambda: 64)},
        {"patch": (torch, "__version__", "3.0")},
        {"patch": (torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")},
        {"limit": "SSE41"},
    ],
    ids=[
        *(
            "widths",
            "encoder",
            "head",
            "batch size",
            "memory format",
            "frames",
            "bf16",
            "processor",
            "threads",
            "torch",
        ),
        *("instructions", "limit of instructions"),
    ],
)
def test_what_may_change_the_decision_is_measured_again(
    changes: dict[str, Any], tmp_path: Path, timings: Timings, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(tmp_path)
    decide(tmp_path)
    assert len(timings) == 1
    if "patch" in changes:
        monkeypatch.setattr(*changes["patch"])
    if "limit" in changes:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", changes["limit"])
    decide(tmp_path, *changes.get("settings", ()), frames=changes.get("frames", 3))
    assert len(timings) == 2
    assert len(json.loads((tmp_path / MEMORY).read_text())["decisions"]) == 2


@pytest.mark.usefixtures("without_bf16")
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff\xfe", b"[]", b'{"decisions": 3}'),
        *(b'{"decisions": [1]}', b'{"decisions": [{"precision": "64"}]}'),
    ],
)
def test_a_damaged_memory_is_ignored_with_a_line(
    content: bytes, tmp_path: Path, timings: Timings, capsys: Capture
) -> None:
    (tmp_path / MEMORY).write_bytes(content)
    assert decide(tmp_path) == ("32", "contiguous")
    said = capsys.readouterr().err
    assert str(tmp_path / MEMORY) in said
    assert "ignored" in said
    decide(tmp_path)
    assert "remembered from" in capsys.readouterr().err
    assert len(timings) == 1


@pytest.mark.usefixtures("without_bf16")
def test_a_memory_that_asks_for_what_is_missing_is_not_followed(tmp_path: Path, timings: Timings) -> None:
    decide(tmp_path)
    memory = (tmp_path / MEMORY).read_text()
    (tmp_path / MEMORY).write_text(memory.replace('"precision": "32"', '"precision": "bf16"'))
    assert decide(tmp_path) == ("32", "contiguous")
    assert len(timings) == 2


@pytest.mark.usefixtures("without_bf16", "timings")
def test_a_memory_that_cannot_be_written_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(numerics, "write_json", refuse)
    assert decide(tmp_path) == ("32", "contiguous")
    assert f"{tmp_path / MEMORY}: not written (Permission denied)" in capsys.readouterr().err


@pytest.mark.usefixtures("without_bf16")
def test_a_process_that_comes_second_waits_and_takes_what_the_first_decided(
    tmp_path: Path, timings: Timings, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(tmp_path)
    memory = json.loads((tmp_path / MEMORY).read_text())
    memory["decisions"][0]["memory_format"] = "channels_last"
    (tmp_path / MEMORY).unlink()
    with ExitStack() as first:
        first.enter_context(locked(tmp_path, RunError))

        def decided_meanwhile(seconds: float) -> None:
            write_json(tmp_path / MEMORY, memory)
            first.close()

        monkeypatch.setattr(files.time, "sleep", decided_meanwhile)
        assert decide(tmp_path) == ("32", "channels_last")
    assert len(timings) == 1


@pytest.mark.usefixtures("without_bf16")
def test_nobody_waits_for_ever(
    tmp_path: Path, timings: Timings, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(numerics, "PATIENCE_S", 0.0)
    with locked(tmp_path, RunError):
        assert decide(tmp_path) == ("32", "contiguous")
    assert "timed beside other processes" in capsys.readouterr().err
    assert len(timings) == 1


@pytest.mark.usefixtures("with_bf16")
def test_what_was_chosen_is_not_timed(tmp_path: Path, timings: Timings) -> None:
    assert decide(tmp_path, "trainer.precision=bf16", "trainer.memory_format=contiguous") == ("bf16", "contiguous")
    assert not list(tmp_path.iterdir())
    assert decide(tmp_path, "trainer.precision=bf16") == ("bf16", "contiguous")
    assert timings == [("bf16", "channels_last", "contiguous")]


# --------------------------------------------------------------------------------- what this machine cannot compute


@pytest.mark.usefixtures("without_bf16")
@pytest.mark.parametrize("more", [(), ("protocol=loso",)])
def test_a_training_in_what_is_missing_is_refused_before_anything(
    more: tuple[str, ...], drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    said = refusal(capsys, tiny(drawn, tmp_path, "trainer.precision=bf16", "name=a", *more))
    assert "trainer.precision=bf16: this machine (" in said
    assert "say trainer.precision=32, or auto" in said
    assert len(said) < 2000
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_bf16")
@pytest.mark.parametrize(("base", "varied"), [("bf16", None), ("32", ["32", "bf16"])])
def test_a_sweep_in_what_is_missing_is_refused_before_anything(
    base: str, varied: list[str] | None, drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    ours = ("runs.root", "trainer.precision", "optim.lr", "name")
    settings = [one for one in tiny(drawn, tmp_path)[1:] if not one.startswith(ours)]
    parameters: dict[str, Any] = {"optim.lr": {"values": [0.1]}}
    if varied:
        parameters["trainer.precision"] = {"values": varied}
    else:
        settings.append(f"trainer.precision={base}")
    content = SWEEP | {"command": ["fer-id", "train", *settings, "${args_no_hyphens}"], "parameters": parameters}
    (tmp_path / "lr.yaml").write_text(yaml.safe_dump(content))
    output = refusal(capsys, ["sweep", "run", str(tmp_path / "lr.yaml"), f"runs.root={tmp_path / 'runs'}"])
    assert "trainer.precision=bf16: this machine (" in output
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def begun(drawn: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A training of two epochs in bf16, stopped within the second, and its arguments."""
    arguments = tiny(drawn, tmp_path, "trainer.max_epochs=2", "name=a")
    stop(monkeypatch, Record, "on_train_epoch_end", 1, arguments)
    return arguments, record(RunDir(tmp_path / "a"), "bf16")


def chosen(arguments: list[str], precision: str) -> list[str]:
    return [*(one for one in arguments if not one.startswith("trainer.precision=")), f"trainer.precision={precision}"]


@pytest.mark.usefixtures("without_bf16")
def test_a_training_of_another_machine_is_resumed_in_float32_only_where_that_is_said(
    begun: Trained, capsys: Capture
) -> None:
    arguments, run = begun
    before = (run.path / "config.yaml").read_bytes()
    said = refusal(capsys, chosen(arguments, "auto"))
    assert "was begun in bf16" in said
    assert "trainer.precision=32" in said
    assert main(chosen(arguments, "bf16")) == USERS_FAULT
    assert main([*chosen(arguments, "32"), "seed=9"]) == USERS_FAULT  # nothing else may change
    assert "differs in seed)" in capsys.readouterr().err
    assert (run.path / "config.yaml").read_bytes() == before

    assert main(chosen(arguments, "32")) == DONE
    assert run.config()["trainer"]["precision"] == "32"
    job = run.job()
    assert job.precision == "32"
    change = {"trainer.precision": {"before": "bf16", "after": "32"}}
    assert [entry.model_dump() for entry in job.resumed_with] == [{"epochs": 1, "settings": change}]
    assert len(run.learning_curve()) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("without_bf16")
def test_folds_of_another_machine_stay_and_those_that_are_left_are_trained_in_float32(
    drawn: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    arguments = tiny(drawn, tmp_path, "protocol=loso", "name=a")
    stop(monkeypatch, Record, "on_train_epoch_end", 1, arguments)  # within the second fold
    study = RunDir(tmp_path / "a")
    begun = [record(run, "bf16") for run in (study, *study.folds)][1:]
    assert [fold.done for fold in begun] == [True, False]
    assert main(chosen(arguments, "auto")) == USERS_FAULT
    assert "was begun in bf16" in capsys.readouterr().err
    assert main(chosen(arguments, "32")) == DONE
    precisions = [fold.job().precision for fold in study.folds]
    assert precisions == ["bf16", *["32"] * (len(precisions) - 1)]
    assert study.job().resumed_with[0].model_dump()["settings"] == {
        "trainer.precision": {"before": "bf16", "after": "32"}
    }
    assert study.folds[1].job().resumed_with
    assert not study.folds[2].job().resumed_with


@pytest.mark.usefixtures("with_bf16")
def test_where_there_is_bf16_its_training_does_not_go_on_in_float32(begun: Trained, capsys: Capture) -> None:
    assert main(chosen(begun[0], "32")) == USERS_FAULT
    assert "differs in trainer.precision)" in capsys.readouterr().err


@pytest.mark.usefixtures("without_bf16")
def test_a_finished_run_of_another_machine_is_still_finished(
    opened: dict[str, RunDir], drawn: Path, tiny: Tiny, capsys: Capture
) -> None:
    run = opened["bf16"]
    arguments = tiny(drawn, run.path.parent, *OPENED, f"name={run.path.name}")
    assert main(chosen(arguments, "auto")) == DONE
    assert "finished already" in capsys.readouterr().err


# -------------------------------------------------------------------------------- runs of another machine, opened


OPENED = ("model.dropout=0.3", "protocol.test_fraction=0.5")


@pytest.fixture(scope="module")
def finished(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny(drawn, tmp_path_factory.mktemp("finished"), *OPENED, "name=one")).path


@pytest.fixture
def opened(finished: Path, tmp_path: Path) -> dict[str, RunDir]:
    """The same finished run, as it was trained in float32, and as if it had been in bf16."""
    runs = {name: RunDir(shutil.copytree(finished, tmp_path / name / "one")) for name in ("32", "bf16")}
    record(runs["bf16"], "bf16")
    return runs


@pytest.mark.usefixtures("without_bf16")
@pytest.mark.parametrize(
    ("verb", "result"),
    [
        pytest.param(("explain", "clips=4", "checks=2"), "explain/explain.json", marks=pytest.mark.slow),
        pytest.param(("controls",), "controls.json", marks=pytest.mark.slow),
        (("uncertainty", "members=3"), "uncertainty/uncertainty.json"),
    ],
    ids=["explain", "controls", "uncertainty"],
)
def test_a_run_of_another_machine_is_computed_in_float32_and_says_so_once(
    verb: tuple[str, ...], result: str, opened: dict[str, RunDir], capsys: Capture
) -> None:
    found = {}
    for name, run in opened.items():
        assert main([verb[0], str(run.path), *verb[1:]]) == DONE
        assert capsys.readouterr().err.count("has no bf16 arithmetic") == (name == "bf16")
        found[name] = json.loads((run.path / result).read_text())
    assert found["bf16"]["precision"] == "32"
    assert found["bf16"] == found["32"]


@pytest.mark.usefixtures("without_bf16")
def test_a_video_is_shown_to_a_model_of_another_machine_in_float32(opened: dict[str, RunDir], capsys: Capture) -> None:
    assert open_run(str(opened["bf16"].path), None).watcher.precision == "32"
    assert "has no bf16 arithmetic" in capsys.readouterr().err


@pytest.mark.usefixtures("without_bf16")
def test_what_needs_no_model_needs_no_precision(opened: dict[str, RunDir], tmp_path: Path) -> None:
    run = opened["bf16"]
    before = run.metrics()
    assert main(["evaluate", str(run.path)]) == DONE
    assert run.metrics() == before
    assert main(["report", str(run.path)]) == DONE
    assert main(["compare", *(str(one.path) for one in opened.values()), f"out={tmp_path / 'out'}"]) == DONE
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.usefixtures("without_bf16")
@pytest.mark.parametrize("key", ["run", "encoder_from"])
def test_a_training_starts_from_a_run_of_another_machine(
    key: str, opened: dict[str, RunDir], drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    start = f"init.{key}={opened['bf16'].path}"
    run = train(tiny(drawn, tmp_path, *OPENED, start, "trainer.precision=auto", "name=next"))
    assert capsys.readouterr().err.count("has no bf16 arithmetic") == 1
    assert (run.config()["trainer"]["precision"], run.job().precision) == ("32", "32")
