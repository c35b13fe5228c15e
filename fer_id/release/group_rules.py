"""What the gate asks of groups: who is failed badly enough to keep the model here, and who must be named."""

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
    """The groups whose accuracy may be below what is asked of all (``min_accuracy``), or of whom too little is known.

    A pair of groups is named where it fails; that many pairs hold too few children to tell is said once, elsewhere.
    Strangers read this: numbers stand only where the public view shows the group, and never how many children it has.
    """
    found, shown = [], (disclosed_subgroups(metrics) or {}).get("columns") or {}
    for column, groups in _columns(metrics).items():
        for group, one in groups.items():
            low = _low(metrics, one)
            if low is None and PAIR not in column:
                found.append(Unfit(column, group, f"{TOO_LITTLE}, too few children were judged"))
            elif low is not None and low < policy.min_accuracy:
                seen = group in ((shown.get(column) or {}).get("groups") or {})
                value = f"as low as {low:.2f}" if seen else "lower"
                found.append(Unfit(column, group, f"its accuracy may be {value}; {policy.min_accuracy} is asked for"))
    return tuple(found)


def group_reasons(metrics: dict[str, Any], policy: Policy) -> Iterator[str]:
    """Why groups keep a model here: not measured, nobody to use it with, or one of them failed badly."""
    if metrics.get("subgroups") is None:
        yield f"subgroups: {reason_of(metrics, 'subgroups') or 'not measured; run fer-id evaluate'}"
        return
    unfit, columns = unfit_groups(metrics, policy), _columns(metrics)
    left_out = metrics["subgroups"].get("left_out") or {}
    for name in policy.groups:
        named = {one.group for one in unfit if one.column == name}
        if name not in columns:
            yield f"groups of {name}: {left_out.get(name) or 'not measured'}"
        elif all(_low(metrics, one) is None for one in columns[name].values()):
            yield f"groups of {name}: {TOO_LITTLE}, in no group were enough children judged"
        elif named >= set(columns[name]):
            yield f"groups of {name}: it is fit for none of them"
    if hidden := [name for name, why in left_out.items() if why == NOT_ASKED and name not in policy.groups]:
        yield f"groups of {', '.join(hidden)}: {NOT_ASKED}; run fer-id evaluate again without groups="
    for column, groups in columns.items():
        for group, one in groups.items():
            low = _low(metrics, one)
            if low is not None and low < policy.min_worst_group_accuracy:
                floor = policy.min_worst_group_accuracy
                yield f"{column} {group}: its accuracy may be as low as {low:.3f}, expected {floor} of any group"


def gap_reasons(metrics: dict[str, Any], policy: Policy) -> Iterator[str]:
    """Gaps in accuracy above the bound, whether or not chance could make them: the burden of proof is the model's."""
    for column, one in ((metrics.get("subgroups") or {}).get("columns") or {}).items():
        gap = (one.get("gaps") or {}).get("accuracy") or {}
        if gap.get("gap") is not None and gap["gap"] > policy.max_gap:
            yield (
                f"{column}: accuracy differs by {gap['gap']:.3f} between {gap.get('worst')} and {gap.get('best')} "
                f"({gap.get('verdict') or TOO_LITTLE}), expected {policy.max_gap} at most"
            )
        elif column in policy.groups and (gap.get("gap") is None or gap.get("verdict") == TOO_LITTLE):
            yield f"groups of {column}: nothing is shown of the gap between them ({gap.get('reason') or TOO_LITTLE})"


def _columns(metrics: dict[str, Any]) -> dict[str, Groups]:
    """Groups by column."""
    columns = (metrics.get("subgroups") or {}).get("columns") or {}
    return {str(column): one.get("groups") or {} for column, one in columns.items()}


def _low(metrics: dict[str, Any], group: dict[str, Any]) -> float | None:
    """Lower end of the interval of a group's accuracy; None where it has too few subjects, whatever was asked for."""
    least = max(MIN_SUBJECTS, (metrics.get("subgroups") or {}).get("min_subjects") or 0)
    interval = (group.get("intervals") or {}).get("accuracy") or {}
    low: float | None = interval.get("low")
    return low if (group.get("n_subjects") or 0) >= least else None
