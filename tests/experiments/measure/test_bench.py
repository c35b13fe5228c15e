"""Table of ``make bench``: verdicts, skipped measurements, unknown names; the measurements themselves take minutes."""

import inspect
import json
import os
from functools import partial
from pathlib import Path

import pytest

from experiments.measure import bench
from experiments.measure.bench import Result, main, table
from experiments.measure.report_speed import GROUPS, made_up_run
from fer_id.exports import imported
from fer_id.reporting.report import evaluate_run
from fer_id.runs.description import machine
from fer_id.tasks import numerics
from tests.experiments.messages import Capture


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (Result("open", 0.2, "s", 0.2), "ok"),
        (Result("open", 0.21, "s", 0.2), "MISSED"),
        (Result("train", 0.9, "ratio", 0.9, at_least=True), "ok"),
        (Result("train", 0.89, "ratio", 0.9, at_least=True), "MISSED"),
        (Result("draw", 1.0, "ms"), ""),
        (Result("prepare", None, "images/s"), "skipped"),
    ],
)
def test_verdicts(result: Result, verdict: str) -> None:
    assert result.verdict == verdict


def test_one_line_for_each_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    results = [
        Result("open a store", 0.25, "s", 0.2, note="slow disk"),
        Result("prepare", None, "images/s", note="no data"),
    ]
    monkeypatch.setattr(bench, "BENCHMARKS", {"one": lambda: iter(results)})
    monkeypatch.setattr(bench, "OUT", tmp_path / "bench.json")
    assert main([]) == 1  # a limit was missed
    output = capsys.readouterr().out
    assert output.strip() == table(results).strip()
    assert [output.splitlines()[1][:12], output.splitlines()[1][-9:]] == ["open a store", "slow disk"]
    written = json.loads((tmp_path / "bench.json").read_text())
    assert [row["verdict"] for row in written["results"]] == ["MISSED", "skipped"]
    assert written["machine"]


@pytest.mark.parametrize("bf16", [True, False])
def test_the_machine_is_printed_above_the_table(
    bf16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(numerics, "_has_bf16", lambda device_type: bf16)
    monkeypatch.setattr(bench, "BENCHMARKS", {})
    monkeypatch.setattr(bench, "OUT", tmp_path / "bench.json")
    assert main([]) == 0
    kind = capsys.readouterr().err.splitlines()[0]
    assert kind == f"{machine()}, {os.cpu_count()} cores, {'with' if bf16 else 'without'} bf16 arithmetic"
    written = json.loads((tmp_path / "bench.json").read_text())
    assert (written["machine"], written["bf16"]) == (kind, bf16)


def test_an_unknown_name_lists_the_known_ones(capsys: Capture) -> None:
    assert main(["stores"]) == 2
    assert "Known: help, store, augment" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name, each in bench.BENCHMARKS.items() if isinstance(each, partial)])
def test_a_measurement_of_another_module_is_there(name: str) -> None:
    place = bench.BENCHMARKS[name].args[0]  # type: ignore[attr-defined]
    assert inspect.isgeneratorfunction(imported(f"experiments.measure.{place}"))


def test_the_synthetic_run_can_be_evaluated(tmp_path: Path) -> None:
    run = made_up_run(tmp_path / "run", clips=200, subjects=8)
    metrics = evaluate_run(run)
    assert (metrics["n_clips"], metrics["n_subjects"], metrics["provenance"]) == (200, 8, "synthetic")
    assert len(metrics["calibration"]["temperatures"]) == 5 or metrics["reasons"]
    assert set(GROUPS) <= set(run.predictions())
    assert (run.path / "report.html").is_file()
