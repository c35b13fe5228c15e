"""GradCamPanel in real trainings: numbers over epochs, the same clips, and no trace in the training."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger

from fer_id.callbacks import GradCamPanel
from fer_id.callbacks.record import Record
from fer_id.errors import ConfigError
from fer_id.loggers import PrivateWandbLogger, RunLogger
from fer_id.reporting.gallery import Shown
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.classification import ClipClassification
from tests.callbacks.conftest import lines_of, quiet_trainer, tiny_data, tiny_task


class Panels(PrivateWandbLogger):
    """Keeps what it is handed; nothing is sent."""

    panels: list[list[Shown]]

    @property
    def is_open(self) -> bool:
        return True

    def log_panels(self, panels: Any) -> None:
        self.panels = [*getattr(self, "panels", []), *panels.values()]

    def begin(self, rows: Any) -> None: ...

    def log_epoch(self, row: Any) -> None: ...


def fit(
    folder: Path, store: Path, panel: GradCamPanel | None, epochs: int = 3
) -> tuple[ClipClassification, list[dict[str, Any]], list[list[Shown]]]:
    """A training; the model, the lines of its record, and the film strips that the W&B logger was handed."""
    pl.seed_everything(3, verbose=False)
    task = tiny_task(head="lstm", hidden=8, dropout=0.5)
    folder.mkdir(exist_ok=True)
    RunDir(folder).write_job(Job.model_validate({"children": {"train": 0, "validation": 0, "test": 0}}))
    panels = Panels(RunDir(folder), mode="disabled")
    callbacks = [*([] if panel is None else [panel]), Record()]
    trainer = quiet_trainer(epochs, *callbacks, logger=[RunLogger(RunDir(folder)), panels], num_sanity_val_steps=1)
    trainer.fit(task, tiny_data(store, validation_fraction=0.6))
    return task, lines_of(folder), getattr(panels, "panels", [])


@pytest.fixture
def store(tiny_store: Callable[..., Path]) -> Path:
    return tiny_store(subjects=12, clips=1, length=2)


def test_numbers_and_strips_of_the_same_clips_every_k_epochs_and_at_the_end(tmp_path: Path, store: Path) -> None:
    _, lines, panels = fit(tmp_path / "run", store, GradCamPanel(clips=5, every=2))
    attributed = [{k: v for k, v in line.items() if k.startswith("val/attribution/")} for line in lines]
    assert attributed[0] == {}  # not explained
    shares = {name: value for name, value in attributed[1].items() if name != "val/attribution/off_face"}
    assert len(shares) == 10
    assert sum(shares.values()) == pytest.approx(1.0)
    assert attributed[1]["val/attribution/off_face"] > 0
    assert [len(panel) for panel in panels] == [5, 5]  # epochs 2 and 3
    assert [strip.clip_id for strip in panels[0]] == [strip.clip_id for strip in panels[1]]
    assert len({strip.subject_id for strip in panels[0]}) == 5
    assert len({strip.title.rpartition(" ")[2] for strip in panels[0]}) > 2  # and classes, as far as they go


def test_a_training_learns_the_same_with_it(tmp_path: Path, store: Path) -> None:
    plain, lines, _ = fit(tmp_path / "plain", store, None)
    watched, lines_watched, _ = fit(tmp_path / "watched", store, GradCamPanel(clips=3))
    for one, two in zip(plain.model.state_dict().values(), watched.model.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert [line["train/loss"] for line in lines] == [line["train/loss"] for line in lines_watched]


def test_a_real_face_is_shareable_only_by_consent(
    tmp_path: Path, tiny_store: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logger decides whether a strip leaves, see tests/loggers; here it is only marked."""
    monkeypatch.setenv("FER_ID_KEYS", str(tmp_path / "keys"))
    store = tiny_store(subjects=20, clips=1, length=2, provenance="real")
    card = json.loads((store / "card.json").read_text())
    consent = {"purposes": ["training", "evaluation"], "recorded_on": "2026-01-01", "expires_on": "2099-01-01"}
    sharing = {**consent, "purposes": [*consent["purposes"], "media_sharing"]}
    card["consent"] = {f"s{n:02d}": sharing if n % 2 else consent for n in range(20)}
    (store / "card.json").write_text(json.dumps(card))
    _, _, panels = fit(tmp_path / "run", store, GradCamPanel(clips=8), epochs=1)
    assert panels
    for strip in panels[0]:
        assert strip.provenance == "real"
        assert strip.shareable is bool(int(strip.subject_id[1:]) % 2)


def test_of_fewer_than_five_real_children_nothing_is_logged(
    tmp_path: Path, tiny_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    store = tiny_store(subjects=12, clips=1, length=2, provenance="real")
    _, lines, panels = fit(tmp_path / "run", store, GradCamPanel(clips=4), epochs=1)
    assert not panels
    assert not [name for name in lines[0] if "attribution" in name]
    assert "of fewer than five children" in capsys.readouterr().err


def test_a_model_of_another_kind_is_refused_with_the_reason() -> None:
    module: Any = SimpleNamespace(model=torch.nn.Linear(1, 1))
    with pytest.raises(ConfigError, match="is a Linear, expected a ClipClassifier"):
        GradCamPanel().on_fit_start(SimpleNamespace(), module)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected both to be at least 1"):
        GradCamPanel(clips=0)


def test_another_logger_gets_no_picture(tmp_path: Path) -> None:
    from fer_id.callbacks.step_outputs import private_loggers

    trainer: Any = SimpleNamespace(loggers=[CSVLogger(tmp_path), RunLogger(RunDir(tmp_path))])
    assert private_loggers(trainer) == []
