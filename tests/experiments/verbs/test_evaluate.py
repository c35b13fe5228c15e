"""``fer-id evaluate``: groups and pairs by argument, and the file of the public view."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from experiments.cli import DONE, USERS_FAULT, main
from experiments.measure.report_speed import GROUPS, made_up_run
from fer_id.evaluation.groups.grouping import group_columns
from fer_id.labels import TARGET
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Capture, contents, refusal


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Finished run on 12 children of two genders, three of them severe."""
    run = made_up_run(tmp_path / "run", clips=240, subjects=12, folds=1)
    table = run.predictions().query("split == 'test'").drop(columns=list(GROUPS))
    child = table["subject_id"].str.removeprefix("s").astype(int)
    gender, severity = np.where(child % 2, "boy", "girl"), np.where(child < 3, "severe", "mild")
    run.write_predictions(table.assign(gender=gender, severity=severity))
    return run


def test_groups_pairs_and_the_public_view(run: RunDir, tmp_path: Path, capsys: Capture) -> None:
    public = tmp_path / "public.json"
    arguments = ["groups=[gender]", "pairs=[severity:gender]", "min_subjects=3", f"public={public}"]
    assert main(["evaluate", str(run.path), *arguments]) == DONE
    output = capsys.readouterr().out
    assert "gender: no gap shown in " in output
    assert "Everything is flagged: 0 subjects to choose a threshold on" in output
    assert "Prediction sets that hold the true class in 90\u202f% of the cases: insufficient evidence" in output
    subgroups = run.metrics()["subgroups"]
    assert list(subgroups["columns"]) == ["gender", "severity x gender"]
    assert subgroups["min_subjects"] == 3
    view = json.loads(public.read_text())
    assert (view["provenance"], view["min_subjects"]) == ("synthetic", 5)  # outside never fewer
    assert list(view["columns"]["gender"]["groups"]) == ["boy", "girl"]
    assert view["columns"]["severity x gender"] | {"gaps": None} == {"groups": {}, "hidden": 4, "gaps": None}
    assert main(["evaluate", str(run.path)]) == DONE
    assert list(run.metrics()["subgroups"]["columns"]) == ["gender", "severity"]


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("groups=[sight]", "no group column 'sight'"),
        ("pairs=[severity]", "pairs: severity: expected two different columns"),
        ("pairs=[severity:severity]", "expected two different columns"),
        ("min_subjects=1", "at least 2"),
    ],
)
def test_bad_groups_are_refused(run: RunDir, argument: str, says: str, capsys: Capture) -> None:
    assert says in refusal(capsys, ["evaluate", str(run.path), argument])
    assert not (run.path / "metrics.json").exists()


def test_there_is_no_public_view_of_a_benchmark_without_groups(run: RunDir, tmp_path: Path, capsys: Capture) -> None:
    run.write_job(Job.model_validate({"store": {"provenance": "synthetic", "shard_by": "split"}}))
    table = run.predictions()
    run.write_predictions(table.drop(columns=group_columns(table, TARGET)))
    output = refusal(capsys, ["evaluate", str(run.path), f"public={tmp_path / 'public.json'}"])
    assert "no groups of this run to write (subjects are groups of images" in output
    assert not (tmp_path / "public.json").exists()


@pytest.mark.parametrize(
    "place", ["run/metrics.json", "run/DONE", "run/figures/new.json", "run", "run/../run/job.json", "link/job.json"]
)
def test_the_public_view_replaces_no_file_of_a_run(run: RunDir, tmp_path: Path, place: str, capsys: Capture) -> None:
    (tmp_path / "link").symlink_to(run.path)
    before = contents(run)
    assert "public=" in refusal(capsys, ["evaluate", str(run.path), f"public={tmp_path / place}"])
    assert contents(run) == before


@pytest.mark.parametrize("content", ["clip_id,label\n", '{"provenance": "real", "groups": []}', ""])
def test_the_public_view_replaces_nothing_but_an_older_one(
    run: RunDir, tmp_path: Path, content: str, capsys: Capture
) -> None:
    """Such as ``public=site/clips.csv`` or a store's card, by a wrong completion in the shell."""
    (tmp_path / "file").write_text(content)
    output = refusal(capsys, ["evaluate", str(run.path), f"public={tmp_path / 'file'}"])
    assert "holds no public view of groups; choose another name" in output
    assert (tmp_path / "file").read_text() == content
    assert not (run.path / "metrics.json").exists()
    os.mkfifo(tmp_path / "pipe")
    assert main(["evaluate", str(run.path), f"public={tmp_path / 'pipe'}"]) == USERS_FAULT
    assert (tmp_path / "pipe").is_fifo()


def test_a_run_whose_predictions_were_edited_is_named(run: RunDir, capsys: Capture) -> None:
    table = run.predictions()
    run.write_predictions(table.assign(**{f"p_{TARGET.names[0]}": 2.0}))
    assert f"{run.path / 'predictions.parquet'}: 2 problems" in refusal(capsys, ["evaluate", str(run.path)])
