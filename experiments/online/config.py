"""Settings of ``fer-id wandb``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
