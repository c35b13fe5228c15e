"""Does a model serve one group worse than another? Gaps between groups, and whether chance alone makes such gaps.

A largest minus smallest is never below zero, so an interval of it cannot hold zero and shows nothing. Instead the
groups are dealt out anew among the subjects (:mod:`fer_id.evaluation.groups.permutation`): were they of no importance,
any such deal would have been as likely.

**Families.** Accuracy, macro recall and macro-F1 of a column ask one question three times: their p are corrected for
the three by the same deals, and then for the number of columns by Holm, score by score. So the chance that any gap at
all is claimed in a run that has none is at most ``ALPHA``. A test whose p could not have fallen below ``ALPHA`` with
these subjects, however the groups had fallen among them, is no evidence that there is no gap, and is not counted in the
family (what it could have given does not depend on how the groups did fall: Tarone 1990, doi:10.2307/2531456).

What is tested is that group and result have nothing to do with one another. Groups that are equally well served, but
one more evenly than the other, can give a small p with very unequal group sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fer_id.evaluation import scores
from fer_id.evaluation.groups.permutation import DRAWS, permute_groups
from fer_id.evaluation.paired import holm
from fer_id.evaluation.scores import Bools, Floats, Ints, Score

ALPHA = 0.05
TESTED: Mapping[str, Score] = {
    "accuracy": scores.accuracy,
    "macro_recall": scores.macro_recall,
    "macro_f1": scores.macro_f1,
}
GAP, NO_GAP, TOO_LITTLE = "gap", "no gap shown", "insufficient evidence"


@dataclass(frozen=True)
class Gap:
    """Largest minus smallest score among the groups with enough subjects.

    Attributes:
        gap, ratio: largest minus, and smallest by largest; None where fewer than two groups can be compared.
        worst, best: their names.
        p: that chance alone makes such a gap; NaN where it was not tested.
        p_scores: corrected for the three scores.
        p_holm: corrected for the columns too.
        least: the smallest ``p_scores`` that these subjects could have given.
        verdict: ``GAP``, ``NO_GAP`` or ``TOO_LITTLE``.
        reason: why there is too little evidence.
    """

    gap: float | None = None
    ratio: float | None = None
    worst: str | None = None
    best: str | None = None
    p: float = field(default=float("nan"))
    p_scores: float = field(default=float("nan"))
    p_holm: float = field(default=float("nan"))
    least: float = field(default=float("nan"))
    verdict: str = TOO_LITTLE
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What ``metrics.json`` holds."""
        numbers = {name: None if np.isnan(p) else p for name, p in (("p", self.p), ("p_holm", self.p_holm))}
        named = {"gap": self.gap, "ratio": self.ratio, "worst": self.worst, "best": self.best}
        return {**named, **numbers, "verdict": self.verdict, "reason": self.reason}


def find_gaps(
    tables: Floats, values: Sequence[str], classes: Sequence[str], min_subjects: int, *, seed: int, draws: int = DRAWS
) -> dict[str, Gap]:
    """The gaps of one column in the scores of ``TESTED``; their verdicts wait for :func:`judge_gaps`.

    Args:
        tables: (S, G, K, K + 1) counts of every subject in every group.
        values: names of the G groups.
        classes: names of the K classes.
        min_subjects: groups with fewer subjects that have a prediction are left out.
        seed: of the deals.
        draws: how many.
    """
    enough = np.flatnonzero(subjects_in(tables) >= min_subjects)
    if len(enough) < 2:
        few = f"fewer than two groups have {min_subjects} subjects with a prediction"
        return dict.fromkeys(TESTED, Gap(reason=few))
    tables, names = tables[:, enough], [values[index] for index in enough.tolist()]
    total = tables.sum(0)
    found = {name: _gap(score(total), names) for name, score in TESTED.items()}
    if (why := _other_classes(total, names, classes)) is not None:
        found |= {name: Gap(reason=why) for name in ("macro_recall", "macro_f1")}
    tested = [name for name, one in found.items() if one.gap is not None]
    for name, test in zip(
        tested, permute_groups(tables, [TESTED[n] for n in tested], seed=seed, draws=draws), strict=True
    ):
        found[name] = replace(found[name], p=test.p, p_scores=test.corrected, least=test.least)
    return found


