"""``fer-id wandb ACTION``: the W&B dashboard, sweeps led by a W&B server, and configurations of local studies."""

from __future__ import annotations

from experiments.online.config import WandbConfig


def talk(config: WandbConfig) -> str:
    """Carry out the action; return the place of its result."""
    if config.action == "dashboard":
        from experiments.online.dashboard import publish

        return publish(config.project, config.entity, config.url)
    if config.action == "sweep":
        from experiments.online.agent import work

        return work(config)
    from experiments.online.studies import log_study

    return log_study(config)
