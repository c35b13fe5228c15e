"""RunDir: taken up again, refused, and read back."""

import errno
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fer_id.errors import RunError
from fer_id.runs.configs import differences, leaves
from fer_id.runs.job import Job, Store
from fer_id.runs.run_dir import RunDir

CONFIG: dict[str, Any] = {"seed": 1, "optim": {"lr": 1e-5, "name": "adam"}, "data": {"store": ["a"]}}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "study" / "run", CONFIG, Job.model_validate({"command": "fer-id train"}))


def table(**columns: Any) -> pd.DataFrame:
    base = {"clip_id": ["a", "b"], "fold": "f", "split": "test", "predicted": ["happy", None], "p_happy": [0.9, None]}
    return pd.DataFrame({**base, **columns})


def test_an_unfinished_run_of_the_same_settings_is_taken_up(run: RunDir) -> None:
    (run.path / "checkpoints" / "last.ckpt").write_bytes(b"weights")
    again = RunDir.create(run.path, CONFIG, Job.model_validate({"command": "again"}))
    assert again.checkpoint("last").read_bytes() == b"weights"
    assert again.job() == Job(command="again")
    assert again.config() == CONFIG


def test_other_settings_are_refused_and_named(run: RunDir) -> None:
    other = {**CONFIG, "optim": {"lr": 0.1, "name": "adam"}, "extra": 1}
    with pytest.raises(RunError, match=r"another configuration \(differs in extra, optim.lr\)"):
        RunDir.create(run.path, other, Job.model_validate({}))
    assert run.config() == CONFIG


def test_a_store_that_was_made_again_is_refused(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "one", CONFIG, Job.model_validate({"store": {"fingerprint": "a"}}))
    RunDir.create(run.path, CONFIG, Job.model_validate({"store": {"fingerprint": "a"}}))
    with pytest.raises(RunError, match="another store"):
        RunDir.create(run.path, CONFIG, Job.model_validate({"store": {"fingerprint": "b"}}))
    assert run.job() == Job(store=Store(fingerprint="a"))


def test_another_file_of_published_weights_is_refused(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "one", CONFIG, Job(weights_file="a"))
    RunDir.create(run.path, CONFIG, Job(weights_file="a"))
    with pytest.raises(RunError, match=r"another file of model.weights, .* \(SHA-256 a\)"):
        RunDir.create(run.path, CONFIG, Job(weights_file="b"))
    assert run.job() == Job(weights_file="a")


def test_a_finished_run_is_never_trained_again(run: RunDir) -> None:
    run.finish()
    with pytest.raises(RunError, match="is a finished run"):
        RunDir.create(run.path, CONFIG, Job.model_validate({}))


def test_opening_asks_for_a_finished_run(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not finished"):
        RunDir.open(run.path)
    assert RunDir.open(run.path, unfinished=True).job() == Job(command="fer-id train")
    run.finish()
    assert RunDir.open(run.path).done
    with pytest.raises(RunError, match="is not a run"):
        RunDir.open(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"a: [1", b"- 1\n", b"\xff\xfe\xfa"])
def test_a_damaged_config_is_named(run: RunDir, content: bytes) -> None:
    (run.path / "config.yaml").write_bytes(content)
    with pytest.raises(RunError, match=r"config\.yaml"):
        run.config()


def test_missing_parts_are_named(run: RunDir) -> None:
    for read, name in ((run.checkpoint, "best.ckpt"), (run.metrics, "metrics.json"), (run.predictions, "predictions")):
        with pytest.raises(RunError, match=name):
            read()


def test_predictions_come_back_with_null_where_no_face_was(run: RunDir) -> None:
    run.write_predictions(table())
    read = run.predictions()
    assert pd.isna(read["predicted"][1])
    assert pd.isna(read["p_happy"][1])
    assert read["predicted"][0] == "happy"


def test_predictions_that_name_a_clip_twice_or_lack_a_key_are_refused(run: RunDir) -> None:
    run.write_predictions(table(clip_id=["a", "a"]))
    with pytest.raises(RunError, match="not unique"):
        run.predictions()
    run.write_predictions(table().drop(columns=["fold", "split"]))
    with pytest.raises(RunError, match="columns missing: fold, split"):
        run.predictions()
    run.write_predictions(table(clip_id=["a", "a"], fold=["f", "g"]))
    assert len(run.predictions()) == 2


@pytest.mark.parametrize("keep", [0, 3, 40, -9])
def test_truncated_predictions_are_refused(run: RunDir, keep: int) -> None:
    run.write_predictions(table())
    path = run.path / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"predictions\.parquet: cannot be read"):
        run.predictions()


def test_predictions_are_written_whole_or_not_at_all(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_predictions(table())
    before = sorted(run.path.iterdir())

    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        run.write_predictions(table(clip_id=["c", "d"]))
    assert run.predictions()["clip_id"].tolist() == ["a", "b"]
    assert sorted(run.path.iterdir()) == before


def test_a_learning_curve_cut_by_a_crash_loses_only_its_last_line(run: RunDir) -> None:
    assert run.learning_curve().empty
    (run.path / "metrics.jsonl").write_text('{"epoch": 0, "train/loss": 2.0}\n{"epoch": 1, "train/loss": null}\n{"epo')
    curve = run.learning_curve()
    assert curve["epoch"].tolist() == [0, 1]
    assert curve["train/loss"][0] == 2.0


def test_folds_are_found_in_order_and_only_where_they_are_runs(run: RunDir) -> None:
    assert run.folds == []
    for name in ("s02", "s01"):
        RunDir.create(run.path / "folds" / name, CONFIG, Job.model_validate({}))
    (run.path / "folds" / "notes").mkdir()
    assert [fold.path.name for fold in run.folds] == ["s01", "s02"]


def test_settings_and_differences_are_dotted() -> None:
    assert dict(leaves({"a": {"b": 1, "c": {}}, "d": [2]})) == {"a.b": 1, "a.c": {}, "d": [2]}
    left = {"a": {"b": 1, "c": {"d": 2}}, "same": [1]}
    right = {"a": {"b": 1, "c": {"d": 3}}, "same": [1], "new": None, "e": 4}
    assert differences(left, right) == {"a.c.d": (2, 3), "e": (None, 4)}
    assert differences(right, left) == {"a.c.d": (3, 2), "e": (4, None)}


def test_predictions_of_another_run_are_refused(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "a", {}, Job.model_validate({"subjects": {"train": ["s1"], "test": ["s2", "s3"]}}))
    rows = {"clip_id": ["c1", "c2"], "fold": ["f", "f"], "split": ["test", "validation"]}
    run.write_predictions(pd.DataFrame(rows | {"subject_id": ["s2", "s1"]}))
    assert len(run.predictions()) == 2
    run.write_predictions(pd.DataFrame(rows | {"subject_id": ["s1", "s1"]}))
    with pytest.raises(RunError, match=r"predictions\.parquet: tests s1 .* is another run's"):
        run.predictions()
