"""``fer-id train`` from its arguments to its exit code: outputs, resuming, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import wandb
import yaml

from experiments.cli import DONE, USERS_FAULT, main
from experiments.config import TrainConfig, TrainerConfig
from experiments.settings.loading import load, plain, read, usual
from experiments.training.parents import open_parent
from experiments.training.setup import make_model, open_data, open_run_data
from experiments.training.trainer import validation_note
from fer_id.callbacks.record import Record
from fer_id.errors import RunError
from fer_id.models.checkpoint import read_tensors
from fer_id.reporting.jobs import run_name
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.classification import ClipClassification
from tests.experiments.messages import DRAWING, Capture, Malicious, Tiny, Trained, contents, refusal, stop, train


@pytest.fixture(scope="module")
def finished(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Finished training and its arguments; read-only."""
    stills = ("model=conv4", "model.hidden=128", "name=study/stills")
    arguments = tiny(drawn, tmp_path_factory.mktemp("finished"), *stills)
    return arguments, train(arguments)


@pytest.mark.parametrize(
    ("every", "epochs", "words"),
    [
        (10, 2, "comes once, after epoch 2"),
        (10, 12, "epochs 11 to 12 come after the last"),
        (10, 11, "epoch 11 comes after the last"),
        (4, 12, None),
        (1, 1, None),
    ],
)
def test_epochs_that_no_validation_can_choose_are_named(every: int, epochs: int, words: str | None) -> None:
    note = validation_note(TrainerConfig(max_epochs=epochs, validate_every=every))
    assert words in note if words and note else note is words


# ------------------------------------------------------------------------------------------------ finished runs


def test_evaluate_gives_the_same_numbers_again(finished: Trained, capsys: Capture) -> None:
    run = finished[1]
    before = (run.path / "metrics.json").read_bytes()
    (run.path / "metrics.json").unlink()
    (run.path / "report.html").unlink()
    assert main(["evaluate", str(run.path)]) == DONE
    assert (run.path / "metrics.json").read_bytes() == before
    assert (run.path / "report.html").is_file()
    assert format(json.loads(before)["accuracy"], ".4f") in capsys.readouterr().out


