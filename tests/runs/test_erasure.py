"""What a withdrawal does to a run that was calibrated by cross-fitting."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_id.errors import RunError
from fer_id.files import locked
from fer_id.runs.erasure import erase_from_runs
from fer_id.runs.job import Job
from fer_id.runs.run_dir import CROSS_FIT, RunDir

CHILDREN = ("c1", "c2", "c3", "c4")


def run_of(path: Path, splits: dict[str, tuple[str, ...]], rows: list[tuple[str, str, str]]) -> RunDir:
    """A finished run; rows are (child, fold, split)."""
    run = RunDir.create(path, {"name": path.name}, Job(subjects={name: list(who) for name, who in splits.items()}))
    table = pd.DataFrame(rows, columns=["subject_id", "fold", "split"])
    run.write_predictions(table.assign(clip_id=[f"clip{i}" for i in range(len(table))], p=np.ones(len(table))))
    (run.path / "uncertainty").mkdir()
    (run.path / "uncertainty" / "uncertainty.parquet").write_bytes(b"speaks of everybody")
    run.finish()
    return run


@pytest.fixture
def cross_fitted(tmp_path: Path) -> RunDir:
    """c4 is tested; c1, c2 and c3 learned and calibrate it."""
    rows = [("c4", "holdout", "test"), ("c3", "holdout", "validation")]
    rows += [(child, "holdout", "calibration") for child in CHILDREN[:3]]
    run = run_of(tmp_path / "a", {"train": ("c1", "c2"), "validation": ("c3",), "test": ("c4",)}, rows)
    for number, (one, two, three) in enumerate((("c1", "c2", "c3"), ("c2", "c3", "c1"), ("c3", "c1", "c2"))):
        splits = {"train": (two,), "validation": (three,), "test": (one,)}
        run_of(run.path / CROSS_FIT / str(number), splits, [(one, "holdout", "test"), (three, "holdout", "validation")])
    return run


def test_a_calibration_child_leaves_every_table_and_what_learned_from_it_is_quarantined(cross_fitted: RunDir) -> None:
    erased = erase_from_runs(cross_fitted.path.parent, "c1", "c1 withdrew")
    assert not erased.problems
    runs = [cross_fitted, *cross_fitted.parts]
    assert all("c1" not in set(run.predictions()["subject_id"]) for run in runs)
    assert set(cross_fitted.predictions()["split"]) == {"test", "validation", "calibration"}
    judged_only = cross_fitted.parts[0]  # predicted c1, which it had not seen
    assert set(erased.quarantined) == {run.path for run in runs if run.path != judged_only.path}
    assert erased.cleaned == [judged_only.path]
    assert not any((run.path / "uncertainty").exists() for run in runs)


def test_the_parts_of_a_run_know_nothing_of_whom_it_tests(cross_fitted: RunDir) -> None:
    record = cross_fitted.path / "metrics.jsonl"
    record.write_text('{"epoch": 0, "val/loss": 1.0}\n{"test/loss": 1.0}\n')
    erased = erase_from_runs(cross_fitted.path.parent, "c4", "c4 withdrew")
    assert record.read_text() == '{"epoch": 0, "val/loss": 1.0}\n'
    assert not erased.quarantined
    assert erased.cleaned == [cross_fitted.path]
    assert [run.part for run in cross_fitted.parts] == [0, 1, 2]
    assert "c4" not in set(cross_fitted.predictions()["subject_id"])


def test_what_one_part_may_not_be_used_for_the_run_may_not_either(cross_fitted: RunDir) -> None:
    part = cross_fitted.parts[1]
    job = part.job().model_copy(update={"parents": [str(cross_fitted.path.parent / "source")]})
    part.write_job(job)
    source = {"train": ("x",), "validation": (), "test": ()}
    run_of(cross_fitted.path.parent / "source", source, [("x", "holdout", "validation")])
    erased = erase_from_runs(cross_fitted.path.parent, "x", "x withdrew")
    assert set(erased.quarantined) == {cross_fitted.path, part.path, cross_fitted.path.parent / "source"}


def test_pictures_of_the_child_that_were_sent_to_wandb_are_counted_and_their_note_goes(cross_fitted: RunDir) -> None:
    pictures = [{"key": "val/grad_cam", "clip_id": "x", "subject_id": child} for child in ("c1", "c2", "c1")]
    cross_fitted.note_uploads("abc1", pictures)
    cross_fitted.note_uploads("abc1", pictures[:1])
    (cross_fitted.path / "wandb" / "run-20260101_000000-abc1").mkdir(parents=True)  # it was online
    erased = erase_from_runs(cross_fitted.path.parent, "c1", "c1 withdrew")
    assert erased.uploaded == ["abc1"]
    assert erased.pictures == {"abc1": 3}
    assert [line["subject_id"] for line in cross_fitted.uploads()] == ["c2"]


def test_a_sweep_forgets_the_fold_of_a_child(tmp_path: Path) -> None:
    """Within folds, every trial of the fold that tests a child lies in a folder of its name."""
    study = tmp_path / "sweep"
    for fold in CHILDREN:
        others = tuple(child for child in CHILDREN if child != fold)
        splits = {"train": others[:2], "validation": others[2:], "test": (fold,)}
        run_of(study / "folds" / fold / "abc", splits, [(fold, fold, "test"), (others[2], fold, "validation")])
    trials = [f'{{"number": 1, "fold": "{fold}", "job": "abc"}}\n' for fold in CHILDREN]
    (study / "trials.jsonl").write_text("".join(trials))
    (study / "sweep.csv").write_text("c1")
    selected = run_of(study / "selected", {"train": CHILDREN}, [(fold, fold, "test") for fold in CHILDREN])
    selected.write_job(selected.job().model_copy(update={"selected": {fold: {"job": "abc"} for fold in CHILDREN}}))

    erased = erase_from_runs(tmp_path, "c1", "c1 withdrew")
    assert erased.removed == [study / "folds" / "c1" / "abc"]
    assert not (study / "folds" / "c1").exists()
    assert set(erased.quarantined) == {study / "folds" / fold / "abc" for fold in CHILDREN[1:]} | {selected.path}
    assert (study / "trials.jsonl").read_text() == "".join(trials[1:])
    assert not (study / "sweep.csv").exists()
    assert list(selected.job().selected) == list(CHILDREN[1:])


def test_a_run_that_is_being_trained_is_quarantined_at_once_and_cleaned_when_it_has_stopped(
    cross_fitted: RunDir,
) -> None:
    root = cross_fitted.path.parent
    with locked(cross_fitted.path, RunError):
        erased = erase_from_runs(root, "c1", "c1 withdrew")
    assert cross_fitted.path in erased.quarantined
    assert (cross_fitted.path / "QUARANTINED").is_file()
    assert any("another process is working there" in problem for problem in erased.problems)
    assert not erase_from_runs(root, "c1", "c1 withdrew").problems
    assert "c1" not in set(cross_fitted.predictions()["subject_id"])


def test_the_record_of_a_sweep_that_runs_is_not_written_beside_it(tmp_path: Path) -> None:
    line = '{"number": 1, "fold": "c1", "job": "abc"}\n'
    (tmp_path / "trials.jsonl").write_text(line)
    with locked(tmp_path, RunError):
        erased = erase_from_runs(tmp_path, "c1", "c1 withdrew")
    assert "another process is working there" in erased.problems[0]
    assert (tmp_path / "trials.jsonl").read_text() == line
