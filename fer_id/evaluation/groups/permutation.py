"""Permutation test of score gaps: group labels are permuted across subjects.

**A subject moves as a whole.** Where a column varies within a subject (a context), the subject's clips of one group
form a block: the list of a subject's groups is assigned to a subject with equally many groups, and permuted among its
blocks. For a column of subjects that is the usual permutation of subjects; where every subject has all values it is a
permutation of blocks within each subject.

p is the share of permutations with a gap at least as large. The observed assignment is one of them, so p is never 0 and
the test is valid with any number of permutations (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fer_id.evaluation.scores import Bools, Floats, Score

DRAWS = 1_999

_CHUNK = 2_000_000  # entries of the arrays over a chunk of permutations


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
