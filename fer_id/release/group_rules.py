"""Rules of the release gate for subgroups: reasons to refuse a model, and groups to name as unfit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fer_id.evaluation.config import MIN_SUBJECTS
from fer_id.evaluation.groups.grouping import NOT_ASKED
from fer_id.release.bundle import Unfit
from fer_id.release.disclosed import disclosed_subgroups
from fer_id.release.evidence import reason_of
from fer_id.release.policy import Policy

PAIR = " x "
TOO_LITTLE = "insufficient evidence"

Groups = dict[str, dict[str, Any]]


def unfit_groups(metrics: dict[str, Any], policy: Policy) -> tuple[Unfit, ...]:
    """Return the groups whose accuracy may be below ``min_accuracy``, or whose evidence is insufficient.

    Pairs of groups with too few children are left out here; the file LIMITS mentions them once. The result is public:
    numbers stand only where the public view shows the group, and never its number of children.
    """
    unfit, public = [], (disclosed_subgroups(metrics) or {}).get("columns") or {}
    for column, groups in _columns(metrics).items():
        for group, scores in groups.items():
            low = _low(metrics, scores)
            if low is None and PAIR not in column:
                unfit.append(Unfit(column, group, f"{TOO_LITTLE}, too few children were judged"))
            elif low is not None and low < policy.min_accuracy:
                disclosed = group in ((public.get(column) or {}).get("groups") or {})
                value = f"as low as {low:.2f}" if disclosed else "lower"
                unfit.append(Unfit(column, group, f"its accuracy may be {value}; {policy.min_accuracy} is asked for"))
    return tuple(unfit)


def group_reasons(metrics: dict[str, Any], policy: Policy) -> Iterator[str]:
    """Yield reasons to refuse: groups not measured, no fit group, or a group below ``min_worst_group_accuracy``."""
    if metrics.get("subgroups") is None:
        yield f"subgroups: {reason_of(metrics, 'subgroups') or 'not measured; run fer-id evaluate'}"
        return
    unfit, columns = unfit_groups(metrics, policy), _columns(metrics)
    left_out = metrics["subgroups"].get("left_out") or {}
    for name in policy.groups:
        named = {entry.group for entry in unfit if entry.column == name}
        if name not in columns:
            yield f"groups of {name}: {left_out.get(name) or 'not measured'}"
        elif all(_low(metrics, scores) is None for scores in columns[name].values()):
            yield f"groups of {name}: {TOO_LITTLE}, in no group were enough children judged"
        elif named >= set(columns[name]):
            yield f"groups of {name}: it is fit for none of them"
    if hidden := [name for name, why in left_out.items() if why == NOT_ASKED and name not in policy.groups]:
        yield f"groups of {', '.join(hidden)}: {NOT_ASKED}; run fer-id evaluate again without groups="
    for column, groups in columns.items():
        for group, scores in groups.items():
            low = _low(metrics, scores)
            if low is not None and low < policy.min_worst_group_accuracy:
                floor = policy.min_worst_group_accuracy
                yield f"{column} {group}: its accuracy may be as low as {low:.3f}, expected {floor} of any group"


def gap_reasons(metrics: dict[str, Any], policy: Policy) -> Iterator[str]:
    """Yield gaps in accuracy above the bound, significant or not: the burden of proof is the model's."""
    for column, content in ((metrics.get("subgroups") or {}).get("columns") or {}).items():
        gap = (content.get("gaps") or {}).get("accuracy") or {}
        if gap.get("gap") is not None and gap["gap"] > policy.max_gap:
            yield (
                f"{column}: accuracy differs by {gap['gap']:.3f} between {gap.get('worst')} and {gap.get('best')} "
                f"({gap.get('verdict') or TOO_LITTLE}), expected {policy.max_gap} at most"
            )
        elif column in policy.groups and (gap.get("gap") is None or gap.get("verdict") == TOO_LITTLE):
            yield f"groups of {column}: nothing is shown of the gap between them ({gap.get('reason') or TOO_LITTLE})"


def _columns(metrics: dict[str, Any]) -> dict[str, Groups]:
    """Return column -> group -> its metrics."""
    columns = (metrics.get("subgroups") or {}).get("columns") or {}
    return {str(column): content.get("groups") or {} for column, content in columns.items()}


def _low(metrics: dict[str, Any], group: dict[str, Any]) -> float | None:
    """Return the lower end of the interval of a group's accuracy; None with fewer subjects than the minimum."""
    least = max(MIN_SUBJECTS, (metrics.get("subgroups") or {}).get("min_subjects") or 0)
    interval = (group.get("intervals") or {}).get("accuracy") or {}
    low: float | None = interval.get("low")
    return low if (group.get("n_subjects") or 0) >= least else None
