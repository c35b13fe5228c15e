"""``fer-id wandb sweep``: a sweep led by a W&B server; this machine registers it and runs its trials.

The server gets the method, the objective and the parameters. The command stays on this machine, since it names
folders: W&B's agent gets it from here and not from the server. The server does not get the host's name either.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import yaml

from experiments.sweeping.parameters import FLOAT, Parameter
from experiments.sweeping.plan import Plan
from experiments.sweeping.spec import ARGUMENTS
from fer_id.errors import ConfigError
from fer_id.loggers.disclosure import PRIVATE_KEYS, holds_place
from fer_id.loggers.server import asking, require_server
from fer_id.progress import say

OF_SERVER = ("description", "early_terminate", "run_cap")
"""Parts of the sweep file that the server gets unchanged."""


def work(plan: Plan, sweep: str, identity: str | None, project: str, entity: str | None, count: int | None) -> str:
    """Register a sweep (its name or file), unless ``identity`` is that of a registered one, and run the server's trials
    to the end, at most ``count``. Returns the folder of the trials and the sweep's identity as text. Raises ConfigError
    where the sweep must not be led by a server, and OnlineError: no API key, no network, or the server refuses."""
    registration = registered(plan)
    require_server()
    import wandb

    with asking():
        identity = identity or wandb.sweep(registration, entity=entity, project=project)
        say(f"on other machines: fer-id wandb sweep {sweep} id={identity}")
        os.environ["WANDB_DIR"] = str(plan.folder.resolve())  # the agent writes the parameters of its trials there
        plan.folder.mkdir(parents=True, exist_ok=True)
        with hidden_host():
            make_agent(plan, identity, project, entity, count).run()
    return f"trials: {plan.folder}, sweep {identity}"


def registered(plan: Plan) -> dict[str, object]:
    """Return the registration of a sweep for the server. Raises ConfigError: a wrong setting; a precision that this
    machine lacks; folds, each of which must be searched by itself; or a parameter with the name of a place."""
    first, sweep = plan.check(), plan.sweep
    plan.require_precision(first)
    if first.protocol.name in ("kfold", "loso"):
        raise ConfigError(
            f"sweep {sweep.name}: a W&B server chooses one configuration for all folds of protocol="
            f"{first.protocol.name}, by scores of children whom other folds test. `fer-id sweep run` searches within "
            "each fold, and is mirrored to W&B too; or say protocol=holdout"
        )
    for parameter in sweep.parameters:
        if parameter.key.rpartition(".")[2] in PRIVATE_KEYS or any(map(holds_place, parameter.choices)):
            raise ConfigError(
                f"sweep {sweep.name}, parameters.{parameter.key}: its values name places on this machine, which a "
                "server is not told; put it into the command, or run the sweep here: fer-id sweep run"
            )
    unchanged = {key: value for key, value in yaml.safe_load(sweep.text).items() if key in OF_SERVER}
    return {
        "name": sweep.name,
        "method": sweep.method,
        "metric": {"name": sweep.metric, "goal": sweep.goal},
        "parameters": {parameter.key: _of_wandb(parameter) for parameter in sweep.parameters},
        "command": ["fer-id", sweep.verb, ARGUMENTS],
        **unchanged,
    }


def _of_wandb(parameter: Parameter) -> dict[str, object]:
    """Return a parameter in W&B's format."""
    if parameter.choices:
        return {"values": [list(value) if isinstance(value, tuple) else value for value in parameter.choices]}
    bounds = {"min": parameter.low, "max": parameter.high}
    if parameter.log:
        return {"distribution": "log_uniform_values", **bounds}
    if parameter.kind == FLOAT and parameter.step is None:
        return {"distribution": "uniform", **bounds}
    if parameter.step == 1:
        return {"distribution": "int_uniform", **bounds}
    return {"distribution": "q_uniform", **bounds, "q": parameter.step}


def trial_command(plan: Plan, run_id: str, parameters: Mapping[str, Any]) -> list[str]:
    """Return the command of one trial; its run has the id that the server gave.

    >>> from experiments.sweeping.spec import Sweep
    >>> sweep = Sweep("lr", "train", ("data=synthetic",), "grid", "val/loss", (), None, None, "")
    >>> trial_command(Plan(sweep, "lr", "runs"), "a1b2", {"optim.lr": 0.1})[1:5]
    ['-m', 'experiments.cli', 'train', 'data=synthetic']
    """
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
    return [sys.executable, "-m", "experiments.cli", plan.sweep.verb, *plan.arguments(values, run_id)]


def make_agent(plan: Plan, identity: str, project: str, entity: str | None, count: int | None) -> Any:
    """Return W&B's agent for a sweep on the server, ``[entity/][project/]id``, with the command of this machine."""
    import multiprocessing

    import wandb
    from wandb.wandb_agent import Agent

    class LocalAgent(Agent):
        """Agent that replaces the server's command before each trial."""

        def _command_run(self, command: dict[str, Any]) -> None:
            parameters = {key: parameter["value"] for key, parameter in command["args"].items()}
            self._sweep_command = trial_command(plan, command["run_id"], parameters)
            super()._command_run({"program": None, **command})  # type: ignore[no-untyped-call]

    *where, name = identity.split("/")
    os.environ["WANDB_SWEEP_ID"] = name
    os.environ["WANDB_PROJECT"] = where[-1] if where else project
    if entity := (where[0] if len(where) == 2 else entity):
        os.environ["WANDB_ENTITY"] = entity
    return LocalAgent(wandb.Api(), multiprocessing.Queue(), sweep_id=name, count=count)


@contextmanager
def hidden_host() -> Iterator[None]:
    """Replace the host's name, with which W&B's agent registers, while the context lasts."""
    from wandb import wandb_agent

    module: Any = wandb_agent
    original = module.socket
    module.socket = SimpleNamespace(gethostname=lambda: "hidden")
    try:
        yield
    finally:
        module.socket = original
