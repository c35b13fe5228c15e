"""Callbacks, models and data modules of somebody's own: each made once, and their errors named with their lines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from data_modules import SyntheticDataModule
from experiments.cli import DONE, USERS_FAULT, main
from experiments.own_code import own_fault
from fer_id.callbacks import registry
from fer_id.models.build import build_model
from tests.experiments.messages import Capture, Tiny, refusal

MODULE = """
import pytorch_lightning as pl

COUNT = []

class Mine(pl.Callback):
    def __init__(self):
        COUNT.append(self)

class Raising(pl.Callback):
    def on_test_batch_end(self, trainer, task, outputs, batch, batch_idx, dataloader_idx=0):
        outputs["logit"]

class Short(pl.Callback):
    def on_validation_batch_end(self, trainer, task):
        pass

class Broken(pl.Callback):
    def __init__(self):
        raise OSError("no such port")
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Module of an installed package that offers its callbacks by entry points; imported."""
    info = tmp_path / "installed" / "own_callbacks-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-callbacks\nVersion: 1\n")
    names = {"mine": "Mine", "raising": "Raising", "short": "Short", "broken": "Broken"}
    entries = "".join(f"{name} = own_callbacks:{of}\n" for name, of in names.items())
    (info / "entry_points.txt").write_text(f"[fer_id.callbacks]\n{entries}")
    (info.parent / "own_callbacks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.setattr(registry, "_checked", {})
    import own_callbacks  # type: ignore[import-not-found]

    yield own_callbacks
    sys.modules.pop("own_callbacks")


@pytest.mark.parametrize(
    ("name", "hook", "says"),
    [
        ("raising", "Raising ({file}): on_test_batch_end", 'line 12, in on_test_batch_end\n    outputs["logit"]'),
        (
            "short",
            "Short ({file}): on_validation_batch_end",
            "TypeError: Short.on_validation_batch_end() takes 3",
        ),
    ],
)
def test_a_hook_that_raises_is_named_with_its_own_traceback(
    name: str, hook: str, says: str, installed: Any, drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    assert main(tiny(drawn, tmp_path / "runs", f"trainer.callbacks=[{name}]", "name=a")) == USERS_FAULT
    message = capsys.readouterr().err
    assert f"callback own_callbacks.{hook.format(file=installed.__file__)} raises an error" in message
    assert says in message
    assert "report" not in message
    assert "fit_loop.py" not in message


@pytest.mark.parametrize(("protocol", "count"), [("protocol=holdout", 1), ("protocol=loso", 4)])
def test_a_callback_is_constructed_once_for_each_training(
    protocol: str, count: int, installed: Any, drawn: Path, tiny: Tiny, tmp_path: Path
) -> None:
    assert main(tiny(drawn, tmp_path, protocol, "trainer.callbacks=[mine]", "name=a")) == DONE
    assert len(installed.COUNT) == count


def test_faults_of_callbacks_and_of_timm_are_listed_together(
    installed: Any, drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    unfit = ("model=timm:crossvit_tiny_240", "model.widths=[]", "model.convs=[]", "trainer.callbacks=[mine, broken]")
    message = refusal(capsys, tiny(drawn, tmp_path / "runs", *unfit))
    assert "settings: 2 problems" in message
    assert "trainer.callbacks: broken (entry point own_callbacks:Broken) raises OSError: no such port" in message
    assert "model.encoder: timm:crossvit_tiny_240 takes no 64x64 images" in message
    assert not (tmp_path / "runs").exists()


class Net(nn.Module):
    def forward(self, frames: Any) -> Any:
        return frames["x"]


class Data(SyntheticDataModule):
    def setup(self, stage: str | None = None) -> None:
        raise KeyError("x")


class Silent(pl.Callback):
    """A callback without a fault."""


@pytest.mark.parametrize(
    ("run", "owner"),
    [
        (lambda: Net()(1), f"model {__name__}.Net ({__file__}): forward raises an error"),
        (lambda: Net()(1, 2), f"model {__name__}.Net ({__file__}): forward raises an error"),
        (lambda: Data("x").setup(), f"dataset {__name__}.Data ({__file__}): setup raises an error"),
        (lambda: build_model("conv4", 5)(torch.zeros(1, 1, 3, 64, 64), 1), None),
        (lambda: pl.Trainer(callbacks=[Silent()], logger=False).fit(Net()), None),
    ],
)
def test_whose_code_an_error_passed_through(run: Callable[[], object], owner: str | None) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # of any kind
        run()
    fault = own_fault(raised.value)
    assert (owner is None) == (fault is None)
    assert owner is None or owner in str(fault)
