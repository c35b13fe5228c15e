"""The dashboard, and sweeps led by a W&B server, against a stand-in server with W&B's own client."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
import yaml

from experiments.cli import DONE, main
from experiments.config import TrainConfig
from experiments.online.agent import _of_wandb, hidden_host, make_agent, registered
from experiments.online.dashboard import build
from experiments.settings.loading import load
from experiments.sweeping.parameters import read_parameters
from experiments.sweeping.plan import Plan
from experiments.sweeping.spec import SWEEPS, read_sweep
from fer_id.errors import ConfigError, Problems
from fer_id.runs.run_dir import RunDir
from tests.experiments import wandb_server as stand_in
from tests.experiments.messages import Capture, Tiny, refusal
from tests.experiments.sweeping.conftest import SWEEP


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
    with stand_in.running() as stand_in_server:
        yield stand_in_server


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
def test_without_a_server_the_obstacle_is_named(
    environment: dict[str, str],
    says: str,
    arguments: list[str],
    sweep_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert says in refusal(capsys, ["wandb", *(argument.format(file=sweep_file) for argument in arguments)])


@pytest.mark.parametrize("arguments", [["sweep"], ["study"], ["nothing"], []])
def test_an_action_needs_its_target(arguments: list[str], capsys: Capture) -> None:
    assert "settings: 1 problem" in refusal(capsys, ["wandb", *arguments])


# ------------------------------------------------------------------------------------------------------- the sweep


@pytest.fixture
def sweep_file(drawn: Path, tiny: Tiny, tmp_path: Path) -> Path:
    """Sweep file like the shipped ones, with a command that names a folder of this machine."""
    varied = ("runs.root", "optim.lr", "model.widths", "data.num_workers")
    settings = [argument for argument in tiny(drawn, tmp_path)[1:] if not argument.startswith(varied)]
    path = tmp_path / "planted-lr.yaml"
    content = SWEEP | {
        "name": "lr",
        "command": ["fer-id", "train", *settings, "${args_no_hyphens}"],
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


def test_the_server_gets_the_parameters_and_no_command(sweep_file: Path, tmp_path: Path) -> None:
    registration = registered(plan(sweep_file))
    assert registration == {
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
    assert str(tmp_path) not in json.dumps(registration)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"min": 1, "max": 4}, {"distribution": "int_uniform", "min": 1, "max": 4}),
        ({"min": 0.0, "max": 0.5}, {"distribution": "uniform", "min": 0.0, "max": 0.5}),
        ({"min": "1e-4", "max": 0.1, "distribution": "log_uniform_values"},
         {"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1}),
        ({"min": 2, "max": 8, "q": 2}, {"distribution": "q_uniform", "min": 2, "max": 8, "q": 2}),
    ],
)  # fmt: skip
def test_distributions_in_the_format_of_wandb(written: dict[str, Any], expected: dict[str, Any]) -> None:
    (parameter,) = read_parameters({"a": written}, Problems("a"))
    assert _of_wandb(parameter) == expected


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parameters": {"init.run": {"values": ["runs/a", "runs/b"]}}}, "name places"),
        ({"protocol": "protocol=loso"}, "within each fold"),
    ],
)
def test_sweeps_that_a_server_must_not_lead_are_refused(change: dict[str, Any], says: str, sweep_file: Path) -> None:
    content = yaml.safe_load(sweep_file.read_text())
    content["parameters"] = change.get("parameters", content["parameters"])
    if protocol := change.get("protocol"):
        words = content["command"]
        content["command"] = [protocol if word.startswith("protocol=") else word for word in words]
    sweep_file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=says):
        registered(plan(sweep_file))


def test_the_command_line_accepts_the_command_of_the_agent(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By W&B's own code, once with the command of this machine, once with the server's as in ``wandb agent``."""
    from wandb import wandb_agent

    commands: list[list[str]] = []
    monkeypatch.setattr(wandb, "Api", lambda: None)
    monkeypatch.setattr(wandb_agent, "AgentProcess", lambda command, **_: commands.append(command) or SimpleNamespace())
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    parameters = {"optim.lr": 1e-4, "model.widths": [4, 4, 8, 8], "augment.noise": 0.05, "data.num_workers": 0}
    order = {"type": "run", "run_id": "r1", "args": {key: {"value": value} for key, value in parameters.items()}}

    agent = make_agent(plan(sweep_file, "elsewhere"), "team/fer-id/s1", "fer-id", None, None)
    assert agent._process_command(order).get("exception") is None
    bare = wandb_agent.Agent(None, None, sweep_id="s1")
    bare._sweep_command = yaml.safe_load(sweep_file.read_text())["command"]
    assert bare._process_command({**order, "program": "x"}).get("exception") is None

    ours, theirs = commands
    config, same = load(TrainConfig, ours[4:]), load(TrainConfig, theirs[2:])
    assert (theirs[:2], ours[1:4]) == (["fer-id", "train"], ["-m", "experiments.cli", "train"])
    for loaded in (config, same):
        assert (loaded.optim.lr, loaded.augment.noise, loaded.model.widths) == (1e-4, 0.05, [4, 4, 8, 8])
    assert (config.name, config.runs.root) == ("lr/r1", "elsewhere")
    assert config.logging.wandb == "online"
    assert (os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"]) == ("team", "fer-id")


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_sweeps_are_read_and_name_no_place_among_their_parameters(path: Path) -> None:
    parameters = json.dumps({parameter.key: parameter.choices for parameter in read_sweep(path).parameters})
    assert "/" not in parameters.replace("val/", "")


def test_the_agent_does_not_name_its_host() -> None:
    from wandb import wandb_agent

    with hidden_host():
        assert wandb_agent.socket.gethostname() == "hidden"
    assert wandb_agent.socket is socket


@pytest.mark.slow
def test_a_server_leads_a_sweep_and_gets_nothing_about_this_machine(
    sweep_file: Path, server: Any, tmp_path: Path
) -> None:
    server.trials = [{"optim.lr": 0.01, "model.widths": [4, 4, 8, 8], "augment.noise": 0.0, "data.num_workers": 0}]
    done = stand_in.fer_id(
        server, "wandb", "sweep", str(sweep_file), f"root={tmp_path / 'planted-runs'}", home=tmp_path
    )
    assert done.returncode == 0, done.stderr
    run = RunDir.open(tmp_path / "planted-runs" / "lr" / "trial1")
    assert run.config()["optim"]["lr"] == 0.01

    (sweep,) = server.variables_of("UpsertSweep")
    assert yaml.safe_load(sweep["config"])["parameters"]["optim.lr"] == {"values": [1e-4, 0.01]}
    assert [variables["host"] for variables in server.variables_of("CreateAgent")] == ["hidden"]
    buckets = server.variables_of("UpsertBucket")
    assert {variables["name"] for variables in buckets} == {"trial1"}
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
    """Yield every text under one of these keys of a nested specification."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in keys:
                yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))
            yield from named(value, *keys)
    elif isinstance(part, list):
        for item in part:
            yield from named(item, *keys)


def flat(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a nested configuration, as in W&B."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")


@pytest.fixture(scope="module")
def study(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished cross-validation with its folds, offline."""
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patched:
        for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
            patched.setenv(name, "")
        folds = ("protocol=kfold", "protocol.folds=4", "protocol.only=[01,02]")
        assert main(tiny(drawn, root, "logging.wandb=offline", *folds, "name=study/kfold")) == DONE
        wandb.teardown()
    return root / "study" / "kfold"


def specification(sweeps: Path = SWEEPS) -> dict[str, Any]:
    content: dict[str, Any] = (
        build("fer-id", "team", sweeps)._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    )
    return content


@pytest.mark.slow
def test_the_panels_of_the_dashboard_use_logged_keys(
    study: Path, sweep_file: Path, wandb_run: Callable[[Path], SimpleNamespace]
) -> None:
    whole = wandb_run(study)
    folds = [wandb_run(fold.path) for fold in RunDir(study).folds]
    logged = {key for run in (whole, *folds) for row in run.rows for key in row}
    summaries = {key for run in (whole, *folds) for key in run.summary}
    settings = set(flat(whole.config))
    for spec in (specification(), specification(sweep_file.parent)):
        axes = set(named(spec, "xAxis")) - {"_step"}
        assert axes == {"epoch"}
        lines = {name for name in named(spec, "metrics") if not name.startswith("summary_metrics.")}
        assert lines <= logged, lines - logged
        bars = {name.removeprefix("summary_metrics.") for name in named(spec, "metrics")} - lines
        assert "test/happy/recall" in bars
        assert bars <= summaries, bars - summaries
        groups = {name.replace(".value", "") for name in named(spec, "groupBy")}
        assert groups == {"study.group", "study.name"}
        assert groups <= settings
        columns = set(named(spec, "accessor", "columnOrder")) | set(named(spec, "targetKey"))
        scores = {name.removeprefix("summary:") for name in columns if name.startswith(("summary:", "val/"))}
        bounds = {name for name in scores if name.endswith(("_low", "_high"))}  # undefined for so few subjects
        assert bounds == {f"test/{score}_{side}" for score in ("accuracy", "macro_f1") for side in ("low", "high")}
        assert scores - bounds <= summaries, scores - bounds - summaries
        chosen = (name.removeprefix("config:") for name in columns if name.startswith("config:"))
        parameters = {name.replace(".value", "") for name in chosen}
        assert parameters
        assert parameters <= settings, parameters - settings


def test_studies_folds_and_each_sweep_have_sections_of_their_own(sweep_file: Path) -> None:
    spec = specification(sweep_file.parent)
    titles = [block["children"][0]["text"] for block in spec["blocks"] if block["type"] == "heading"]
    assert titles == ["Studies", "Folds", "Sweep lr"]
    filters = [
        [(condition["key"]["name"], condition["value"]) for condition in runs["filters"]["filters"]]
        for block in spec["blocks"]
        if block["type"] == "panel-grid"
        for runs in block["metadata"]["runSets"]
    ]
    assert filters == [
        [("jobType", ["study", "train"])],
        [("jobType", "fold")],
        [("jobType", "trial"), ("group", "lr")],
    ]


def test_the_dashboard_is_saved_on_the_server(server: Any, tmp_path: Path) -> None:
    done = stand_in.fer_id(server, "wandb", "dashboard", "entity=team", home=tmp_path)
    assert done.returncode == 0, done.stderr
    (view,) = server.variables_of("upsertView")
    assert (view["projectName"], view["entityName"], view["type"]) == ("fer-id", "team", "runs")
    assert "Parallel Coordinates" in view["spec"] or not list(SWEEPS.glob("*.yaml"))
    assert "dashboard: http" in done.stdout
