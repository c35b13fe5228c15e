"""Numbers that are not what the predictions give are told before a release."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.cli import DONE, main
from experiments.releasing.lineage import found_on_disk
from fer_id.runs.run_dir import RunDir


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, drawn: Path, tiny: Callable[..., list[str]]) -> RunDir:
    runs = tmp_path_factory.mktemp("standing") / "runs"
    assert main(tiny(drawn, runs, "name=a/run")) == DONE
    return RunDir(runs / "a" / "run")


@pytest.fixture
def run(trained: RunDir, tmp_path: Path) -> RunDir:
    shutil.copytree(trained.path, tmp_path / "runs" / "a" / "run")
    return RunDir(tmp_path / "runs" / "a" / "run")


@pytest.mark.parametrize(
    "asked",
    [[], ["groups=[severity,gender]", "pairs=[severity:gender]", "min_subjects=3"], ["risk=0.4", "level=0.8"]],
    ids=["all", "groups", "risk"],
)
def test_what_evaluate_wrote_stands(run: RunDir, asked: list[str]) -> None:
    assert main(["evaluate", str(run.path), *asked]) == DONE
    assert found_on_disk(run, None, logged=False)[1] == []


def test_what_somebody_changed_is_named(run: RunDir) -> None:
    metrics = run.metrics()
    metrics["accuracy"] = 0.97
    metrics["intervals"]["accuracy"] = {"low": 0.9, "high": 1.0}
    run.write_metrics(metrics)
    (reason,) = found_on_disk(run, None, logged=False)[1]
    assert all(word in reason for word in ("metrics.json", "accuracy", "intervals.accuracy", "fer-id evaluate"))
    assert main(["evaluate", str(run.path)]) == DONE
    assert found_on_disk(run, None, logged=False)[1] == []


def test_predictions_that_nobody_can_read_are_a_reason(run: RunDir) -> None:
    (run.path / "predictions.parquet").write_bytes(b"PAR1")
    (reason,) = found_on_disk(run, None, logged=False)[1]
    assert "cannot be computed again" in reason
