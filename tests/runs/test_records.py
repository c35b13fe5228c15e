"""``metrics.json`` and ``job.json`` that somebody edited: refused with every place that is of another kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.verbs.controls import accuracies
from fer_id.errors import RunError
from fer_id.evaluation.controls import CHOSEN, CONTROLS, MEAN, TESTED, WHOLE
from fer_id.explain.regions import REGIONS
from fer_id.reporting.control_figures import control_figure, intensity_figure
from fer_id.reporting.doubt import uncertainty_sentences
from fer_id.reporting.explanation import sentences as explanation_sentences
from fer_id.reporting.result_shapes import Controls, Explanation
from fer_id.runs.job import Job
from fer_id.runs.metrics import Metrics, Uncertainty, read_uncertainty
from fer_id.runs.records import Part
from fer_id.runs.run_dir import RunDir
from fer_id.shapes import misfits

Spoilt = Callable[[object], Iterator[tuple[str, object]]]

METRICS = {
    "provenance": "synthetic",
    "labels": ["happy", "sad"],
    "n_clips": 4,
    "accuracy": 0.5,
    "auc": None,
    "calibration": {
        "bins": 15,
        "ece": 0.1,
        "adaptive_ece": 0.1,
        "brier": 0.2,
        "nll": 1.0,
        "calibrated": None,
        "temperatures": {"a": 1.5, "b": None},
    },
    "per_class": {
        "happy": {"precision": None, "recall": 0.5, "f1": 0.5, "specificity": 1.0, "auc": None, "support": 2}
    },
    "confusion_matrix": [[1, 1], [1, 1]],
    "per_subject": {"s1": {"n_clips": 4, "n_missing": 0, "accuracy": 0.5, "macro_recall": 0.5, "macro_f1": None}},
    "intervals": {"accuracy": {"low": 0.1, "high": 0.9, "level": 0.95}, "auc": None},
    "reasons": {"auc": "one class only"},
    "review": {"risk": 0.2, "thresholds": {"a": 0.8, "b": None}, "flagged": 0.4, "risk_answered": None},
    "subgroups": None,
}
JOB = {
    "command": "fer-id train",
    "seed": 0,
    "store": {"name": "drawn", "provenance": "synthetic", "fps": 5.0},
    "subjects": {"train": ["s1"], "test": ["s2"]},
    "children": {"train": 0},
    "parents": [],
    "seconds": 1.5,
}


def test_every_problem_of_an_edited_file_is_named_with_its_place(tmp_path: Path) -> None:
    edited = {**METRICS, "accuracy": "high", "n_clips": -1, "confusion_matrix": [[1, None], [1, 1]]}
    (tmp_path / "metrics.json").write_text(json.dumps(edited))
    with pytest.raises(RunError) as caught:
        RunDir(tmp_path).metrics()
    for words in (
        f"{tmp_path / 'metrics.json'}: 3 problems",
        "accuracy is 'high', expected a finite number",
        "n_clips is -1, expected greater than or equal to 0",
        "confusion_matrix, item 1, item 2 is null, expected a finite number",
        "fer-id evaluate",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(("shape", "good"), [(Metrics, METRICS), (Job, JOB)], ids=["metrics", "job"])
def test_no_kind_of_value_passes_for_another(shape: type, good: dict[str, object], spoilt: Spoilt) -> None:
    assert misfits(shape, good) == []
    for place, value in spoilt(good):
        kind = place.rpartition(" = ")[2]
        found = misfits(shape, value)
        if kind in ("'inf'", "'nan'", "'True'") or kind.startswith("'1000"):
            assert found, place
        assert all(len(line) < 300 for line in found), place


def test_a_file_of_an_older_version_may_say_less() -> None:
    assert misfits(Metrics, {}) == misfits(Job, {"a new key": [1]}) == []


OPTIONAL = ("store", "parents", "versions", "clips", "dropped", "mode", "cost", "selected", "resumed_with")


@pytest.mark.parametrize(
    ("shape", "edited"),
    [
        (Job, dict.fromkeys(OPTIONAL)),
        (Job, {"store": {"drawn": None, "made_of": None, "audit": None, "geometry": None}}),
        (Metrics, {"calibration": {"intervals": None, "calibrated": {"intervals": None}}}),
        (Metrics, {"selective": dict.fromkeys(("coverage_at_risk", "risk_at_coverage", "intervals"))}),
    ],
)
def test_null_of_an_older_version_is_read_as_a_missing_key(shape: type[Part], edited: dict[str, Any]) -> None:
    def without_nulls(value: dict[str, Any]) -> dict[str, Any]:
        parts = {key: part for key, part in value.items() if part is not None}
        return {key: without_nulls(part) if isinstance(part, dict) else part for key, part in parts.items()}

    assert shape.model_validate(edited) == shape.model_validate(without_nulls(edited))


def test_a_peak_of_memory_is_written_as_it_was_read() -> None:
    for peak in (1112547328, 1.5e9):
        assert json.dumps(Job.model_validate({"peak_memory_bytes": peak}).peak_memory_bytes) == json.dumps(peak)


def test_a_class_that_is_named_twice_is_refused() -> None:
    assert misfits(Metrics, {"labels": ["happy", "happy"]}) == ["labels is a list, expected each name once"]


INTERVAL = {"value": 0.5, "low": 0.1, "high": 0.9, "reason": None}
UNDEFINED = {"value": None, "low": None, "high": None, "reason": "no clip"}
EXPLANATION = {
    "n_clips": 4,
    "left_out": {"no landmarks": 1},
    "leakage": INTERVAL,
    "regions": dict.fromkeys(REGIONS, INTERVAL),
    "by_method": {"grad_cam": INTERVAL, "random weights": UNDEFINED},
    "checks": {"stability": {"passed": True}, "deletion": {"passed": None}},
    "failed": ["stability"],
    "undecided": ["deletion"],
}
DOUBT = {
    "method": "ensemble",
    "members": 3,
    "n_clips": 4,
    "aleatoric": 0.1,
    "epistemic": 0.2,
    "auroc_error": {"total": 0.5, "confidence": None},
    "intervals": {"total": {"low": 0.1, "high": 0.9}, "confidence": None},
}
SCORES = dict.fromkeys(CONTROLS, INTERVAL)
BIN = {
    "from": 0.1,
    "to": 0.5,
    "n_clips": 4,
    "n_subjects": 2,
    "accuracy": dict.fromkeys((WHOLE, MEAN, CHOSEN), INTERVAL),
}
COMPARED = {
    "provenance": "synthetic",
    "model": "cnn_lstm",
    "head": "lstm",
    "n_clips": 4,
    "n_subjects": 2,
    "accuracy": SCORES,
    "against_whole_clip": {
        name: {"difference": 0.5, "low": 0.1, "high": 0.9, "reason": None, "p": 0.01, "p_holm": 0.02} for name in TESTED
    },
    "by_frame": {"the model itself": [0.5, 0.5], "linear classifier": [0.2, 0.5]},
    "per_subject": {"subjects": ["a", "b"], "clips": [2, 2], "right": {name: [1.0, 2.0] for name in CONTROLS}},
    "peak": {"bins": [BIN]},
    "delay": {"bins": [BIN]},
}


def _control_pages(found: dict[str, Any], place: str) -> None:
    """Run ``fer-id controls`` on ``controls.json``; its figure takes long, and is drawn where it may fail."""
    if {*found["accuracy"]} == {*CONTROLS}:  # else they are computed again
        controls = Controls.model_validate(found)
        accuracies(controls)
        if place.startswith(".by_frame"):
            control_figure(controls)
        if place.startswith(".delay"):
            intensity_figure(controls)


@pytest.mark.parametrize(
    ("shape", "good", "reader"),
    [
        (Explanation, EXPLANATION, lambda found, _: explanation_sentences(found)),
        (Uncertainty, DOUBT, lambda found, _: uncertainty_sentences(Uncertainty.model_validate(found))),
        (Controls, COMPARED, _control_pages),
    ],
    ids=["explain", "uncertainty", "controls"],
)
def test_what_fits_can_be_read(
    shape: type, good: dict[str, Any], reader: Callable[[dict[str, Any], str], object], spoilt: Spoilt
) -> None:
    """No edit by hand gets past the record and then stops a page."""
    assert misfits(shape, good) == []
    reader(good, ".delay")
    refused = 0
    for place, value in spoilt(good):
        if misfits(shape, value):
            refused += 1
        else:
            assert isinstance(value, dict), place
            reader(value, place)
    assert refused > len(good)


def test_an_edited_result_is_named_with_the_command_that_makes_it_again(tmp_path: Path) -> None:
    (tmp_path / "uncertainty").mkdir()
    (tmp_path / "uncertainty" / "uncertainty.json").write_text("{}")
    with pytest.raises(RunError, match=r"aleatoric is missing[\s\S]*`fer-id uncertainty .*` makes it again"):
        read_uncertainty(tmp_path)
