"""Recorded metrics that contradict the predictions are a reason against a release."""

import shutil
from pathlib import Path

import pytest

from experiments.cli import DONE, main
from experiments.releasing.lineage import check_lineage
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Tiny, edited, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, drawn: Path, tiny: Tiny) -> RunDir:
    return train(tiny(drawn, tmp_path_factory.mktemp("standing") / "runs", "name=a/run"))


@pytest.fixture
def run(trained: RunDir, tmp_path: Path) -> RunDir:
    return RunDir(shutil.copytree(trained.path, tmp_path / "runs" / "a" / "run"))


@pytest.mark.parametrize(
    "options",
    [[], ["groups=[severity,gender]", "pairs=[severity:gender]", "min_subjects=3"], ["risk=0.4", "level=0.8"]],
    ids=["all", "groups", "risk"],
)
def test_metrics_of_evaluate_are_accepted(run: RunDir, options: list[str]) -> None:
    assert main(["evaluate", str(run.path), *options]) == DONE
    assert check_lineage(run, None, logged=False)[1] == []


def test_changed_metrics_are_named(run: RunDir) -> None:
    with edited(run.path / "metrics.json") as metrics:
        metrics["accuracy"] = 0.97
        metrics["intervals"]["accuracy"] = {"low": 0.9, "high": 1.0}
    (reason,) = check_lineage(run, None, logged=False)[1]
    assert all(word in reason for word in ("metrics.json", "accuracy", "intervals.accuracy", "fer-id evaluate"))
    assert main(["evaluate", str(run.path)]) == DONE
    assert check_lineage(run, None, logged=False)[1] == []


def test_unreadable_predictions_are_a_reason(run: RunDir) -> None:
    (run.path / "predictions.parquet").write_bytes(b"PAR1")
    (reason,) = check_lineage(run, None, logged=False)[1]
    assert "cannot be computed again" in reason
