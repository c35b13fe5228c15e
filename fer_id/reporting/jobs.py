"""Records of a run for the pages, with absent keys filled in or reported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fer_id.errors import RunError
from fer_id.evaluation.groups.gaps import TESTED
from fer_id.runs import metrics as parts
from fer_id.runs.metrics import Metrics
from fer_id.runs.records import Part
from fer_id.runs.run_dir import ON, RunDir

_METRICS = (
    *("provenance", "labels", "n_clips", "n_unlabelled", "n_missing", "n_subjects", "coverage"),
    *("accuracy", "accuracy_with_missing", "macro_precision", "macro_recall", "macro_f1", "auc", "specificity"),
    *("calibration", "per_class", "confusion_matrix", "per_subject", "intervals", "reasons"),
)
_NEEDED: dict[type[Part], tuple[str, ...]] = {
    parts.Calibration: ("ece", "bins", "brier", "nll"),
    parts.Calibrated: ("ece", "brier", "nll"),
    parts.Review: ("risk", "thresholds", "flagged", "risk_answered", "interval", "coverage"),
    parts.Column: ("equalised_odds", "in_no_group"),
    **{
        part: tuple(part.model_fields)
        for part in (parts.ClassScores, parts.SubjectScores, parts.GroupScores, parts.Gap)
    },
}
"""Fields of a part of ``metrics.json`` that the pages read, and that an older version may not have written."""

_MOST_NAMED = 8


def run_name(run: RunDir) -> str:
    """Return ``study/name`` of a run's folder, or ``study/name, fold s03`` for a fold, also of a sweep, or ``study/name
    on store``."""
    path = run.path.resolve()
    if path.parent.name == ON:
        return f"{run_name(RunDir(path.parent.parent))} on {path.name}"
    if run.part is not None:
        return f"{run_name(RunDir(path.parent.parent))}, part {path.name}"
    if path.parent.name == "folds":
        return f"{run_name(RunDir(path.parent.parent))}, fold {path.name}"
    if path.parent.parent.name == "folds":  # a trial of a sweep
        return f"{path.parent.parent.parent.name}/{path.name}, fold {path.parent.name}"
    return f"{path.parent.name}/{path.name}"


def read_metrics(run: RunDir) -> Metrics:
    """Return ``metrics.json`` with the keys of :func:`fer_id.evaluation.metrics.compute_metrics`; raise RunError where
    the file is missing, damaged, or without some of its keys, as in an older version."""
    metrics = run.metrics()
    if missing := [key for key in _METRICS if key not in metrics.model_fields_set] or list(_missing_inside(metrics)):
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise RunError(
            f"{run.path / 'metrics.json'}: {', '.join(missing[:_MOST_NAMED])}{more} missing; "
            f"`fer-id evaluate {run.path}` computes it again from the predictions"
        )
    return metrics


def _missing_inside(metrics: Metrics) -> Iterator[str]:
    names = metrics.labels
    if len(names) < 2:
        yield "labels, a list of two names or more,"
        return
    if [len(row) for row in metrics.confusion_matrix] != [len(names)] * len(names):
        yield f"confusion_matrix, {len(names)} rows of {len(names)} counts,"
        return
    yield from _unset(metrics)
    yield from _absent("per_class", metrics.per_class, names)
    yield from _absent("intervals", metrics.intervals, ["accuracy"])
    for name, column in metrics.columns.items():
        where = f"subgroups.columns.{name}"
        for value, group in column.groups.items():
            yield from _absent(f"{where}.groups.{value}.recall", group.recall, names)
            yield from _absent(f"{where}.groups.{value}.intervals", group.intervals, TESTED)
        yield from _absent(f"{where}.gaps", column.gaps, TESTED)
        ends = [end for gap in column.gaps.values() for end in (gap.worst, gap.best) if end is not None]
        yield from _absent(f"{where}.groups", column.groups, ends)


def _absent(where: str, values: Mapping[str, object], names: Iterable[str]) -> Iterator[str]:
    yield from (f"{where}.{name}" for name in names if name not in values)


def _unset(part: Part, where: str = "") -> Iterator[str]:
    """Yield the dotted names of :data:`_NEEDED` that a part, or one inside it, lacks."""
    yield from (f"{where}{name}" for name in _NEEDED.get(type(part), ()) if name not in part.model_fields_set)
    for name, value in part:
        inside = {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
        for place, inner in inside.items():
            if isinstance(inner, Part):
                yield from _unset(inner, f"{where}{place}.")
