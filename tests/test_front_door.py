"""The notebooks, whose code the README's library section has, as they stand, and what they leave."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from data_modules import SyntheticDataModule
from experiments.cli import DONE, USERS_FAULT, main
from fer_id import ClipClassification, RunDir, build_model, evaluate
from fer_id.callbacks.checkpoint import WholeFiles
from fer_id.errors import CheckpointError, ConfigError, LeakageError, RunError
from fer_id.loggers import RunLogger
from fer_id.models.config import MODELS, ModelConfig
from fer_id.runs.job import Job

ROOT = Path(__file__).resolve().parents[1]
SMALL = ModelConfig("small", head="lstm", hidden=8, widths=[4, 4, 8, 8], convs=[1, 1, 1, 1], dropout=0.3)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*multiple `ModelCheckpoint`", "ignore:Checkpoint directory .* exists and is not empty"
)


def executed(notebook: str, **shorter: str) -> dict[str, Any]:
    """Run a notebook in the working folder with pieces replaced; return the names that it leaves behind."""
    code, names = (ROOT / "docs" / "notebooks" / notebook).read_text("utf-8"), dict[str, Any]()
    for long, short in shorter.items():
        assert f"{long}=" in code
        code = re.sub(rf"\b{long}=\d+", f"{long}={short}", code)
    pl.seed_everything(0, verbose=False)  # the weights of so small a model decide whether its maps are defined
    exec(compile(code, notebook, "exec"), names)  # noqa: S102
    return names


def test_the_readme_has_the_code_of_the_first_notebook() -> None:
    library = (ROOT / "README.md").read_text("utf-8").partition("\n## The library")[2]
    block = re.search(r"```python\n(.*?)```", library, re.DOTALL)
    assert block, "README.md has no section `The library` with a block of Python"
    code = (ROOT / "docs" / "notebooks" / "first_training.py").read_text("utf-8")
    assert ast.dump(ast.parse(block[1])) == ast.dump(ast.parse(code))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/drawn``."""
    folder = tmp_path_factory.mktemp("notebook")
    made = ("synth", f"out={folder}/data/drawn", "subjects=8", "clips_per_emotion=1", "frames=3", "workers=1")
    assert main(made) == DONE
    return folder


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Small models and no figure, where neither is looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "cnn_lstm", SMALL)
        patch.setattr("fer_id.reporting.report.draw_figures", lambda run, evaluation, job: {})
        for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, "")
        yield


@pytest.fixture(scope="module")
def walked(place: Path, quick: None) -> dict[str, Any]:
    """The names that the code block leaves behind, two epochs later."""
    import wandb

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        names = executed("first_training.py", max_epochs="2")
    wandb.teardown()
    return names


def run_of(place: Path) -> RunDir:
    return RunDir(place / "runs" / "mine" / "first")


def test_it_leaves_a_finished_run_with_the_numbers_that_it_gave(walked: dict[str, Any], place: Path) -> None:
    run = run_of(place)
    assert run.done
    for name in ("config.yaml", "job.json", "metrics.jsonl", "metrics.json", "predictions.parquet", "report.html"):
        assert (run.path / name).is_file(), name
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    metrics = run.metrics()
    tested = {name.removeprefix("test/"): float(v) for name, v in walked["trainer"].callback_metrics.items()}
    for name in ("accuracy", "accuracy_with_missing", "macro_f1", "macro_recall", "macro_precision", "specificity"):
        assert tested[name] == pytest.approx(metrics[name], abs=1e-6), name
    for label, scores in metrics["per_class"].items():
        for name in ("recall", "f1", "specificity"):
            assert tested.get(f"{label}/{name}") == pytest.approx(scores[name], abs=1e-6), (label, name)
    table = run.predictions()
    assert set(table["split"]) == {"test", "validation"}
    *rows, tested = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert tested["test/accuracy"] == pytest.approx(metrics.accuracy, abs=1e-6)
    assert [row["epoch"] for row in rows] == [0, 1]
    logged = set(rows[-1])
    assert {"train/loss", "val/macro_f1", "val/attribution/mouth", "val/attribution/off_face"} <= logged
    assert any(name.startswith("val/happy/") for name in logged)
    assert any(name.startswith("val/group/") for name in logged)


