"""``fer-id adapt``: a pretrained model is fitted to a cohort and judged on children it did not learn from.

It is a training like any other, with other defaults: weights to start from, leave-one-child-out, and a strategy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments.config import InitConfig, TrainConfig
from experiments.settings.loading import chosen_by_name
from experiments.verbs.train import train
from fer_id.evaluation.config import ProtocolConfig
from fer_id.settings import SELECTOR, Clash, setting


@dataclass
class AdaptConfig(TrainConfig):
    """One adaptation; every key of a training, with the defaults of an adaptation."""

    recipe: str = setting("adapt", kind=SELECTOR, help="how to train: optim, loss, augment, trainer, batch_size")
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig, metadata=chosen_by_name("loso"))
    init: InitConfig = field(default_factory=lambda: InitConfig(transfer=True))

    def clashes(self) -> Iterator[Clash]:
        """Nothing to start from."""
        yield from (clash for clash in super().clashes() if clash.keys != ("transfer",))
        if not self.init.run:
            yield Clash(("init.run",), "is empty; say init.run=FOLDER, the run whose model is to be adapted")


def adapt(config: AdaptConfig) -> str | None:
    """Adapts, predicts and evaluates; resumes what was begun.

    Returns:
        what came out, with the folder of the run; None as ``experiments.verbs.train.train``.

    Raises:
        FerIdError: as ``experiments.verbs.train.train``.
    """
    return train(config)
