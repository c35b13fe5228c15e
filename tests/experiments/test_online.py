"""The dashboard, and sweeps that a W&B server leads: against a stand-in server, through W&B's own client."""

import importlib.util
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import wandb
import yaml

from experiments.cli import DONE, USERS_FAULT, main
from experiments.config import TrainConfig
from experiments.online.agent import hidden_host, make_agent, registered
from experiments.online.config import WandbConfig
from experiments.online.dashboard import build
from experiments.settings.loading import load
from experiments.sweeping.plan import Plan
from experiments.sweeping.spec import SWEEPS, read_sweep
from fer_id.errors import ConfigError
from fer_id.runs.run_dir import RunDir

Tiny = Callable[..., list[str]]
Told = pytest.CaptureFixture[str]


def _stand_in() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wandb_server", Path(__file__).with_name("wandb_server.py"))
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


stand_in = _stand_in()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR", "WANDB_ERROR_REPORTING", "WANDB_DIR"):
        monkeypatch.setenv(name, "")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_SWEEP_ID", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server() -> Iterator[Any]:
    with stand_in.running() as found:
        yield found


# ---------------------------------------------------------------------------------------------------- nobody to ask


@pytest.mark.parametrize("arguments", [["dashboard"], ["sweep", "{file}"]])
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"WANDB_MODE": "offline"}, "WANDB_MODE=offline forbids"),
        ({}, "no API key is known"),
        ({"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:1"}, "127.0.0.1 does not answer"),
    ],
)
def test_without_a_server_one_line_says_what_is_missing(
    environment: dict[str, str],
    says: str,
    arguments: list[str],
    sweep_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Told,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["wandb", *(one.format(file=sweep_file) for one in arguments)]) == USERS_FAULT
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


@pytest.mark.parametrize("arguments", [["sweep"], ["study"], ["nothing"], []])
def test_an_action_needs_what_it_acts_on(arguments: list[str], capsys: Told) -> None:
    assert main(["wandb", *arguments]) == USERS_FAULT
    assert "settings: 1 problem" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------- the sweep


@pytest.fixture
def sweep_file(drawn: Path, tiny: Tiny, tmp_path: Path) -> Path:
    """A sweep of the form of the shipped ones, with a command that names a folder of this machine."""
    varied = ("runs.root", "optim.lr", "model.widths", "data.num_workers")
    settings = [one for one in tiny(drawn, tmp_path)[1:] if not one.startswith(varied)]
    path = tmp_path / "planted-lr.yaml"
    content = {
        "name": "lr",
        "command": ["fer-id", "train", *settings, "${args_no_hyphens}"],
        "method": "grid",
        "metric": {"name": "val/macro_f1", "goal": "maximize"},
        "parameters": {
            "optim.lr": {"values": [1e-4, 0.01]},
            "data.num_workers": {"value": 0},
            "model.widths": {"values": [[4, 4, 8, 8], [4, 4, 4, 4]]},
            "augment.noise": {"min": 0.0, "max": 0.1, "distribution": "q_uniform", "q": 0.05},
        },
    }
    path.write_text(yaml.safe_dump(content))
    return path


def plan(path: Path, root: str = "runs") -> Plan:
    read = read_sweep(path)
    return Plan(read, read.name, root, ("logging.wandb=online",))


def test_the_server_is_told_what_varies_and_no_command(sweep_file: Path, tmp_path: Path) -> None:
    told = registered(plan(sweep_file))
    assert told == {
        "name": "lr",
        "method": "grid",
        "metric": {"name": "val/macro_f1", "goal": "maximize"},
        "command": ["fer-id", "train", "${args_no_hyphens}"],
        "parameters": {
            "optim.lr": {"values": [1e-4, 0.01]},
            "data.num_workers": {"values": [0]},
            "model.widths": {"values": [[4, 4, 8, 8], [4, 4, 4, 4]]},
            "augment.noise": {"distribution": "q_uniform", "min": 0.0, "max": 0.1, "q": 0.05},
        },
    }
    assert str(tmp_path) not in json.dumps(told)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"min": 1, "max": 4}, {"distribution": "int_uniform", "min": 1, "max": 4}),
        ({"min": 0.0, "max": 0.5}, {"distribution": "uniform", "min": 0.0, "max": 0.5}),
        (
            {"min": "1e-4", "max": 0.1, "distribution": "log_uniform_values"},
            {"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1},
        ),
        ({"min": 2, "max": 8, "q": 2}, {"distribution": "q_uniform", "min": 2, "max": 8, "q": 2}),
    ],
)
def test_distributions_in_the_words_of_wandb(told: dict[str, Any], expected: dict[str, Any], sweep_file: Path) -> None:
    from experiments.online.agent import _of_wandb
    from experiments.sweeping.parameters import read_parameters
    from fer_id.errors import Problems

    (parameter,) = read_parameters({"a": told}, Problems("a"))
    assert _of_wandb(parameter) == expected


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parameters": {"init.run": {"values": ["runs/a", "runs/b"]}}}, "name places"),
        ({"protocol": "protocol=loso"}, "within each fold"),
    ],
)
def test_what_a_server_must_not_lead_is_refused(change: dict[str, Any], says: str, sweep_file: Path) -> None:
    content = yaml.safe_load(sweep_file.read_text())
    content["parameters"] = change.get("parameters", content["parameters"])
    if protocol := change.get("protocol"):
        content["command"] = [protocol if one.startswith("protocol=") else one for one in content["command"]]
    sweep_file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=says):
        registered(plan(sweep_file))


