"""``fer-id wandb ACTION``: what needs W&B beyond the mirror of a run."""

from __future__ import annotations

from experiments.online.config import WandbConfig


def talk(config: WandbConfig) -> str:
    """Does what was asked for, and says where to look.

    Raises:
        OnlineError: no key, no network, or the server refuses.
        FerIdError: a sweep file or a study that cannot be read.
    """
    if config.action == "dashboard":
        from experiments.online.dashboard import publish

        return publish(config.project, config.entity, config.url)
    if config.action == "sweep":
        from experiments.online.agent import work

        return work(config)
    from experiments.online.studies import tell

    return tell(config)
