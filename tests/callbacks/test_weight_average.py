"""The exponential moving average of the weights: its recurrence, its place in checkpoints, and resuming."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from fer_id.callbacks import WeightAverage
from fer_id.callbacks.weight_average import averaged_weights, decay_after
from tests.callbacks.test_record import PowerCut, train

DECAY = 0.8
pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


class Steps(pl.Callback):
    """Weights, running statistics among them, after each step, those that each validation uses, and those that are
    explained after it."""

    def __init__(self) -> None:
        self.after, self.validated, self.explained = (list[dict[str, Tensor]]() for _ in range(3))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.after.append(floats(pl_module))

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.validated.append(floats(pl_module))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with averaged_weights(trainer, pl_module):
            self.explained.append(floats(pl_module))


class Averaged(WeightAverage):
    """With a record of every step."""

    def __init__(self) -> None:
        super().__init__(DECAY)
        self.steps = Steps()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        trainer.callbacks.append(self.steps)  # type: ignore[attr-defined]  # Lightning leaves it out of the stubs


def floats(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items() if value.is_floating_point()}


@pytest.fixture
def store(tiny_store: Callable[..., Path]) -> Path:
    return tiny_store(subjects=4, clips=1, length=2)


def test_the_decay_grows_to_its_limit() -> None:
    assert [decay_after(n, 0.9) for n in (0, 1, 8, 1000)] == [0.1, 2 / 11, 0.5, 0.9]


def test_validation_and_the_end_have_the_average_and_steps_do_not(tmp_path: Path, store: Path) -> None:
    averaged = Averaged()
    task, _ = train(tmp_path / "run", store, epochs=3, more=averaged)
    steps = averaged.steps.after
    average, at_the_end = dict(steps[0]), list[dict[str, Tensor]]()
    for number, weights in enumerate(steps[1:], start=1):
        decay = decay_after(number, DECAY)
        average = {name: decay * value + (1 - decay) * weights[name] for name, value in average.items()}
        if (number + 1) % (len(steps) // 3) == 0:
            at_the_end.append(average)
    for validated, expected in zip(averaged.steps.validated, at_the_end, strict=True):
        torch.testing.assert_close(validated, expected)
    torch.testing.assert_close(averaged.steps.explained, at_the_end)
    torch.testing.assert_close(floats(task), average)
    assert any("running_var" in name and not torch.equal(value, steps[-1][name]) for name, value in average.items())
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    torch.testing.assert_close({name: saved["state_dict"][name] for name in average}, average)
    torch.testing.assert_close({name: saved["current_model_state"][name] for name in average}, steps[-1])


def test_a_training_cut_off_goes_on_with_its_average(tmp_path: Path, store: Path) -> None:
    straight, _ = train(tmp_path / "straight", store, more=WeightAverage(DECAY))
    with pytest.raises(PowerCut):
        train(tmp_path / "cut", store, cut=2, more=WeightAverage(DECAY))
    resumed, _ = train(tmp_path / "cut", store, more=WeightAverage(DECAY))
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in straight.state_dict().items())
