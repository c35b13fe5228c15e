"""``fer-id adapt``: adaptation of a pretrained model to a cohort, tested on children outside its training data.

It is a training with other defaults: weights of another run, leave-one-child-out, and an adaptation strategy.
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
    """Configuration of an adaptation: the keys of a training, with other defaults."""

    recipe: str = setting("adapt", kind=SELECTOR, help="how to train: optim, loss, augment, trainer, batch_size")
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig, metadata=chosen_by_name("loso"))
    init: InitConfig = field(default_factory=lambda: InitConfig(transfer=True))

    def clashes(self) -> Iterator[Clash]:
        """Yield the clash of an adaptation without a run to start from."""
        yield from (clash for clash in super().clashes() if clash.keys != ("transfer",))
        if not self.init.run:
            yield Clash(("init.run",), "is empty; say init.run=FOLDER, the run whose model is to be adapted")


def adapt(config: AdaptConfig) -> str | None:
    """Adapt, predict and evaluate; an interrupted adaptation is resumed."""
    return train(config)
