"""Configurations of a search within folds, each logged to W&B as one run."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from experiments.cli import DONE, main
from experiments.online.studies import PLACE, configurations
from fer_id.runs.job import Job, Store
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Capture, refusal

BEST = {("a", "one"): 0.5, ("a", "two"): 0.25, ("b", "one"): 1.0, ("b", "two"): 0.75, ("b", "three"): 1.0}
CONFIG = {
    "data": {"name": "synthetic", "store": ["/planted/store"]},
    "model": {"name": "conv4"},
    "protocol": {"name": "loso", "only": ["a"]},
    "optim": {"lr": 0.125},
    "trainer": {"monitor": "val/macro_f1"},
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Study whose folds ``a`` and ``b`` tried configurations, each with ``children`` real children in validation."""
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, "")

    def make(children: int = 0) -> Path:
        folder = tmp_path / "lr"
        lines = []
        for number, ((fold, job), best) in enumerate(BEST.items(), start=1):
            run = RunDir(folder / "folds" / fold / job)
            run.path.mkdir(parents=True)
            run.write_config(CONFIG)
            subjects = {"validation": [f"{fold}{i}" for i in range(max(children, 1))]}
            counts = {"train": 9 * bool(children), "validation": children, "test": int(bool(children))}
            run.write_job(Job(store=Store(provenance="synthetic"), children=counts, subjects=subjects))
            rows = [{"epoch": 0, "val/macro_f1": best / 2}, {"epoch": 1, "val/macro_f1": best}]
            (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            run.finish()
            lines.append(_trial(number, fold, job, "done"))
        lines.append(_trial(6, "a", "three", "stopped"))  # one fold did not finish it
        (folder / "sweep.json").write_text(json.dumps({"format": 1}))
        (folder / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return make


def _trial(number: int, fold: str | None, job: str, status: str) -> dict[str, Any]:
    empty = dict.fromkeys(("objective", "epochs", "seconds", "reason"))
    return {"number": number, "fold": fold, "job": job, "parameters": {"optim.lr": 0.1}, "status": status, **empty}


def test_a_configuration_that_all_folds_finished_is_one_run(
    study: Callable[..., Path], wandb_run: Callable[[Path], SimpleNamespace], capsys: Capture
) -> None:
    folder = study()
    assert [job for job, _ in configurations(folder)] == ["one", "two"]
    assert main(["wandb", "study", str(folder), "wandb=offline"]) == DONE
    assert "2 configurations" in capsys.readouterr().out
    wandb.teardown()
    logged = wandb_run(folder / PLACE / "one")
    assert (logged.name, logged.group, logged.job_type) == ("lr/one", "lr", "study")
    assert logged.config["optim"]["lr"] == 0.125
    assert "/planted/store" not in json.dumps(logged.config)
    assert logged.config["protocol"] == {"name": "loso"}
    assert [row["val/macro_f1"] for row in logged.rows] == [0.375, 0.75]
    assert [row["folds"] for row in logged.rows] == [2, 2]
    assert logged.summary["val/macro_f1"] == 0.75
    assert logged.summary["folds"] == 2
    assert not [name for name in logged.summary if name.startswith("test/")]


@pytest.mark.parametrize(("children", "sent"), [(2, False), (3, True)])
def test_scores_of_few_real_children_are_withheld(
    children: int, sent: bool, study: Callable[..., Path], wandb_run: Callable[[Path], SimpleNamespace]
) -> None:
    folder = study(children)
    assert main(["wandb", "study", str(folder), "wandb=offline"]) == DONE
    wandb.teardown()
    logged = wandb_run(folder / PLACE / "one")
    assert ("val/macro_f1" in logged.summary) is sent
    assert any("val/macro_f1" in row for row in logged.rows) is sent
    assert ("val/withheld" in logged.summary) is not sent


def test_a_configuration_with_a_missing_or_quarantined_run_is_left_out(study: Callable[..., Path]) -> None:
    folder = study()
    RunDir(folder / "folds" / "a" / "one").quarantine("withdrawn")
    (folder / "folds" / "b" / "two" / "job.json").unlink()
    assert not list(configurations(folder))


def test_trials_of_one_split_have_runs_of_their_own_already(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps({"format": 1}))
    (tmp_path / "trials.jsonl").write_text(json.dumps(_trial(1, None, "one", "done")) + "\n")
    assert main(["wandb", "study", str(tmp_path)]) == DONE
    assert "nothing to add" in capsys.readouterr().out


def test_a_folder_that_is_no_study_is_reported(tmp_path: Path, capsys: Capture) -> None:
    assert "no study of a sweep" in refusal(capsys, ["wandb", "study", str(tmp_path)])
