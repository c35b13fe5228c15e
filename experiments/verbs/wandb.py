"""``fer-id wandb ACTION``: the W&B dashboard, sweeps led by a W&B server, and configurations of local studies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.config import unfit_names
from fer_id.settings import REST, Clash, setting

ACTIONS = ("dashboard", "sweep", "study")


@dataclass
class WandbConfig:
    """Configuration of an action with a W&B server."""

    action: str = setting(
        "",
        required=True,
        choices=ACTIONS,
        help="dashboard: the team's page; sweep: the server leads a sweep; study: tell of a finished local one",
    )
    target: str | None = setting(None, help="sweep: its name or file; study: its folder in runs/")
    project: str = setting("fer-id", help="W&B project")
    entity: str | None = setting(None, help="W&B team or user; null: the account's own")
    url: str | None = setting(None, help="dashboard: the address of one to replace; null: a new one")
    id: str | None = setting(None, help="sweep: a registered one to work for; null: register it")
    count: int | None = setting(
        None, min=1, max=1_000_000, help="sweep: trials of this worker at most; null: as the server says"
    )
    root: str = setting("runs", help="sweep: folder of all runs")
    overrides: list[str] = setting([], kind=REST, help="sweep: key=value of the trials, written as they are")
    wandb: str = setting("auto", choices=("auto", "online", "offline"), help="study: as logging.wandb of a training")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clash of an action without its target, and of unfit names."""
        if self.action in ("sweep", "study") and not self.target:
            what = "a sweep's name" if self.action == "sweep" else "a study's folder"
            yield Clash(("action", "target"), f"{self.action} needs {what}: fer-id wandb {self.action} TARGET")
        yield from unfit_names(self.project, self.entity)


def wandb(config: WandbConfig) -> str:
    """Carry out the action; return the place of its result."""
    if config.action == "dashboard":
        from experiments.online.dashboard import publish

        return publish(config.project, config.entity, config.url)
    if config.action == "sweep":
        from experiments.online.agent import work
        from experiments.sweeping.plan import read_plan
        from experiments.sweeping.spec import find

        sweep, logged = str(config.target), [f"logging.project={config.project}", "logging.wandb=online"]
        logged += [f"logging.entity={config.entity}"] if config.entity else []
        plan = read_plan(find(sweep), None, config.root, (*config.overrides, *logged))
        return work(plan, sweep, config.id, config.project, config.entity, config.count)
    from experiments.online.studies import log_configurations

    folder = Path(str(config.target))
    count = log_configurations(folder, mode=config.wandb, project=config.project, entity=config.entity)
    if count:
        return f"{count} configurations of {folder}, each over all its folds; offline ones go to W&B by `wandb sync`"
    why = "no configuration was trained by several folds, and each trial has its own W&B run"
    return f"{folder}: nothing to add; {why}"
