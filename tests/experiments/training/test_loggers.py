"""What real trainings tell W&B, read from their offline files: study, folds, axes, tags, the best epoch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import pytorch_lightning as pl
import wandb

from experiments.cli import DONE, main
from experiments.config import TrainConfig
from experiments.settings.loading import load
from experiments.training.setup import open_data
from experiments.training.training import train_one
from fer_id.callbacks import register_callback, registry
from fer_id.callbacks.record import Record
from fer_id.loggers.disclosure import TRIAL
from tests.experiments.messages import Capture, Tiny, refusal, stop, train

Read = Callable[[Path], SimpleNamespace]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):  # set by the mirror itself
        monkeypatch.setenv(name, "")


@pytest.mark.slow
def test_leaving_one_child_out_reads_as_one_study(drawn: Path, tiny: Tiny, wandb_run: Read, tmp_path: Path) -> None:
    subjects = sorted(pd.read_parquet(drawn / "clips.parquet")["subject_id"].unique())[:2]
    only = f"protocol.only=[{','.join(subjects)}]"
    arguments = tiny(drawn, tmp_path, "logging.wandb=offline", "protocol=loso", only, "name=study/loso")
    run = train(arguments)
    wandb.teardown()
    whole, *folds = (wandb_run(one.path) for one in (run, *run.folds))

    assert [one.job_type for one in (whole, *folds)] == ["study", "fold", "fold"]
    assert {one.group for one in (whole, *folds)} == {"study"}
    assert [one.name for one in (whole, *folds)] == ["study/loso", "study/loso/folds/01", "study/loso/folds/02"]
    assert {"synthetic", "cnn_lstm", "loso", "inductive"} <= set(whole.tags)
    assert [one.config["study"]["fold"] for one in (whole, *folds)] == [None, 1, 2]
    assert {one.config["study"]["name"] for one in (whole, *folds)} == {"study/loso"}
    assert whole.config["optim"]["lr"] == 0.01  # nested: W&B shows it as optim.lr
    assert whole.axes["val/*"] == whole.axes["train/*"] == "epoch"

    curves = [one.learning_curve() for one in run.folds]
    assert [row["folds"] for row in whole.rows if "folds" in row] == [2]
    told = next(row for row in whole.rows if "folds" in row)
    assert told["val/loss"] == pytest.approx(sum(curve["val/loss"].iloc[0] for curve in curves) / 2)
    assert whole.summary["val/macro_f1"] == pytest.approx(sum(curve["val/macro_f1"].max() for curve in curves) / 2)
    metrics = run.metrics()
    assert whole.summary["test/accuracy"] == metrics["accuracy"]
    assert whole.summary["test/happy/recall"] == metrics["per_class"]["happy"]["recall"]


@pytest.mark.slow
def test_the_summary_is_of_the_best_epoch_and_a_resumed_run_is_whole(
    drawn: Path, tiny: Tiny, wandb_run: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = tiny(drawn, tmp_path, "logging.wandb=offline", "trainer.max_epochs=3", "optim.lr=0.05", "name=a")
    stop(monkeypatch, Record, "on_train_epoch_end", 2, arguments)
    curve = train(arguments).learning_curve()
    wandb.teardown()
    told = wandb_run(tmp_path / "a")
    assert [row["epoch"] for row in told.rows if "epoch" in row and "val/loss" in row] == [0, 1, 2]
    best = curve.loc[curve["val/macro_f1"].idxmax()]
    assert told.summary["val/best_epoch"] == best["epoch"]
    assert told.summary["val/macro_f1"] == best["val/macro_f1"]
    assert told.summary["val/loss"] == best["val/loss"]


def test_a_trial_of_an_agent_tells_no_test_score(
    drawn: Path, tiny: Tiny, wandb_run: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "trial1")
    assert main(tiny(drawn, tmp_path, "logging.wandb=offline", "name=lr/trial1")) == DONE
    wandb.teardown()
    told = wandb_run(tmp_path / "lr" / "trial1")
    assert (told.job_type, told.id) == ("trial", "trial1")
    assert "lr" in told.tags
    assert "val/macro_f1" in told.summary
    assert [name for name in told.summary if name.startswith("test/")] == ["test/withheld"]


def test_a_trial_within_a_fold_does_not_name_its_child(
    drawn: Path, tiny: Tiny, wandb_run: Read, tmp_path: Path
) -> None:
    """As a sweep lays it down: ``runs/STUDY/folds/CHILD/JOB``."""
    subject = sorted(pd.read_parquet(drawn / "clips.parquet")["subject_id"].unique())[1]
    name = f"lr/folds/{subject}/0a1b"
    config = load(TrainConfig, tiny(drawn, tmp_path, "logging.wandb=offline", "protocol=loso")[1:])
    config = replace(config, name=name)
    train_one(config, tmp_path / name, open_data(config, subject), job_type=TRIAL)
    wandb.teardown()
    told = wandb_run(tmp_path / name)
    assert (told.name, told.config["name"], told.group) == ("lr/folds/02/0a1b", "lr/folds/02/0a1b", "lr")
    assert (told.config["study"]["name"], told.config["study"]["fold"]) == ("lr", 2)
    assert "lr" in told.tags
    assert subject.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*.wandb"))


def test_a_callback_of_ones_own_joins_by_its_name(
    drawn: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    class Mine(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            pl_module.log("train/mine", 0.25)

    monkeypatch.setattr(registry, "_registered", {})
    output = refusal(capsys, tiny(drawn, tmp_path, "trainer.callbacks=[mine]", "name=a"))
    assert "'mine' is unknown. Known: class_metrics, grad_cam_panel, subgroup_fairness" in output
    register_callback("mine", Mine)
    (row,) = train(tiny(drawn, tmp_path, "trainer.callbacks=[mine]", "name=a")).learning_curve().to_dict("records")
    assert row["train/mine"] == 0.25
    assert {"val/happy/specificity", "val/macro_f1"} <= set(row)


def test_a_server_that_is_not_reachable_costs_a_line_and_never_the_training(
    drawn: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    run = train(tiny(drawn, tmp_path, "logging.wandb=auto", "name=a"))
    wandb.teardown()
    told = capsys.readouterr().err
    (offline,) = (tmp_path / "a" / "wandb").glob("offline-run-*")
    assert "does not answer ([Errno 111] Connection refused). The run is recorded offline; send it later" in told
    assert f"wandb sync {offline}" in told
    assert run.metrics()["n_clips"] > 0
