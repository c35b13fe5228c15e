"""A finished run as commit 4dd8c20 wrote it, with every file that is read again: old runs must go on opening.

It was adapted on 28 drawn children (``fer-id adapt data=synthetic protocol=holdout``), explained and searched for
uncertainty; the weights and figures are left out.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.releasing.lineage import _contradicted
from fer_id.reporting.explanation import read_explanation
from fer_id.reporting.report import judged_anew
from fer_id.reporting.uncertainty import read_uncertainty
from fer_id.runs.job import Cost, Geometry, Job
from fer_id.runs.metrics import Metrics
from fer_id.runs.records import Part, read_record
from fer_id.runs.run_dir import RunDir

GOLDEN = RunDir(Path(__file__).parent / "golden")
RISK, LEVEL = 0.85, 0.6
"""Options that the run was evaluated with."""


def test_the_job_says_what_it_said() -> None:
    job = GOLDEN.job()
    assert (job.model, job.fold, job.mode, job.seed) == ("cnn_lstm", "holdout", "inductive", 0)
    store = job.store
    assert (store.provenance, store.drawn, store.of_people, store.of_images) == ("synthetic", True, False, False)
    assert job.store.geometry == Geometry(eyes=[[20.0, 24.0], [44.0, 24.0]], colour="rgb")
    assert job.store.audits[""].frames_without_face == 51
    assert (len(job.learned_from), len(job.tested), len(job.everyone)) == (15, 13, 28)
    assert job.parents == ["runs/golden/adults"]
    assert job.cost == Cost(parameters=1937, multiply_adds_per_clip=2545192, frames=3)
    assert (job.seconds, job.peak_memory_bytes) == (1.66, 1112547328)
    assert GOLDEN.label_space().names == ("happy", "sad", "angry", "fear", "neutral")


@pytest.mark.parametrize(("name", "shape"), [("job.json", Job), ("metrics.json", Metrics)])
def test_a_record_is_written_byte_for_byte_as_it_stood(name: str, shape: type[Part], tmp_path: Path) -> None:
    read_record(shape, GOLDEN.path / name).write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == (GOLDEN.path / name).read_bytes()


def test_the_metrics_say_what_they_said() -> None:
    metrics = GOLDEN.metrics()
    assert (metrics["n_clips"], metrics["n_missing"], metrics["n_subjects"]) == (130, 6, 13)
    assert (metrics["accuracy"], metrics["auc"]) == (0.1935483870967742, 0.48687985427271147)
    assert metrics["intervals"]["accuracy"]["low"] == 0.1725961204950856
    assert metrics["calibration"]["temperatures"] == {"holdout": 8.041554345760073}
    assert metrics["per_class"]["happy"]["precision"] is None
    assert metrics["reasons"]["per_class.happy.precision"].startswith("happy was never predicted")
    assert metrics["review"]["thresholds"] == {"holdout": 0.20495725059214726}
    assert metrics["conformal"]["per_class"]["fear"] == {"coverage": 0.375, "n_clips": 24}
    assert metrics["subgroups"]["columns"]["gender"]["groups"]["female"]["n_subjects"] == 7
    assert metrics["subgroups"]["columns"]["gender"]["gaps"]["accuracy"]["worst"] == "male"
    assert metrics["uncertainty"]["members"] == 20


def test_its_other_files_open() -> None:
    assert GOLDEN.done
    assert GOLDEN.predicted
    assert GOLDEN.config()["model"]["hidden"] == 8
    assert GOLDEN.learning_curve()["epoch"].nunique() == 2
    assert len(GOLDEN.predictions()) == 190
    uncertainty, explanation = read_uncertainty(GOLDEN), read_explanation(GOLDEN)
    assert uncertainty is not None
    assert uncertainty["members"] == 20
    assert explanation is not None
    assert explanation["n_clips"] == 20


def test_its_predictions_still_give_its_metrics() -> None:
    _, metrics = judged_anew(GOLDEN, risk=RISK, level=LEVEL)
    recorded = json.loads((GOLDEN.path / "metrics.json").read_text())
    assert not [*_contradicted(recorded, json.loads(json.dumps(metrics)))]