def test_the_command_that_the_agent_builds_is_one_that_our_command_line_takes(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Through W&B's own code, once with our command in place of the server's, once as ``wandb agent`` alone would."""
    from wandb import wandb_agent

    commands: list[list[str]] = []
    monkeypatch.setattr(wandb, "Api", lambda: None)
    monkeypatch.setattr(wandb_agent, "AgentProcess", lambda command, **_: commands.append(command) or SimpleNamespace())
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    parameters = {"optim.lr": 1e-4, "model.widths": [4, 4, 8, 8], "augment.noise": 0.05, "data.num_workers": 0}
    order = {"type": "run", "run_id": "r1", "args": {key: {"value": value} for key, value in parameters.items()}}

    agent = make_agent(plan(sweep_file, "elsewhere"), "team/fer-id/s1", WandbConfig("sweep", "lr"))
    assert agent._process_command(order).get("exception") is None
    bare = wandb_agent.Agent(None, None, sweep_id="s1")
    bare._sweep_command = yaml.safe_load(sweep_file.read_text())["command"]
    assert bare._process_command({**order, "program": "x"}).get("exception") is None

    ours, theirs = commands
    config, same = load(TrainConfig, ours[4:]), load(TrainConfig, theirs[2:])
    assert (theirs[:2], ours[1:4]) == (["fer-id", "train"], ["-m", "experiments.cli", "train"])
    for one in (config, same):
        assert (one.optim.lr, one.augment.noise, one.model.widths) == (1e-4, 0.05, [4, 4, 8, 8])
    assert (config.name, config.runs.root) == ("lr/r1", "elsewhere")
    assert config.logging.wandb == "online"
    assert (os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"]) == ("team", "fer-id")


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_sweeps_are_read_and_name_no_place_among_their_parameters(path: Path) -> None:
    told = json.dumps({one.key: one.choices for one in read_sweep(path).parameters})
    assert "/" not in told.replace("val/", "")


def test_the_agent_does_not_name_its_host() -> None:
    from wandb import wandb_agent

    with hidden_host():
        assert wandb_agent.socket.gethostname() == "hidden"
    assert wandb_agent.socket is socket


@pytest.mark.slow
def test_a_server_leads_a_sweep_and_is_told_nothing_of_this_machine(
    sweep_file: Path, server: Any, tmp_path: Path
) -> None:
    server.trials = [{"optim.lr": 0.01, "model.widths": [4, 4, 8, 8], "augment.noise": 0.0, "data.num_workers": 0}]
    done = stand_in.fer_id(
        server, "wandb", "sweep", str(sweep_file), f"root={tmp_path / 'planted-runs'}", home=tmp_path
    )
    assert done.returncode == 0, done.stderr
    run = RunDir.open(tmp_path / "planted-runs" / "lr" / "trial1")
    assert run.config()["optim"]["lr"] == 0.01

    (sweep,) = server.asked("UpsertSweep")
    assert yaml.safe_load(sweep["config"])["parameters"]["optim.lr"] == {"values": [1e-4, 0.01]}
    assert [one["host"] for one in server.asked("CreateAgent")] == ["hidden"]
    buckets = server.asked("UpsertBucket")
    assert {one["name"] for one in buckets} == {"trial1"}
    assert buckets[0]["sweep"] == "sweep1"
    assert buckets[0]["jobType"] == "trial"

    held = b"\n".join(path.encode() + body for path, body in server.sent)
    assert b"val/macro_f1" in held
    assert b"0.01" in held
    assert b"test/accuracy" not in held  # nobody chooses by it
    words = ("planted-", "value-of-the-environment", str(tmp_path), str(stand_in.ROOT), os.uname().nodename)
    assert not [word for word in words if len(word) > 5 and word.encode() in held]
    assert not [path for path, _ in server.sent if "otel" in path]  # reports of errors name folders


# ---------------------------------------------------------------------------------------------------- the dashboard


def named(part: Any, *keys: str) -> Iterator[str]:
    """Every text under one of these keys of a nested specification."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in keys:
                yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))
            yield from named(value, *keys)
    elif isinstance(part, list):
        for one in part:
            yield from named(one, *keys)


