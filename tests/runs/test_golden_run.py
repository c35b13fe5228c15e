"""A finished run as commit 4dd8c20 wrote it, with every file that is read again: old runs must go on opening.

It was adapted on 28 drawn children (``fer-id adapt data=synthetic protocol=holdout``), explained and searched for
uncertainty; the weights and figures are left out.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.releasing.lineage import contradicted_values
from fer_id.evaluation.evaluate import Options, evaluate
from fer_id.evaluation.predictions import check_predictions
from fer_id.reporting.explanation import read_explanation
from fer_id.reporting.report import evaluate_run
from fer_id.runs.job import Cost, Geometry, Job
from fer_id.runs.metrics import Metrics, read_uncertainty
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
    assert (metrics.n_clips, metrics.n_missing, metrics.n_judged, metrics.n_subjects) == (130, 6, 124, 13)
    assert (metrics.accuracy, metrics.auc) == (0.1935483870967742, 0.48687985427271147)
    interval = metrics.interval("accuracy")
    assert interval is not None
    assert (interval.low, interval.method) == (0.1725961204950856, "jackknife")
    assert metrics.temperature == 8.041554345760073
    assert metrics.per_class["happy"].precision is None
    assert metrics.reason("per_class.happy.precision").startswith("happy was never predicted")
    assert metrics.threshold == 0.20495725059214726
    assert metrics.conformal is not None
    assert metrics.conformal.per_class is not None
    assert (metrics.conformal.per_class["fear"].coverage, metrics.answers_nothing) == (0.375, False)
    assert metrics.columns["gender"].groups["female"].n_subjects == 7
    assert metrics.columns["gender"].gaps["accuracy"].worst == "male"
    assert metrics.uncertainty is not None
    assert metrics.uncertainty.members == 20


def test_its_other_files_open() -> None:
    assert GOLDEN.done
    assert GOLDEN.predicted
    assert GOLDEN.config()["model"]["hidden"] == 8
    assert GOLDEN.learning_curve()["epoch"].nunique() == 2
    assert len(GOLDEN.predictions()) == 190
    uncertainty, explanation = read_uncertainty(GOLDEN.path), read_explanation(GOLDEN)
    assert uncertainty is not None
    assert uncertainty.members == 20
    assert explanation is not None
    assert explanation.n_clips == 20


def test_its_predictions_still_give_its_metrics() -> None:
    metrics = evaluate(GOLDEN, Options(risk=RISK, level=LEVEL)).metrics
    recorded = GOLDEN.metrics().model_dump(exclude_unset=True)
    assert not [*contradicted_values(recorded, metrics.model_dump(exclude_unset=True))]


def test_an_evaluation_reads_and_checks_the_predictions_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(shutil.copytree(GOLDEN.path, tmp_path / "run"))
    calls = Counter[str]()

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            calls[name] += 1
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(RunDir, "predictions", counted("read", RunDir.predictions))
    for module in ("evaluate", "predictions", "metrics"):
        name = f"fer_id.evaluation.{module}.check_predictions"
        monkeypatch.setattr(name, counted("checked", check_predictions))
    evaluate_run(run, Options(risk=RISK, level=LEVEL))
    assert calls == {"read": 1, "checked": 1}
    recorded, again = (json.loads((of.path / "metrics.json").read_bytes()) for of in (GOLDEN, run))
    assert list(again) == list(recorded)
    assert not [*contradicted_values(recorded, again)]
