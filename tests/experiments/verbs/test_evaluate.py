"""``fer-id evaluate``: groups and pairs by argument, and the file of the public view."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.cli import DONE, USERS_FAULT, main
from fer_id.labels import TARGET
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import refusal


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Finished run on 12 children of two genders, three of them severe."""
    rng = np.random.default_rng(0)
    truth, child = np.arange(240) // 12 % 5, np.arange(240) % 12
    logits = rng.normal(size=(240, 5))
    logits[np.arange(240), truth] += 1.5
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = pd.DataFrame(
        {
            "clip_id": [f"c{number}" for number in range(240)],
            "subject_id": [f"s{number:02d}" for number in child],
            "fold": "holdout",
            "split": "test",
            "label": [TARGET.names[k] for k in truth],
            "predicted": [TARGET.names[k] for k in p.argmax(1)],
            **{f"logit_{name}": logits[:, k] for k, name in enumerate(TARGET.names)},
            **{f"p_{name}": p[:, k] for k, name in enumerate(TARGET.names)},
            "flagged": False,
            "gender": np.where(child % 2, "boy", "girl"),
            "severity": np.where(child < 3, "severe", "mild"),
        }
    )
    store = {"provenance": "synthetic", "shard_by": "subject_id"}
    run = RunDir.create(tmp_path / "run", {"name": "run"}, Job.model_validate({"store": store, "seed": 1}))
    run.write_predictions(table)
    run.finish()
    return run


def test_groups_pairs_and_the_public_view(run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
def test_bad_groups_are_refused(run: RunDir, argument: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in refusal(capsys, ["evaluate", str(run.path), argument])
    assert not (run.path / "metrics.json").exists()


def test_there_is_no_public_view_of_a_benchmark(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.write_job(Job.model_validate({"store": {"provenance": "synthetic", "shard_by": "split"}}))
    assert "no groups of this run to write (subjects are groups of images" in refusal(
        capsys, ["evaluate", str(run.path), f"public={tmp_path / 'public.json'}"]
    )
    assert not (tmp_path / "public.json").exists()


@pytest.mark.parametrize(
    "place", ["run/metrics.json", "run/DONE", "run/figures/new.json", "run", "run/../run/job.json", "link/job.json"]
)
def test_the_public_view_replaces_no_file_of_a_run(
    run: RunDir, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(run.path)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert "public=" in refusal(capsys, ["evaluate", str(run.path), f"public={tmp_path / place}"])
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", ["clip_id,label\n", '{"provenance": "real", "groups": []}', ""])
def test_the_public_view_replaces_nothing_but_an_older_one(
    run: RunDir, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as ``public=site/clips.csv`` or a store's card, by a wrong completion in the shell."""
    (tmp_path / "file").write_text(content)
    assert "holds no public view of groups; choose another name" in refusal(
        capsys, ["evaluate", str(run.path), f"public={tmp_path / 'file'}"]
    )
    assert (tmp_path / "file").read_text() == content
    assert not (run.path / "metrics.json").exists()
    os.mkfifo(tmp_path / "pipe")
    assert main(["evaluate", str(run.path), f"public={tmp_path / 'pipe'}"]) == USERS_FAULT
    assert (tmp_path / "pipe").is_fifo()


def test_a_run_whose_predictions_were_edited_is_named(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    table = run.predictions()
    run.write_predictions(table.assign(**{f"p_{TARGET.names[0]}": 2.0}))
    assert f"{run.path / 'predictions.parquet'}: 2 problems" in refusal(capsys, ["evaluate", str(run.path)])
