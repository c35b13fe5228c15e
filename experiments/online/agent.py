"""``fer-id wandb sweep``: a sweep that a W&B server leads; this machine registers it and works for it.

The server gets the method, the objective and the parameters. The command stays here: it names folders, which are
nobody else's business; so W&B's agent is given it by this machine and not by the server. Nor is it told the host.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import yaml

from experiments.online.config import WandbConfig
from experiments.online.server import asking, require_server
from experiments.sweeping.parameters import FLOAT, Parameter
from experiments.sweeping.plan import Plan, read_plan
from experiments.sweeping.spec import ARGUMENTS, find
from fer_id.errors import ConfigError
from fer_id.loggers.disclosure import PRIVATE_KEYS, holds_place
from fer_id.progress import say

OF_SERVER = ("description", "early_terminate", "run_cap")
"""Parts of the file that the server gets as they are."""


def work(config: WandbConfig) -> str:
    """Registers a sweep, unless ``config.id`` names one, and trains what the server asks for until it asks no more.

    Returns:
        where the trials are, and how another machine joins.

    Raises:
        ConfigError: a sweep file that is wrong, or that a server must not lead.
        OnlineError: no key, no network, or the server refuses.
    """
    logging_ = (f"logging.project={config.project}", "logging.wandb=online")
    entity = (f"logging.entity={config.entity}",) if config.entity else ()
    plan = read_plan(find(str(config.target)), None, config.root, (*config.overrides, *logging_, *entity))
    told = registered(plan)
    require_server()
    import wandb

    with asking():
        identity = config.id or wandb.sweep(told, entity=config.entity, project=config.project)
        say(f"on other machines: fer-id wandb sweep {config.target} id={identity}")
        os.environ["WANDB_DIR"] = str(plan.folder.resolve())  # where the agent notes the parameters of its trials
        plan.folder.mkdir(parents=True, exist_ok=True)
        with hidden_host():
            make_agent(plan, identity, config).run()
    return f"trials: {plan.folder}, sweep {identity}"


def registered(plan: Plan) -> dict[str, Any]:
    """What the server is told of a sweep.

    Raises:
        ConfigError: a setting is wrong, or a precision that this machine lacks; folds, each of which must choose for
            itself; a parameter that names a place.
    """
    first, sweep = plan.check(), plan.sweep
    plan.require_precision(first)
    if first.protocol.name in ("kfold", "loso"):
        raise ConfigError(
            f"sweep {sweep.name}: a W&B server chooses one configuration for all folds of protocol="
            f"{first.protocol.name}, by scores of children whom other folds test. `fer-id sweep run` searches within "
            "each fold, and is mirrored to W&B too; or say protocol=holdout"
        )
    for one in sweep.parameters:
        if one.key.rpartition(".")[2] in PRIVATE_KEYS or any(map(holds_place, one.choices)):
            raise ConfigError(
                f"sweep {sweep.name}, parameters.{one.key}: its values name places on this machine, which a server is "
                "not told; put it into the command, or run the sweep here: fer-id sweep run"
            )
    kept = {key: value for key, value in yaml.safe_load(sweep.text).items() if key in OF_SERVER}
    return {
        "name": sweep.name,
        "method": sweep.method,
        "metric": {"name": sweep.metric, "goal": sweep.goal},
        "parameters": {one.key: _of_wandb(one) for one in sweep.parameters},
        "command": ["fer-id", sweep.verb, ARGUMENTS],
        **kept,
    }


def _of_wandb(one: Parameter) -> dict[str, Any]:
    """A parameter in W&B's words."""
    if one.choices:
        return {"values": [list(value) if isinstance(value, tuple) else value for value in one.choices]}
    bounds: dict[str, Any] = {"min": one.low, "max": one.high}
    if one.log:
        return {"distribution": "log_uniform_values", **bounds}
    if one.kind == FLOAT and one.step is None:
        return {"distribution": "uniform", **bounds}
    return {"distribution": "int_uniform" if one.step == 1 else "q_uniform", **bounds} | (
        {} if one.step == 1 else {"q": one.step}
    )


def trial_command(plan: Plan, run_id: str, parameters: Mapping[str, Any]) -> list[str]:
    """What trains one trial here; its run bears the id that the server gave it.

    >>> from experiments.sweeping.spec import Sweep
    >>> sweep = Sweep("lr", "train", ("data=synthetic",), "grid", "val/loss", (), None, None, "")
    >>> trial_command(Plan(sweep, "lr", "runs"), "a1b2", {"optim.lr": 0.1})[1:5]
    ['-m', 'experiments.cli', 'train', 'data=synthetic']
    """
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
    return [sys.executable, "-m", "experiments.cli", plan.sweep.verb, *plan.arguments(values, run_id)]


def make_agent(plan: Plan, identity: str, config: WandbConfig) -> Any:
    """W&B's own agent, whose command is that of this machine.

    Args:
        plan: the sweep here.
        identity: of the sweep with the server, ``[entity/][project/]id``.
        config: of the verb.
    """
    import multiprocessing

    import wandb
    from wandb.wandb_agent import Agent

    class LocalAgent(Agent):
        """Puts our command in the place of the server's before each trial."""

        def _command_run(self, command: dict[str, Any]) -> None:
            parameters = {key: one["value"] for key, one in command["args"].items()}
            self._sweep_command = trial_command(plan, command["run_id"], parameters)
            super()._command_run({"program": None, **command})  # type: ignore[no-untyped-call]

    *where, name = identity.split("/")
    os.environ["WANDB_SWEEP_ID"] = name
    os.environ["WANDB_PROJECT"] = where[-1] if where else config.project
    if entity := (where[0] if len(where) == 2 else config.entity):
        os.environ["WANDB_ENTITY"] = entity
    return LocalAgent(wandb.Api(), multiprocessing.Queue(), sweep_id=name, count=config.count)


@contextmanager
def hidden_host() -> Iterator[None]:
    """W&B's agent registers with the name of its host; it gets another one."""
    from wandb import wandb_agent as module

    wandb_agent: Any = module
    real = wandb_agent.socket
    wandb_agent.socket = SimpleNamespace(gethostname=lambda: "hidden")
    try:
        yield
    finally:
        wandb_agent.socket = real
