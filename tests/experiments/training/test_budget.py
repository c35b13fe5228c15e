"""Epochs from a budget in multiply-adds: as many as it pays for, smaller crops counted."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments.config import TrainConfig
from experiments.training.budget import sides_of, within_budget
from fer_id.labels import FER7
from fer_id.models.config import ModelConfig

SMALL = ModelConfig("conv4", "conv4", "mean", widths=[2, 2, 2, 2], convs=[1, 1, 1, 1])
MACS = 9 * (3 * 2 * 48**2 + 2 * 2 * (24**2 + 12**2 + 6**2)) + 2 * 7
"""Multiply-adds of a 48x48 frame of SMALL: four 3x3 convolutions, each on half the side, and the classifier."""


def epochs(budget: float | None, clips: int = 21, **trainer: object) -> int:
    config = TrainConfig(model=SMALL, batch_size=10)
    config.trainer.budget = budget
    for key, value in trainer.items():
        setattr(config.trainer, key, value)
    fold = SimpleNamespace(train=np.arange(clips))
    data = SimpleNamespace(clips=pd.DataFrame({"length": [1]}), crop=48, labels=FER7, fold=fold)
    return within_budget(config, data).trainer.max_epochs


def test_epochs_are_what_the_budget_pays_for() -> None:
    of_epoch = 3 * 20 * MACS  # the last clip makes no whole batch
    assert epochs(7 * of_epoch) == 7
    assert epochs(7 * of_epoch - 1) == 6
    assert epochs(1) == 1
    assert epochs(None, max_epochs=5) == epochs(1e15, max_epochs=5) == 5
    assert epochs(3 * 4 * MACS, clips=4) == 1


def test_smaller_crops_pay_for_more_epochs() -> None:
    budget = 20 * 3 * 20 * MACS
    assert epochs(budget, resolution=[(0.0, 24), (0.5, 48)]) > epochs(budget) == 20
    assert epochs(budget, resolution=[(0.0, 64)]) == 20  # no crop is enlarged


@pytest.mark.parametrize("number", [1, 3, 4, 7, 40])
def test_sides_follow_the_shares(number: int) -> None:
    sides = sides_of(number, [(0.25, 32), (0.5, 40)], 48)
    assert len(sides) == number
    assert sides == [48 if e / number < 0.25 else 32 if e / number < 0.5 else 40 for e in range(number)]


def test_a_budget_of_nothing_is_refused() -> None:
    from experiments.settings.loading import load
    from fer_id.errors import ConfigError

    with pytest.raises(ConfigError, match=r"trainer.budget"):
        load(TrainConfig, ["data=fer2013", "data.store=x", "trainer.budget=0"])
