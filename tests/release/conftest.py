"""Records of runs that pass every bound of a policy; tests change one value at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fer_id.release.evidence import Record
from fer_id.release.policy import FORBIDDEN, Policy
from fer_id.reporting.result_shapes import Explanation
from fer_id.runs.job import Cost, Job, Store
from fer_id.runs.metrics import Metrics

Json = dict[str, Any]


def interval(low: float | None, high: float = 0.95, subjects: int = 8) -> Json | None:
    """Return an interval in the form of ``metrics.json``; None without a lower end."""
    if low is None:
        return None
    return {"low": low, "high": high, "level": 0.95, "method": "jackknife", "n_subjects": subjects}


NAMES = ("happy", "sad", "angry", "fear", "neutral")


def group(low: float | None, subjects: int = 8) -> Json:
    """Return the metrics of a group whose intervals begin at ``low``."""
    scores: Json = {"accuracy": 0.8, "macro_recall": 0.8, "macro_f1": 0.8, "ece": 0.05, "abstention": 0.1}
    scores |= {"adaptive_ece": 0.05, "brier": 0.3, "nll": 0.5, "recall": dict.fromkeys(NAMES, 0.8)}
    intervals = dict.fromkeys(("accuracy", "macro_recall", "macro_f1"), interval(low))
    return {"n_clips": 10 * subjects, "n_subjects": subjects, **scores, "intervals": intervals}


def column(
    *of: str, gap: float | None = 0.05, verdict: str = "no gap shown", subjects: int = 8, **lows: float | None
) -> Json:
    """Return a column of ``subgroups`` (for two names: a pair) whose groups' intervals begin at ``lows``."""
    between = {"gap": gap, "ratio": 0.9, "worst": min(lows), "best": max(lows), "verdict": verdict, "reason": None}
    return {
        "groups": {name: group(low, subjects) for name, low in lows.items()},
        "gaps": dict.fromkeys(("accuracy", "macro_recall", "macro_f1"), between | {"p": 0.4, "p_holm": 0.8}),
        "equalised_odds": {"gap": 0.1, "label": "sad"},
        "of": list(of) or ["severity"],
        "varies": "between subjects",
        "in_no_group": {"n_clips": 0, "n_subjects": 0},
    }


def good_metrics(provenance: str = "real") -> Json:
    """Return metrics that pass :func:`a_policy`."""
    labels = ["happy", "sad"]
    scores: Json = dict.fromkeys(("accuracy", "macro_recall", "macro_precision", "macro_f1", "auc"), 0.85)
    class_scores = {"precision": 0.85, "recall": 0.85, "f1": 0.85, "specificity": 0.9, "auc": 0.9, "support": 100}
    return {
        "provenance": provenance,
        "labels": labels,
        "n_clips": 200,
        "n_subjects": 20,
        "n_unlabelled": 0,
        "n_missing": 4,
        "coverage": 0.98,
        "accuracy_with_missing": 0.83,
        "specificity": 0.9,
        "confusion_matrix": [[85, 15], [15, 85]],
        **scores,
        "calibration": {
            **{"ece": 0.1, "adaptive_ece": 0.11, "brier": 0.3, "nll": 0.5, "bins": 15},
            "calibrated": {"ece": 0.05, "adaptive_ece": 0.06, "brier": 0.28, "nll": 0.45, "n_clips": 200},
            "temperatures": {"holdout": 1.3},
        },
        "per_class": {name: dict(class_scores) for name in labels},
        "per_subject": {
            f"s{n:016x}": {"n_clips": 10, "n_missing": 0, "accuracy": 0.85, "macro_recall": 0.85, "macro_f1": 0.85}
            for n in range(20)
        },
        "intervals": {name: interval(0.75) for name in scores},
        "subgroups": {"min_subjects": 5, "columns": {"severity": column(mild=0.7, severe=0.65)}, "left_out": {}},
        "review": {
            "risk": 0.2,
            "thresholds": {"holdout": 0.6},
            "flagged": 0.2,
            "risk_answered": 0.1,
            "interval": None,
            "coverage": 0.8,
        },
        "reasons": {},
    }


def good_explanation() -> Json:
    """Return an explanation whose attribution maps passed all checks."""
    passed = {"value": 0.1, "low": 0.05, "high": 0.2, "passed": True}
    return {
        "n_clips": 200,
        "left_out": {},
        "regions": {},
        "by_method": {},
        "leakage": {"value": 0.6, "low": 0.5, "high": 0.7, "n_subjects": 20, "reason": None},
        "checks": dict.fromkeys(("random everything", "stability", "deletion", "insertion"), passed),
        "failed": [],
        "undecided": [],
    }


def with_changes(record: Record, **changed: Any) -> Record:
    """Return a record with changes, of ``config`` and ``job`` by their keys."""
    if isinstance(changed.get("job"), dict):
        changed["job"] = record.job.model_copy(update=changed["job"])
    config: Any = record.config | changed.pop("config", {})
    return replace(record, config=config, **changed)


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """``make_record(metrics=..., ...)``: a single training on twenty children, twelve of them learned from. Changes of
    ``config`` and ``job`` in a dictionary are of their keys."""

    def make(**changed: Any) -> Record:
        names = [f"s{n:016x}" for n in range(40)]
        record = Record(
            path="runs/site/final",
            name="site/final",
            done=True,
            folds=(),
            config={
                "model": {"name": "cnn_lstm", "encoder": "conv4", "head": "lstm"},
                "optim": {"lr": 0.001},
                "protocol": {"name": "holdout", "mode": "inductive"},
                "trainer": {"test_views": "one", "precision": "32"},
                "data": {"store": ["data/site"]},
            },
            job=Job(
                started="2026-11-23T10:00:00+0000",
                git_commit="abc",
                seed=0,
                dataset="cohort",
                store=Store(fingerprint="f00d", shard_by="subject_id", provenance="real"),
                subjects={"train": names[20:32], "validation": names[32:36], "test": names[:20]},
                clips={"train": 120, "validation": 40, "test": 200},
                cost=Cost(parameters=1_362_213, frames=10),
            ),
            metrics=Metrics.model_validate(good_metrics()),
            explanation=Explanation.model_validate(good_explanation()),
        )
        for name, shape in (("metrics", Metrics), ("explanation", Explanation)):
            if isinstance(changed.get(name), dict):
                changed[name] = shape.model_validate(changed[name])
        return with_changes(record, **changed)

    return make


def a_policy(**changed: Any) -> Policy:
    """Return a policy that the good record passes, whose bounds lie in the middle of their ranges, with changes."""
    policy = Policy(
        kind="release",
        setting="research",
        legal_basis="consent of guardians, assent of children, ethics 12/2026",
        exception="none",
        exception_record="",
        min_subjects=12,
        min_accuracy=0.5,
        min_worst_group_accuracy=0.3,
        max_gap=0.25,
        max_ece=0.15,
        max_risk=0.2,
        max_leakage=1.0,
        groups=["severity"],
        required_checks=["randomisation", "stability"],
        forbidden_uses=list(FORBIDDEN),
    )
    return replace(policy, **changed)
