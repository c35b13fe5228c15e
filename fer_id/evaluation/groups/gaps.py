"""Gaps in scores between groups, and permutation tests of these gaps.

The largest minus the smallest score is never negative, so an interval of it cannot contain zero and shows nothing.
Instead the group labels are permuted among the subjects: if group and result are independent, all permutations are
equally likely.

**A subject moves as a whole.** Where a column varies within a subject (a context), the subject's clips of one group
form a block: the list of a subject's groups is assigned to a subject with equally many groups, and permuted among its
blocks. For a column of subjects that is the usual permutation of subjects; where every subject has all values it is a
permutation of blocks within each subject.

p is the share of permutations with a gap at least as large. The observed assignment is one of them, so p is never 0 and
the test is valid with any number of permutations (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585).

**Families.** Accuracy, macro recall and macro-F1 of a column are three tests of one question: their p are corrected for
the three by the same permutations, and then for the number of columns by Holm, score by score. So the probability that
any gap is claimed in a run without one is at most ``ALPHA``. A test whose p cannot fall below ``ALPHA`` with these
subjects under any permutation is no evidence of equality (the smallest possible p does not depend on the observed
permutation: Tarone 1990, doi:10.2307/2531456). A column without any other test does not count; one with a single score
that can be tested counts for all three, since each score of a column is one more chance of a false claim.

The null hypothesis is the independence of group and result. Groups with equal mean scores but unequal spread can give a
small p where group sizes are very unequal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fer_id.evaluation import scores
from fer_id.evaluation.paired import holm
from fer_id.evaluation.scores import Bools, Floats, Score
from fer_id.files import plain
from fer_id.runs import metrics

ALPHA = 0.05
TESTED: Mapping[str, Score] = {
    "accuracy": scores.accuracy,
    "macro_recall": scores.macro_recall,
    "macro_f1": scores.macro_f1,
}
GAP, NO_GAP, TOO_LITTLE = "gap", "no gap shown", "insufficient evidence"
DRAWS = 1_999
_CHUNK = 2_000_000  # entries of the arrays over a chunk of permutations


@dataclass(frozen=True)
class Gap:
    """Largest minus smallest score among the groups with enough subjects, and its test; p is NaN where not tested."""

    gap: float | None = None  # None with fewer than two comparable groups
    ratio: float | None = None  # smallest by largest score
    worst: str | None = None
    best: str | None = None
    p: float = math.nan  # probability of a gap at least as large under permutation
    p_scores: float = math.nan  # p corrected for the three scores
    p_holm: float = math.nan  # p_scores corrected for the number of columns
    least: float = math.nan  # smallest p_scores possible with these subjects
    verdict: str = TOO_LITTLE  # or GAP, or NO_GAP
    reason: str | None = None  # why the evidence is insufficient

    def as_record(self) -> metrics.Gap:
        """Return the entry of ``metrics.json``."""
        return metrics.Gap(**plain({name: getattr(self, name) for name in metrics.Gap.model_fields}))


def find_gaps(
    tables: Floats, values: Sequence[str], classes: Sequence[str], min_subjects: int, *, seed: int, draws: int = DRAWS
) -> dict[str, Gap]:
    """Compute the gaps of one column in the scores of ``TESTED``, without verdicts: see :func:`judge_gaps`.

    ``tables`` are the counts (S, G, K, K + 1) of every subject in every group; ``values`` names the groups, of which
    those with fewer than ``min_subjects`` subjects with a prediction are left out.
    """
    predicted = tables[..., :-1].sum((2, 3)) > 0  # (S, G)
    enough = np.flatnonzero(predicted.sum(0) >= min_subjects)
    if len(enough) < 2:
        few = f"fewer than two groups have {min_subjects} subjects with a prediction"
        return dict.fromkeys(TESTED, Gap(reason=few))
    tables, names = tables[:, enough], [values[index] for index in enough.tolist()]
    total = tables.sum(0)
    gaps = {name: _gap(score(total), names) for name, score in TESTED.items()}
    if (why := _other_classes(total, names, classes)) is not None:
        gaps |= {name: Gap(reason=why) for name in ("macro_recall", "macro_f1")}
    tested = {name: TESTED[name] for name, gap in gaps.items() if gap.gap is not None}
    tests = permute_groups(tables, [*tested.values()], seed=seed, draws=draws)
    for name, test in zip(tested, tests, strict=True):
        gaps[name] = replace(gaps[name], p=test.p, p_scores=test.corrected, least=test.least)
    return gaps


def judge_gaps(columns: Mapping[str, Mapping[str, Gap]]) -> dict[str, dict[str, Gap]]:
    """Return the gaps of all columns with ``p_holm`` and verdicts; see the module for the families of tests."""
    judged: dict[str, dict[str, Gap]] = {column: {} for column in columns}
    size = sum(any(gap.least < ALPHA for gap in gaps.values()) for gaps in columns.values())
    for score in TESTED:
        family = {
            column: gaps[score].p_scores if gaps[score].least < ALPHA else float("nan")
            for column, gaps in columns.items()
        }
        for column, p in holm(family, size).items():
            judged[column][score] = _verdict(columns[column][score], p, size)
    return judged


def equalised_odds(
    tables: Floats, classes: Sequence[str], min_subjects: int
) -> tuple[float | None, str | None, str | None]:
    """Compute the equalised-odds difference: the largest difference between groups in a true or false positive rate.

    After Hardt, Price and Srebro (2016, arXiv:1610.02413), each class against the rest. A rate of a group counts where
    enough subjects have clips of the class, or of the other classes. It is not tested: the largest of many differences
    is large by chance in small groups. Return the gap in [0, 1], its class and None; or None, None and the reason.
    """
    support = tables[..., :-1].sum(-1)  # (S, G, K) clips of each class
    others = support.sum(-1, keepdims=True) - support
    total = tables.sum(0)
    rates = ((support, scores.recall(total)), (others, 1 - scores.specificity(total)))
    largest = np.stack([_spread(rate, (clips > 0).sum(0) >= min_subjects) for clips, rate in rates]).max(0)
    if np.isneginf(largest).all():
        return None, None, f"of no class have two groups {min_subjects} subjects"
    index = int(largest.argmax())
    return float(largest[index]), classes[index], None


def _spread(rates: Floats, counted: Bools) -> Floats:
    """Return the largest minus smallest of the counted rates, (G, K) -> (K,); minus infinity with fewer than two."""
    high = np.where(counted, rates, -np.inf).max(0)
    low = np.where(counted, rates, np.inf).min(0)
    return np.where(counted.sum(0) > 1, high - low, -np.inf)


def _gap(values: Floats, names: Sequence[str]) -> Gap:
    """Return the untested gap between the (G,) scores of the groups, none of them NaN."""
    worst, best = int(values.argmin()), int(values.argmax())
    ratio = float(values[worst] / values[best]) if values[best] > 0 else None
    return Gap(float(values[best] - values[worst]), ratio, names[worst], names[best])


def _other_classes(total: Floats, names: Sequence[str], classes: Sequence[str]) -> str | None:
    """Return why macro means of these groups, (G, K, K + 1), do not compare; None where all have the same classes."""
    present: list[list[bool]] = (scores.support(total) > 0).tolist()
    anywhere = [any(column) for column in zip(*present, strict=True)]
    for group, clips in zip(names, present, strict=True):
        lacking = [name for name, has, elsewhere in zip(classes, clips, anywhere, strict=True) if elsewhere and not has]
        if lacking:
            return f"{group} has no clip of {', '.join(lacking)}, so its mean is over other classes than the others'"
    return None


def _verdict(gap: Gap, p_holm: float, size: int) -> Gap:
    """Return the gap with the verdict that its corrected p in a family of ``size`` tests gives."""
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


class GapTest(NamedTuple):
    """Result of the permutation test of one score.

    ``corrected`` allows for the scores tested together: the share of permutations in which any score's p is as small
    (minP, Westfall and Young 1993, which allows for the correlation of the scores).
    """

    p: float
    corrected: float
    least: float  # smallest possible ``corrected`` with these subjects


def permute_groups(tables: Floats, tested: Sequence[Score], *, seed: int, draws: int = DRAWS) -> list[GapTest]:
    """Test the largest minus smallest group value of several scores, each defined for every group.

    ``tables`` are the counts (S, G, K, K + 1) of every subject in every group; ``draws`` permutations come beside the
    observed assignment.
    """
    blocks = tables[..., :-1].sum((2, 3)) > 0  # (S, G)
    counts = tables[blocks]
    labels = deal(blocks, draws, np.random.default_rng(seed))
    step = max(1, _CHUNK // max(labels.shape[1], tables.shape[1] * counts[0].size))
    chunks = [
        _statistics(labels[start : start + step], counts, tables.shape[1], tested)
        for start in range(0, len(labels), step)
    ]
    gaps = np.concatenate(chunks)
    p = rankdata(-gaps.round(10), method="max", axis=0) / len(gaps)
    smallest = p.min(axis=1, keepdims=True)  # over scores, by permutation

    def reached(bound: Floats) -> Floats:
        return np.asarray((smallest <= bound + 1e-12).mean(axis=0))

    columns = p[0].tolist(), reached(p[0]).tolist(), reached(p.min(axis=0)).tolist()
    return [GapTest(*values) for values in zip(*columns, strict=True)]


def deal(blocks: Bools, draws: int, generator: np.random.Generator) -> NDArray[np.int16]:
    """Permute the groups across subjects, from ``blocks`` (S, G), True where a subject has clips in a group.

    Return the group of every block, (draws + 1, blocks), in the order of ``blocks.nonzero()``; the first row is
    observed.
    """
    subject, codes = blocks.nonzero()
    group = codes.astype(np.int16)
    labels: NDArray[np.int16] = np.tile(group, (draws + 1, 1))
    size = blocks.sum(1)
    for number in np.unique(size[size > 0]):
        places = np.flatnonzero(size[subject] == number).reshape(-1, number)  # a row per subject with so many blocks
        orders = generator.permuted(np.tile(np.arange(len(places)), (draws, 1)), axis=1)
        lists = group[places][orders]  # (draws, subjects, number)
        labels[1:, places] = generator.permuted(lists, axis=2) if number > 1 else lists
    return labels


def _statistics(labels: NDArray[np.int16], counts: Floats, groups: int, tested: Sequence[Score]) -> Floats:
    """Compute the gaps (D, scores) of D permutations (D, N) of N blocks of counts (N, K, K + 1)."""
    flat = counts.reshape(len(counts), -1).astype(np.float32)  # exact: sums of counts below 2^24
    sums = [(labels == group).astype(np.float32) @ flat for group in range(groups)]
    tables = np.stack(sums, axis=1).reshape(len(labels), groups, *counts.shape[1:]).astype(np.float64)
    return np.stack([np.ptp(score(tables), axis=1) for score in tested], axis=1)
