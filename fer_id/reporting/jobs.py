"""Records of a run for the pages, with absent keys filled in or reported."""

from __future__ import annotations

from typing import Any

from fer_id.errors import RunError
from fer_id.evaluation.groups.gaps import TESTED
from fer_id.runs.run_dir import RunDir

_METRICS = (
    *("provenance", "labels", "n_clips", "n_unlabelled", "n_missing", "n_subjects", "coverage"),
    *("accuracy", "accuracy_with_missing", "macro_precision", "macro_recall", "macro_f1", "auc", "specificity"),
    *("calibration", "per_class", "confusion_matrix", "per_subject", "intervals", "reasons"),
)
_CALIBRATION = ("ece", "bins", "brier", "nll")
_CALIBRATED = ("ece", "brier", "nll")
_UNCALIBRATED: dict[str, Any] = {"calibrated": None, "temperatures": {}}
_CLASS = ("precision", "recall", "f1", "specificity", "auc", "support")
_SUBJECT = ("n_clips", "n_missing", "accuracy", "macro_recall", "macro_f1")
_REVIEW = ("risk", "thresholds", "flagged", "risk_answered", "interval", "coverage")
_GROUP = (
    *("n_clips", "n_subjects", "accuracy", "macro_recall", "macro_f1", "ece", "adaptive_ece", "brier", "nll"),
    *("abstention", "recall", "intervals"),
)
_GAP = ("gap", "ratio", "worst", "best", "p", "p_holm", "verdict", "reason")
_MOST_NAMED = 8


def run_name(run: RunDir) -> str:
    """Return ``study/name`` of a run's folder, or ``study/name, fold s03`` for a fold, also of a sweep."""
    path = run.path.resolve()
    if run.part is not None:
        return f"{run_name(RunDir(path.parent.parent))}, part {path.name}"
    if path.parent.name == "folds":
        return f"{run_name(RunDir(path.parent.parent))}, fold {path.name}"
    if path.parent.parent.name == "folds":  # a trial of a sweep
        return f"{path.parent.parent.parent.name}/{path.name}, fold {path.parent.name}"
    return f"{path.parent.name}/{path.name}"


def read_metrics(run: RunDir) -> dict[str, Any]:
    """Return ``metrics.json`` with the keys of :func:`fer_id.evaluation.metrics.compute_metrics`.

    Raises:
        RunError: the file is missing, damaged, or without some of its keys, as in an older version.
    """
    metrics = run.metrics()
    missing = [key for key in _METRICS if key not in metrics] or _missing_inside(metrics)
    if missing:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise RunError(
            f"{run.path / 'metrics.json'}: {', '.join(missing[:_MOST_NAMED])}{more} missing; "
            f"`fer-id evaluate {run.path}` computes it again from the predictions"
        )
    metrics["calibration"] = _UNCALIBRATED | metrics["calibration"]
    metrics.setdefault("subgroups", None)  # absent in files of older versions
    return metrics


def _missing_inside(metrics: dict[str, Any]) -> list[str]:
    names = metrics["labels"]
    if len(names) < 2:
        return ["labels, a list of two names or more,"]
    if [len(row) for row in metrics["confusion_matrix"]] != [len(names)] * len(names):
        return [f"confusion_matrix, {len(names)} rows of {len(names)} counts,"]
    expected: dict[str, tuple[Any, tuple[str, ...]]] = {"calibration": (metrics["calibration"], _CALIBRATION)}
    expected |= {f"per_class.{name}": (_table(metrics["per_class"]).get(name), _CLASS) for name in metrics["labels"]}
    expected |= {f"per_subject.{name}": (row, _SUBJECT) for name, row in _table(metrics["per_subject"]).items()}
    expected |= {"intervals": (metrics["intervals"], ("accuracy",))}
    if _table(metrics["calibration"]).get("calibrated") is not None:
        expected |= {"calibration.calibrated": (metrics["calibration"]["calibrated"], _CALIBRATED)}
    if metrics.get("review") is not None:
        expected |= {"review": (metrics["review"], _REVIEW)}
    for column, of in _table(_table(metrics.get("subgroups")).get("columns")).items():
        for value, group in _table(of["groups"]).items():
            where = f"subgroups.columns.{column}.groups.{value}"
            expected |= {where: (group, _GROUP), f"{where}.recall": (group.get("recall"), tuple(names))}
            expected |= {f"{where}.intervals": (group.get("intervals"), tuple(TESTED))}
        where, gaps = f"subgroups.columns.{column}", _table(of["gaps"])
        expected |= {where: (of, ("equalised_odds", "in_no_group")), f"{where}.gaps": (gaps, tuple(TESTED))}
        for score, gap in gaps.items():
            expected |= {f"{where}.gaps.{score}": (gap, _GAP)}
            expected |= {f"{where}.groups": (of["groups"], tuple(_named(gap)))}
    return [f"{where}.{key}" for where, (row, keys) in expected.items() for key in keys if key not in _table(row)]


def _named(gap: dict[str, Any]) -> list[str]:
    """Return the known groups at the two ends of a gap."""
    return [str(gap[end]) for end in ("worst", "best") if gap.get(end) is not None]


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