def judge_gaps(columns: Mapping[str, Mapping[str, Gap]]) -> dict[str, dict[str, Gap]]:
    """The gaps of all columns with ``p_holm`` and verdicts; a test that could not succeed is not in the family."""
    judged: dict[str, dict[str, Gap]] = {column: {} for column in columns}
    for score in TESTED:
        family = {
            column: gaps[score].p_scores if gaps[score].least < ALPHA else float("nan")
            for column, gaps in columns.items()
        }
        size = sum(not np.isnan(p) for p in family.values())
        for column, p in holm(family).items():
            judged[column][score] = _verdict(columns[column][score], p, size)
    return judged


def subjects_in(tables: Floats) -> Ints:
    """(G,) subjects with a prediction in each group, of (S, G, K, K + 1) counts."""
    return np.asarray((tables[..., :-1].sum((2, 3)) > 0).sum(0), dtype=np.int64)


def equalised_odds(
    tables: Floats, classes: Sequence[str], min_subjects: int
) -> tuple[float | None, str | None, str | None]:
    """Largest difference between groups in how often a class is recognised, or named where it is another one.

    The equalised-odds difference of Hardt, Price and Srebro (2016, arXiv:1610.02413), each class against the rest. A
    group counts where enough subjects have clips of the class, or of others. The largest of many differences is large
    by chance alone in small groups; it is not tested.

    Args:
        tables: (S, G, K, K + 1) counts of every subject in every group.

    Returns:
        the gap in [0, 1] and the class; or None, None, and why.
    """
    shown = tables[..., :-1].sum(-1)  # (S, G, K) clips of each class
    others = shown.sum(-1, keepdims=True) - shown
    total = tables.sum(0)
    rates = ((shown, scores.recall(total)), (others, 1 - scores.specificity(total)))
    largest = np.stack([_spread(rate, (clips > 0).sum(0) >= min_subjects) for clips, rate in rates]).max(0)
    if np.isneginf(largest).all():
        return None, None, f"of no class have two groups {min_subjects} subjects"
    index = int(largest.argmax())
    return float(largest[index]), classes[index], None


def _spread(rates: Floats, counted: Bools) -> Floats:
    """(K,) largest minus smallest of (G, K) rates that count; minus infinity where fewer than two do."""
    high = np.where(counted, rates, -np.inf).max(0)
    low = np.where(counted, rates, np.inf).min(0)
    return np.where(counted.sum(0) > 1, high - low, -np.inf)


def _gap(values: Floats, names: Sequence[str]) -> Gap:
    """Of the G scores of groups that all have one."""
    worst, best = int(values.argmin()), int(values.argmax())
    ratio = float(values[worst] / values[best]) if values[best] > 0 else None
    return Gap(float(values[best] - values[worst]), ratio, names[worst], names[best])


def _other_classes(total: Floats, names: Sequence[str], classes: Sequence[str]) -> str | None:
    """Why means over the classes of these groups, (G, K, K + 1), do not compare; None where they do."""
    there: list[list[bool]] = (scores.support(total) > 0).tolist()
    anywhere = [any(column) for column in zip(*there, strict=True)]
    for group, clips in zip(names, there, strict=True):
        if lacking := [name for name, here, some in zip(classes, clips, anywhere, strict=True) if some and not here]:
            return f"{group} has no clip of {', '.join(lacking)}, so its mean is over other classes than the others'"
    return None


def _verdict(gap: Gap, p_holm: float, size: int) -> Gap:
    """Says what the corrected p of one of ``size`` tests shows."""
    if gap.reason is not None:
        return gap
    if np.isnan(p_holm):
        return replace(gap, p=float("nan"), reason=_hopeless(""))
    if p_holm < ALPHA:
        return replace(gap, p_holm=p_holm, verdict=GAP)
    if size * gap.least >= ALPHA:
        return replace(gap, p_holm=p_holm, reason=_hopeless(f", corrected for {size} columns,"))
    return replace(gap, p_holm=p_holm, verdict=NO_GAP)


def _hopeless(corrected: str) -> str:
    return f"with these subjects no p below {ALPHA}{corrected} is possible"