def flat(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys, as W&B shows a nested configuration."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")


@pytest.fixture(scope="module")
def study(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished cross-validation with its folds, offline."""
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patched:
        for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
            patched.setenv(name, "")
        folds = ("protocol=kfold", "protocol.folds=4", "protocol.only=[01,02]")
        assert main(tiny(drawn, root, "logging.wandb=offline", *folds, "name=study/kfold")) == DONE
        wandb.teardown()
    return root / "study" / "kfold"


def specification(sweeps: Path = SWEEPS) -> dict[str, Any]:
    found: dict[str, Any] = (
        build("fer-id", "team", sweeps)._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    )
    return found


def test_the_dashboard_shows_what_runs_really_log(
    study: Path, sweep_file: Path, wandb_run: Callable[[Path], SimpleNamespace]
) -> None:
    whole = wandb_run(study)
    folds = [wandb_run(one.path) for one in RunDir(study).folds]
    logged = {key for one in (whole, *folds) for row in one.rows for key in row}
    summaries = {key for one in (whole, *folds) for key in one.summary}
    settings = set(flat(whole.config))
    for spec in (specification(), specification(sweep_file.parent)):
        axes = set(named(spec, "xAxis")) - {"_step"}
        assert axes == {"epoch"}
        lines = {one for one in named(spec, "metrics") if not one.startswith("summary_metrics.")}
        assert lines <= logged, lines - logged
        bars = {one.removeprefix("summary_metrics.") for one in named(spec, "metrics")} - lines
        assert "test/happy/recall" in bars
        assert bars <= summaries, bars - summaries
        groups = {one.replace(".value", "") for one in named(spec, "groupBy")}
        assert groups == {"study.group", "study.name"}
        assert groups <= settings
        columns = set(named(spec, "accessor", "columnOrder")) | set(named(spec, "targetKey"))
        told = {one.removeprefix("summary:") for one in columns if one.startswith(("summary:", "val/"))}
        bounds = {one for one in told if one.endswith(("_low", "_high"))}  # undefined for so few subjects
        assert bounds == {f"test/{score}_{side}" for score in ("accuracy", "macro_f1") for side in ("low", "high")}
        assert told - bounds <= summaries, told - bounds - summaries
        parameters = {one.removeprefix("config:").replace(".value", "") for one in columns if one.startswith("config:")}
        assert parameters
        assert parameters <= settings, parameters - settings


def test_studies_folds_and_each_sweep_have_sections_of_their_own(sweep_file: Path) -> None:
    spec = specification(sweep_file.parent)
    titles = [block["children"][0]["text"] for block in spec["blocks"] if block["type"] == "heading"]
    assert titles == ["Studies", "Folds", "Sweep lr"]
    filters = [
        [(one["key"]["name"], one["value"]) for one in runs["filters"]["filters"]]
        for block in spec["blocks"]
        if block["type"] == "panel-grid"
        for runs in block["metadata"]["runSets"]
    ]
    assert filters == [
        [("jobType", ["study", "train"])],
        [("jobType", "fold")],
        [("jobType", "trial"), ("group", "lr")],
    ]


def test_the_dashboard_is_saved_with_the_server(server: Any, tmp_path: Path) -> None:
    done = stand_in.fer_id(server, "wandb", "dashboard", "entity=team", home=tmp_path)
    assert done.returncode == 0, done.stderr
    (view,) = server.asked("upsertView")
    assert (view["projectName"], view["entityName"], view["type"]) == ("fer-id", "team", "runs")
    assert "Parallel Coordinates" in view["spec"] or not list(SWEEPS.glob("*.yaml"))
    assert "dashboard: http" in done.stdout
