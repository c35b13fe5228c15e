"""A training with averaged weights, balanced classes and a slower encoder: interrupted, resumed, and opened."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments.training.trained_model import TrainedModel
from fer_id.models.checkpoint import read_checkpoint
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.classification import ClipClassification
from tests.experiments.messages import DRAWING, Capture, Tiny, refusal, stop, train

SETTINGS = ("optim.ema=0.9", "data.balanced=0.5", "optim.encoder_lr=0.1", "model.head=running_lstm")


def test_it_resumes_and_opens_with_the_average(
    drawn: Path, tiny: Tiny, tmp_path: Path, same: Callable[[RunDir, RunDir], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train(tiny(drawn, tmp_path / "straight", *DRAWING, *SETTINGS))
    arguments = tiny(drawn, tmp_path / "stopped", *DRAWING, *SETTINGS)
    stop(monkeypatch, ClipClassification, "training_step", 5, arguments)
    stopped = train(arguments)
    assert same(straight, stopped)
    for which in ("best", "last"):
        first, second = (read_checkpoint(run.checkpoint(which)) for run in (straight, stopped))
        current, resumed = first["current_model_state"], second["current_model_state"]
        assert all(torch.equal(value, resumed[name]) for name, value in current.items())
        assert any(not torch.equal(value, current[name]) for name, value in first["state_dict"].items())
    opened = TrainedModel.open(straight)
    average = read_checkpoint(straight.checkpoint("best"))["state_dict"]
    assert all(torch.equal(value, average[f"model.{name}"]) for name, value in opened.model.state_dict().items())
    assert len(opened.data.clips)  # its logits are those of the recorded predictions
    assert straight.metrics().n_no_baseline == 0
    assert straight.config()["data"]["balanced"] == 0.5


def test_balance_and_alignment_do_not_mix(drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    arguments = tiny(drawn, tmp_path, "data.balanced=1", "adapt.strategy=coral", f"init.run={tmp_path}")
    assert "say data.balanced=0" in refusal(capsys, [*arguments, "init.transfer=true"])
