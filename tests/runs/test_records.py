"""``metrics.json`` and ``job.json`` that somebody edited: refused with every place that is of another kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fer_id.errors import RunError
from fer_id.runs.records import Job, Metrics
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
        "accuracy is high, expected a finite number",
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
