"""Rules of the release gate for subgroups: reasons to refuse a model, and groups to name as unfit."""

from __future__ import annotations

from collections.abc import Iterator

from fer_id.evaluation.config import MIN_SUBJECTS
from fer_id.evaluation.groups.grouping import NOT_ASKED
from fer_id.release.bundle import Unfit
from fer_id.release.disclosed import disclosed_subgroups
from fer_id.release.policy import Policy
from fer_id.runs.metrics import Gap, GroupScores, Metrics

PAIR = " x "
TOO_LITTLE = "insufficient evidence"


def unfit_groups(metrics: Metrics, policy: Policy) -> tuple[Unfit, ...]:
    """Return the groups whose accuracy may be below ``min_accuracy``, or whose evidence is insufficient.

    Pairs of groups with too few children are left out here; the file LIMITS mentions them once. The result is public:
    numbers stand only where the public view shows the group, and never its number of children.
    """
    unfit, public = [], (disclosed_subgroups(metrics) or {}).get("columns", {})
    for column, content in metrics.columns.items():
        for group, scores in content.groups.items():
            low = _low(metrics, scores)
            if low is None and PAIR not in column:
                unfit.append(Unfit(column, group, f"{TOO_LITTLE}, too few children were judged"))
            elif low is not None and low < policy.min_accuracy:
                disclosed = group in ((public.get(column) or {}).get("groups") or {})
                value = f"as low as {low:.2f}" if disclosed else "lower"
                unfit.append(Unfit(column, group, f"its accuracy may be {value}; {policy.min_accuracy} is asked for"))
    return tuple(unfit)


def group_reasons(metrics: Metrics, policy: Policy) -> Iterator[str]:
    """Yield reasons to refuse: groups not measured, no fit group, or a group below ``min_worst_group_accuracy``."""
    if metrics.subgroups is None:
        yield f"subgroups: {metrics.reason('subgroups') or 'not measured; run fer-id evaluate'}"
        return
    unfit, columns, left_out = unfit_groups(metrics, policy), metrics.columns, metrics.subgroups.left_out
    for name in policy.groups:
        named = {entry.group for entry in unfit if entry.column == name}
        if name not in columns:
            yield f"groups of {name}: {left_out.get(name) or 'not measured'}"
        elif all(_low(metrics, scores) is None for scores in columns[name].groups.values()):
            yield f"groups of {name}: {TOO_LITTLE}, in no group were enough children judged"
        elif named >= set(columns[name].groups):
            yield f"groups of {name}: it is fit for none of them"
    if hidden := [name for name, why in left_out.items() if why == NOT_ASKED and name not in policy.groups]:
        yield f"groups of {', '.join(hidden)}: {NOT_ASKED}; run fer-id evaluate again without groups="
    for column, content in columns.items():
        for group, scores in content.groups.items():
            low = _low(metrics, scores)
            if low is not None and low < policy.min_worst_group_accuracy:
                floor = policy.min_worst_group_accuracy
                yield f"{column} {group}: its accuracy may be as low as {low:.3f}, expected {floor} of any group"


def gap_reasons(metrics: Metrics, policy: Policy) -> Iterator[str]:
    """Yield gaps in accuracy above the bound, significant or not: the burden of proof is the model's."""
    for column, content in metrics.columns.items():
        gap = content.gaps.get("accuracy") or Gap(verdict=TOO_LITTLE)
        if gap.gap is not None and gap.gap > policy.max_gap:
            yield (
                f"{column}: accuracy differs by {gap.gap:.3f} between {gap.worst} and {gap.best} "
                f"({gap.verdict}), expected {policy.max_gap} at most"
            )
        elif column in policy.groups and (gap.gap is None or gap.verdict == TOO_LITTLE):
            yield f"groups of {column}: nothing is shown of the gap between them ({gap.reason or TOO_LITTLE})"


def _low(metrics: Metrics, group: GroupScores) -> float | None:
    """Return the lower end of the interval of a group's accuracy; None with fewer subjects than the minimum."""
    least = max(MIN_SUBJECTS, metrics.subgroups.min_subjects if metrics.subgroups else 0)
    interval = group.intervals.get("accuracy")
    return interval.low if interval and group.n_subjects >= least else None