def test_a_finished_run_is_not_trained_again(
    finished: Trained, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    stop(monkeypatch, ClipClassification, "training_step", 0, finished[0], code=DONE)
    output = capsys.readouterr()
    assert "finished already" in output.err
    assert "report.html" in output.out


def test_a_default_name_has_no_path_of_model_or_recipe(
    drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    recipe = tmp_path / "mine" / "quick.yaml"
    recipe.parent.mkdir()
    recipe.write_text("trainer:\n  patience: 0\n")
    runs = tmp_path / "runs"
    assert main(tiny(drawn, runs, "model=conv4", "model.name=timm:a/b", f"recipe={recipe}")) == DONE
    assert (runs / "synthetic" / "timm-a-b-quick" / "DONE").is_file()


def test_a_finished_run_is_not_replaced_by_another(finished: Trained, capsys: Capture) -> None:
    arguments, run = finished
    before = contents(run)
    assert "finished run" in refusal(capsys, [*arguments, "seed=5"])
    assert contents(run) == before


def test_job_records_the_training_and_its_data(finished: Trained, drawn: Path) -> None:
    job = finished[1].job()
    assert job.store.provenance == "synthetic"
    subjects = job.subjects
    assert sum(len(names) for names in subjects.values()) == len(set().union(*subjects.values())) == 4
    assert job.clips["test"] == len(finished[1].predictions().query("split == 'test'"))


def test_an_epoch_without_validation_records_none(drawn: Path, tiny: Tiny, tmp_path: Path) -> None:
    run = train(tiny(drawn, tmp_path, "name=a", "trainer.max_epochs=3", "trainer.validate_every=2"))
    curve = run.learning_curve()
    assert curve["val/loss"].notna().tolist() == [False, True, False]
    assert curve["train/loss"].notna().all()


# ---------------------------------------------------------------------------------------------- interrupted runs


@pytest.fixture(scope="module")
def uninterrupted(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Uninterrupted training of three epochs, with dropout, augmentation and a schedule."""
    return train(tiny(drawn, tmp_path_factory.mktemp("whole"), *DRAWING))


@pytest.mark.parametrize(
    ("workers", "where", "method", "stops"),
    [
        (0, ClipClassification, "training_step", [3, 3]),
        pytest.param(1, Record, "on_train_epoch_end", [1], marks=pytest.mark.slow),
    ],
    ids=["within the second epoch and the third", "at the end of the second epoch, with a worker"],
)
def test_a_resumed_run_equals_the_uninterrupted_one(
    workers: int,
    where: type,
    method: str,
    stops: list[int],
    uninterrupted: RunDir,
    drawn: Path,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    same: Callable[[RunDir, RunDir], bool],
) -> None:
    arguments = tiny(drawn, tmp_path, *DRAWING, f"data.num_workers={workers}")
    run = RunDir(tmp_path / "a")
    for after in stops:
        stop(monkeypatch, where, method, after, arguments)
        assert not run.done
    assert "takes up" in capsys.readouterr().err
    assert main(arguments) == DONE
    assert "resuming" in capsys.readouterr().err
    assert same(run, uninterrupted)


@pytest.fixture(scope="module")
def begun(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Arguments and last checkpoint of a training of two epochs, interrupted in the second."""
    root = tmp_path_factory.mktemp("begun")
    arguments = tiny(drawn, root, "trainer.max_epochs=2", "name=a")
    with pytest.MonkeyPatch.context() as patched:
        stop(patched, ClipClassification, "training_step", 3, arguments)
    return arguments, root / "a" / "checkpoints" / "last.ckpt"


def carrying_code(path: Path, trace: Path) -> None:
    torch.save({"state_dict": {}, "epoch": Malicious(trace)}, path)


def of_another_model(path: Path, trace: Path) -> None:
    torch.save({"state_dict": {"model.classifier.weight": torch.zeros(3, 3)}}, path)


@pytest.mark.parametrize(
    ("spoil", "says"), [(carrying_code, "nothing of it was run"), (of_another_model, "weights of another model")]
)
def test_a_bad_checkpoint_is_explained_and_not_run(
    spoil: Callable[[Path, Path], None], says: str, begun: tuple[list[str], Path], tmp_path: Path, capsys: Capture
) -> None:
    arguments, checkpoint = begun
    good, trace = checkpoint.read_bytes(), tmp_path / "it ran"
    try:
        spoil(checkpoint, trace)
        assert main(arguments) == USERS_FAULT
    finally:
        checkpoint.write_bytes(good)
    output = capsys.readouterr().err
    assert says in output
    assert "last.ckpt" in output
    assert "Traceback" not in output
    assert not trace.exists()


def test_other_settings_do_not_resume(begun: tuple[list[str], Path], capsys: Capture) -> None:
    output = refusal(capsys, [*begun[0], "optim.weight_decay=0.5"])
    assert "another configuration" in output
    assert "optim.weight_decay" in output


def test_settings_of_later_versions_have_their_defaults(begun: tuple[list[str], Path]) -> None:
    """An older version began the run, and recorded neither of these settings."""
    path = begun[1].parents[1] / "config.yaml"
    whole = path.read_text(encoding="utf-8")
    older = yaml.safe_load(whole)
    del older["protocol"]["cross_fit"], older["trainer"]["devices"]
    config = read(TrainConfig, path)
    try:
        path.write_text(yaml.safe_dump(older), encoding="utf-8")
        run = RunDir(path.parent)
        assert run.changed(plain(config), usual(config)) == []
        assert run.changed(plain(config)) == ["protocol.cross_fit", "trainer.devices"]
        other = replace(config, protocol=replace(config.protocol, cross_fit=2))
        assert run.changed(plain(other), usual(other)) == ["protocol.cross_fit"]
    finally:
        path.write_text(whole, encoding="utf-8")


# -------------------------------------------------------------------------------------------------- cross-validation


def test_leave_one_subject_out_resumes_at_the_fold_and_pools(
    drawn: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    subjects = sorted(pd.read_parquet(drawn / "clips.parquet")["subject_id"].unique())[:2]
    arguments = tiny(drawn, tmp_path, "protocol=loso", f"protocol.only=[{','.join(subjects)}]", "name=study/loso")
    stop(monkeypatch, Record, "on_fit_start", 1, arguments)
    parent = RunDir(tmp_path / "study" / "loso")
    first, second = (parent.path / "folds" / subject for subject in subjects)
    assert (first / "DONE").is_file()
    assert not (second / "DONE").exists()
    before = (first / "checkpoints" / "last.ckpt").read_bytes()
    capsys.readouterr()

    assert main(arguments) == DONE
    assert f"fold 1/2: {subjects[0]} (done)" in capsys.readouterr().err
    assert (first / "checkpoints" / "last.ckpt").read_bytes() == before
    assert parent.done
    folds = [RunDir.open(path) for path in (first, second)]
    pd.testing.assert_frame_equal(
        parent.predictions(), pd.concat([fold.predictions() for fold in folds], ignore_index=True)
    )
    for fold, subject in zip(folds, subjects, strict=True):
        table = fold.predictions()
        assert set(table["subject_id"][table["split"] == "test"]) == {subject}
        assert set(table["fold"]) == {subject}
        assert subject not in fold.job().subjects["train"] + fold.job().subjects["validation"]
    assert parent.metrics()["n_subjects"] == 2
    assert parent.metrics()["n_clips"] == sum(fold.metrics()["n_clips"] for fold in folds)


# ------------------------------------------------------------------------------------- weights and data from elsewhere


def test_an_encoder_pretrained_on_stills_initialises_the_temporal_model(
    finished: Trained, drawn: Path, tiny: Tiny, tmp_path: Path
) -> None:
    stills = finished[1]
    arguments = tiny(drawn, tmp_path, f"init.encoder_from={stills.path}", "optim.lr=1e-9", "name=temporal")
    config = load(TrainConfig, arguments[1:])
    data = open_data(config, None)
    model = make_model(config, data, open_parent(config, data, data.fold))[0].state_dict()
    learned = {k: v for k, v in read_tensors(stills.checkpoint()).items() if k.startswith("model.encoder.")}
    assert len(learned) > 20
    assert all(torch.equal(model[name.removeprefix("model.")], value) for name, value in learned.items())

    run = train(arguments)
    assert run.job().parents == [str(stills.path)]
    trained = read_tensors(run.checkpoint())
    weights = [name for name in learned if name.endswith("weight")]
    assert all(torch.allclose(trained[name], learned[name], atol=1e-6) for name in weights)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["init.run=runs/nowhere"], "is not a run"),
        (["init.encoder_from={run}", "seed=3"], "subjects whom fold holdout tests"),
        (["init.run={run}", "data.label_space=fer7"], "init.encoder_from takes the encoder alone"),
    ],
)
def test_a_wrong_parent_is_reported_before_anything_is_measured(
    changes: list[str],
    says: str,
    finished: Trained,
    drawn: Path,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.setattr("experiments.training.numerics.measure", lambda *_, **__: pytest.fail("measured"))
    changes = [change.format(run=finished[1].path) for change in changes]
    assert says in refusal(capsys, tiny(drawn, tmp_path, "trainer.precision=auto", *changes, "name=a"))
    assert not list(tmp_path.iterdir())


def test_an_encoder_of_another_shape_is_refused(
    finished: Trained, drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    arguments = tiny(drawn, tmp_path, f"init.encoder_from={finished[1].path}", "model.widths=[4,4,8,16]", "name=a")
    output = refusal(capsys, arguments)
    assert "weights of another model" in output
    assert "shape" in output
    assert not list(tmp_path.iterdir())


def test_two_benchmarks_train_together(
    stores: dict[str, list[Path]], tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    pooled = f"data.store=[{stores['fer2013'][0]},{stores['ferplus'][0]}]"
    common = ("data=fer2013", pooled, "protocol=official", "batch_size=16", "name=both")
    assert "choose one with data.label_space=" in refusal(capsys, tiny(tmp_path, tmp_path, *common))
    run = train(tiny(tmp_path, tmp_path, *common, "data.label_space=target5"))
    assert run.metrics()["labels"] == ["happy", "sad", "angry", "fear", "neutral"]
    judged = run.predictions()
    assert not judged["clip_id"].str[2:].duplicated().any()  # FER+ holds the pictures of FER2013: each is judged once
    assert set(judged["clip_id"].str[:2]) == {"0:", "1:"}
    assert run.job().dropped["pictures judged in another store"]
    assert "label surprise not in target5" in run.job().dropped


def test_stores_with_other_crops_do_not_mix(
    stores: dict[str, list[Path]], tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    mixed = f"data.store=[{stores['fer2013'][0]},{stores['synthetic'][0]}]"
    output = refusal(capsys, tiny(tmp_path, tmp_path, mixed, "data.label_space=target5", "name=a"))
    assert "with the same alignment" in output
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------------- the edges


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_leaves_nothing_behind(drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    assert "trainer.accelerator=gpu" in refusal(capsys, tiny(drawn, tmp_path, "trainer.accelerator=gpu", "name=a"))
    assert not list(tmp_path.iterdir())


def test_all_mistakes_are_reported_together_and_leave_nothing_behind(
    drawn: Path, tmp_path: Path, capsys: Capture
) -> None:
    arguments = [
        *("train", "data=synthetic", f"data.store={drawn}", "model=cnn_lstmm", f"runs.root={tmp_path / 'runs'}"),
        *("optim.lr=-1", "batch_size=0", "trainer.max_epoch=3", "loss.label_smoothing=much"),
    ]
    output = refusal(capsys, arguments)
    for expected in ("cnn_lstm", "resnet50", "optim.lr", "batch_size", "trainer.max_epochs", "loss.label_smoothing"):
        assert expected in output
    assert not list(tmp_path.iterdir())


def test_files_of_wandb_lie_inside_the_run(
    drawn: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    run = train(tiny(drawn, tmp_path / "runs", "logging.wandb=offline", "name=study/a")).path
    assert len(list(run.glob("wandb/offline-run-*/*.wandb"))) == 1
    assert not list(here.iterdir())
    assert not [path for path in home.rglob("*") if "wandb" in str(path)]
    wandb.teardown()  # its own process goes on writing after the run has ended
    held = next(run.glob("wandb/offline-run-*/*.wandb")).read_bytes()
    assert b"cnn_lstm" in held
    assert b"/" + drawn.parent.name.encode() not in held


# ------------------------------------------------------------------------------------------------ cross-fitting


def test_cross_fitted_children_join_the_predictions_and_an_interrupted_run_is_resumed(
    tiny_store: Callable[..., Path], tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    arguments = tiny(tiny_store(subjects=6, clips=1), tmp_path, "protocol.cross_fit=2", "name=a")
    stop(monkeypatch, RunDir, "finish", 1, arguments)  # the first part is finished, the second and the run are not
    run = RunDir(tmp_path / "a")
    assert run.predicted
    assert [part.done for part in run.parts] == [True, False]
    first, trained = (run.parts[0].path / "DONE").stat().st_mtime_ns, read_tensors(run.checkpoint())
    capsys.readouterr()
    assert main(arguments) == DONE
    assert "cross-fitting 1/2 (done)" in capsys.readouterr().err
    assert (run.parts[0].path / "DONE").stat().st_mtime_ns == first
    again = read_tensors(run.checkpoint())
    assert all(torch.equal(trained[name], again[name]) for name in trained)

    table, job = run.predictions(), run.job()
    calibration = table[table["split"] == "calibration"]
    learned = {*job.subjects["train"], *job.subjects["validation"]}
    assert set(calibration["subject_id"]) == learned
    assert calibration["clip_id"].is_unique
    assert not learned & set(table[table["split"] == "test"]["subject_id"])
    for part in run.parts:
        subjects = part.job().subjects
        of_part = part.predictions().query("split == 'test'")
        assert set(of_part["subject_id"]) == set(subjects["test"])
        assert not set(subjects["test"]) & {*subjects["train"], *subjects["validation"]}
        merged = of_part.merge(calibration, on="clip_id")
        assert (merged["logit_happy_x"] == merged["logit_happy_y"]).all()
        assert not (part.path / "wandb").exists()
        assert run_name(part) == f"{run_name(run)}, part {part.part}"
    assert run.metrics()["conformal"]["n_subjects_calibration"] == {"holdout": len(learned)}

    data = open_run_data(run.parts[1])[1]
    assert data.subjects(data.fold.test) == run.parts[1].job().subjects["test"]


def test_an_edited_configuration_that_would_test_on_training_children_is_refused(
    drawn: Path, tiny: Tiny, tmp_path: Path
) -> None:
    run = train(tiny(drawn, tmp_path, "name=a", "protocol=holdout", "seed=0"))
    data = open_run_data(run)[1]
    assert data.subjects(data.fold.test) == run.job().subjects["test"]
    run.write_config(run.config() | {"seed": 1})
    with pytest.raises(RunError, match=r"config\.yaml gives other subjects for .*test"):
        open_run_data(run)


def test_a_parent_trained_on_the_calibration_children_is_refused(
    drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    assert main(tiny(drawn, tmp_path, "name=first")) == DONE
    start = (f"init.run={tmp_path}/first", "name=second", "protocol.cross_fit=3")
    assert "calibrates on (protocol.cross_fit)" in refusal(capsys, tiny(drawn, tmp_path, *start))
    assert not (tmp_path / "second").exists()
    assert "expected 9 at least" in refusal(capsys, tiny(drawn, tmp_path, "name=third", "protocol.cross_fit=9"))
    assert not (tmp_path / "third").exists()


def test_pictures_without_subjects_are_not_cross_fitted(
    stores: dict[str, list[Path]], tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    few = ("data=fer2013", "protocol=official", "protocol.cross_fit=2", "model=conv4", "name=a")
    assert "pictures without subjects" in refusal(capsys, tiny(stores["fer2013"][0], tmp_path, *few))