def test_the_mirror_holds_each_epoch_once_with_pictures_of_drawn_faces(
    walked: dict[str, Any], place: Path, wandb_run: Any
) -> None:
    told = wandb_run(run_of(place).path)
    assert (told.name, told.group) == ("mine/first", "mine")
    assert told.tags == ["synthetic", "small", "holdout", "inductive"]
    rows = [row for row in told.rows if "val/loss" in row]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert all("val/grad_cam.count" in row for row in rows)
    assert told.summary["test/accuracy"] == run_of(place).metrics().accuracy
    held = b"".join(path.read_bytes() for path in (run_of(place).path / "wandb").rglob("*.wandb"))
    assert str(place).encode() not in held
    assert b"data/drawn" not in held


def test_the_verbs_take_the_run_like_any_other(
    walked: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    run = run_of(place).path.relative_to(place)
    assert main(["explain", str(run), "clips=4", "checks=0"]) == DONE
    assert main(["card", str(run)]) == DONE
    assert main(["evaluate", str(run)]) == DONE
    assert main(["compare", str(run), "out=compare"]) == DONE
    assert main(["release", str(run), "policy=demonstration"]) == USERS_FAULT
    said = capsys.readouterr()
    assert "is not released" in said.err
    assert "Traceback" not in said.err
    from experiments.training.trained_model import TrainedModel

    trained = TrainedModel.open(RunDir.open(run))
    test = trained.data.fold.test
    (batch,) = trained.data.plain_batches(test)
    with torch.inference_mode():
        logits = trained.model(batch["frames"], batch["valid"], batch["landmarks"])
    table = RunDir(run).predictions().set_index("clip_id").loc[batch["clip_id"]]
    columns = [f"logit_{name}" for name in trained.labels.names]
    torch.testing.assert_close(logits.double(), torch.tensor(table[columns].to_numpy()), rtol=1e-4, atol=1e-4)


def test_a_finished_run_is_kept_and_not_trained_again(
    walked: dict[str, Any], place: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    task, data = walked["task"], walked["data"]
    run = RunDir.begin("runs/mine/first", task=task, data=data)
    assert run.done
    assert capsys.readouterr().err.count("runs/mine/first is finished already: it is kept") == 1
    with pytest.raises(RunError, match=r"leave trainer\.fit out"):
        walked["trainer"].fit(task, data)
    other = ClipClassification(task.model, data.labels, lr=0.5)
    with pytest.raises(RunError, match=r"finished run of other settings \(differs in optim\.lr\)"):
        RunDir.begin("runs/mine/first", task=other, data=data)
    RunDir("runs/mine/parent").write_job(Job())
    with pytest.raises(RunError, match=r"differs in start"):
        RunDir.begin("runs/mine/first", task=task, data=data, start=RunDir("runs/mine/parent"))


def test_a_cohort_is_adapted_to_child_by_child(
    walked: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    drawn = ("synth", "out=data/site_a_store", "subjects=3", "clips_per_emotion=1", "frames=3", "workers=1", "seed=9")
    assert main(drawn) == DONE
    executed("adapt_cohort.py", max_epochs="1")
    for path in (place / "runs" / "site_a").glob("*000/DONE"):  # that child was interrupted before its end
        path.unlink()
    times = {path: path.stat().st_mtime_ns for path in (place / "runs" / "site_a").glob("*/checkpoints/best.ckpt")}
    capsys.readouterr()
    left = executed("adapt_cohort.py", max_epochs="1")
    assert times == {path: path.stat().st_mtime_ns for path in times}
    said = capsys.readouterr().err
    assert (said.count("is finished already: it is kept"), said.count("resuming runs/site_a")) == (2, 1)
    runs = [RunDir.open(path) for path in sorted((place / "runs" / "site_a").iterdir())]
    assert [set(run.predictions().query("split == 'test'")["subject_id"]) for run in runs] == [
        {run.path.name} for run in runs
    ]
    assert all(run.job().parents == ["runs/mine/first"] for run in runs)
    assert all(run.path.name not in run.job().subjects_of("train") for run in runs)
    assert (left["metrics"]["n_subjects"], len(runs)) == (3, 3)
    assert left["metrics"]["n_clips"] == sum(run.metrics().n_clips for run in runs)


def test_a_source_that_learned_from_the_tested_child_is_refused(
    walked: dict[str, Any], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    data, task, learned = walked["data"], walked["task"], walked["run"].job().subjects["train"]
    other = SyntheticDataModule("data/drawn", protocol="loso", fold=learned[0])
    with pytest.raises(LeakageError, match=rf"learned from 1 subjects whom fold {learned[0]} tests"):
        RunDir.begin(tmp_path / "run", task=task, data=other, start=walked["run"])
    assert not (tmp_path / "run").exists()
    assert RunDir.begin(tmp_path / "run", task=task, data=data, start=walked["run"]).job().parents


# ------------------------------------------------------------------------------------------------- interruption, own


class PowerCut(RuntimeError):
    """Interruption in the middle of an epoch."""


def train(folder: Path, store: Path, model: Any, *, epochs: int = 4, cut: int | None = None) -> RunDir:
    """The lines of the front door without W&B; the power is cut in the middle of an epoch where asked."""

    class Cut(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == cut and batch_idx == 1:
                raise PowerCut

    pl.seed_everything(3, verbose=False)
    data = SyntheticDataModule(str(store), protocol="holdout", batch_size=8, seed=3)
    data.config.num_workers = 0
    task = ClipClassification(model(), data.labels, lr=0.01)
    run = RunDir.begin(folder, task=task, data=data)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=RunLogger(run),
        callbacks=[Cut(), *run.callbacks()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, data)
    trainer.test(task, data, ckpt_path="best", verbose=False)
    evaluate(run, task, data)
    return run


def test_the_same_lines_go_on_after_an_interruption(tmp_path: Path, place: Path, quick: None) -> None:
    from fer_id.models.checkpoint import read_tensors

    store = place / "data" / "drawn"
    straight = train(tmp_path / "straight", store, lambda: build_model(SMALL, 5))
    with pytest.raises(PowerCut):
        train(tmp_path / "cut", store, lambda: build_model(SMALL, 5), cut=2)
    assert not (tmp_path / "cut" / "predictions.parquet").exists()
    resumed = train(tmp_path / "cut", store, lambda: build_model(SMALL, 5))
    for which in ("last", "best"):
        mine, theirs = read_tensors(straight.checkpoint(which)), read_tensors(resumed.checkpoint(which))
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    curves = [run.learning_curve().drop(columns="seconds") for run in (straight, resumed)]
    pd.testing.assert_frame_equal(*curves)
    pd.testing.assert_frame_equal(straight.predictions(), resumed.predictions())


class Own(torch.nn.Module):
    """Anybody's module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 5)

    def forward(self, frames: Any, valid: Any, landmarks: Any = None) -> Any:
        return self.layer(frames.mean(dim=(1, 3, 4)))


def test_a_module_of_ones_own_trains_and_is_compared_and_release_refuses_it(
    tmp_path: Path, place: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path / "own", place / "data" / "drawn", Own, epochs=1)
    assert run.metrics().n_clips > 0
    assert run.config()["model"] == {"name": "Own", "encoder": "own", "head": "mean"}
    assert run.job().cost.parameters == 20
    assert main(["compare", str(run.path), f"out={tmp_path / 'compare'}"]) == DONE
    assert main(["card", str(run.path)]) == DONE
    for verb in (["explain", str(run.path)], ["release", str(run.path), "policy=demonstration"]):
        assert main(verb) == USERS_FAULT
        said = capsys.readouterr().err
        assert "its model is a module of somebody's own (Own)" in said
        assert "Traceback" not in said


class Code:
    """A pickle that runs something."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return (Path.touch, (self.place,))


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_checkpoint_that_holds_code_is_refused_and_runs_nothing(
    which: str, tmp_path: Path, place: Path, quick: None
) -> None:
    store = place / "data" / "drawn"
    with pytest.raises(PowerCut):
        train(tmp_path / "run", store, Own, cut=2)
    torch.save({"state_dict": Code(tmp_path / "ran")}, tmp_path / "run" / "checkpoints" / f"{which}.ckpt")
    with pytest.raises(CheckpointError, match="more than weights"):
        train(tmp_path / "run", store, Own)
    with pytest.raises(UnpicklingError, match="Weights only load failed"):
        WholeFiles().load_checkpoint(tmp_path / "run" / "checkpoints" / f"{which}.ckpt", weights_only=False)
    assert not (tmp_path / "ran").exists()


def test_an_adaptation_strategy_needs_a_model_with_parts() -> None:
    from fer_id.labels import TARGET
    from fer_id.tasks.config import AdaptationConfig
    from fer_id.tasks.strategies import Head

    with pytest.raises(ConfigError, match="Head: adapts the encoder or head"):
        ClipClassification(Own(), TARGET, strategy=Head(AdaptationConfig(), {}))


def test_begin_says_what_is_wrong_with_the_parts(tmp_path: Path, place: Path) -> None:
    data = SyntheticDataModule(place / "data" / "drawn", protocol="holdout")
    with pytest.raises(ConfigError, match=r"data module is a LightningDataModule without config"):
        RunDir.begin(tmp_path / "a", task=ClipClassification(Own(), data.labels), data=pl.LightningDataModule())
    with pytest.raises(ConfigError, match=r"LightningModule.model is a NoneType"):
        RunDir.begin(tmp_path / "a", task=pl.LightningModule(), data=data)
    assert not (tmp_path / "a").exists()
    run = RunDir.begin(tmp_path / "b", task=ClipClassification(Own(), data.labels), data=data)
    with pytest.raises(RunError, match=r"no predictions yet: trainer.test"):
        evaluate(run, ClipClassification(Own(), data.labels), data)
    with pytest.raises(RunError, match="another configuration"):
        RunDir.begin(tmp_path / "b", task=ClipClassification(Own(), data.labels, lr=0.5), data=data)


# ----------------------------------------------------------------------------------------------------------- imports


def test_the_front_door_loads_nothing_heavy() -> None:
    code = "import sys, fer_id, fer_id.callbacks, fer_id.loggers, data_modules; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


@pytest.mark.parametrize("package", ["fer_id", "fer_id.callbacks", "fer_id.loggers", "data_modules"])
def test_every_exported_name_is_there_and_stands_in_the_stub(package: str) -> None:
    from importlib import import_module

    module = import_module(package)
    stub = Path(str(module.__file__)).with_suffix(".pyi").read_text("utf-8")
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert f" as {name}\n" in stub
    with pytest.raises(AttributeError, match="it exports"):
        _ = module.Nonsense


def test_shipped_models_are_the_same_by_name_and_by_yaml() -> None:
    from experiments.config import TrainConfig
    from experiments.settings.loading import load

    folder = ROOT / "experiments" / "configs" / "model"
    assert {path.stem for path in folder.glob("*.yaml")} == set(MODELS)
    for name, model in MODELS.items():
        if name != "cnn_lstm" or model is not SMALL:
            assert load(TrainConfig, ["data=synthetic", "data.store=x", f"model={name}"]).model == model
