"""One-vs-rest area under the ROC curve, of all clips and with each subject left out.

The AUC of a class is the probability that a clip of it gets a higher score for it than a clip of another class, ties
counting one half (Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747). It is a sum over pairs of clips, so the
AUC without one subject is that sum less the pairs with a clip of the subject: exact, at the cost of two sorts. This
is the delete-one-cluster form of Obuchowski's clustered ROC analysis (1997, doi:10.2307/2533958).

Written here because torchmetrics gives 0.0 for a class that is absent and averages it in.
"""

from __future__ import annotations

import numpy as np

from fer_id.evaluation.predictions import Judged
from fer_id.evaluation.scores import Floats, Ints, ratio


def auc_of(judged: Judged) -> tuple[Floats, Floats]:
    """Compute the AUC by class, (K,), of the clips with a prediction, and the macro AUC without each subject, (S,)."""
    p, truth = judged.probabilities[judged.covered], judged.truth[judged.covered]
    codes, subjects = np.unique(judged.subjects[judged.covered], return_inverse=True)
    return auc_by_class(p, truth), macro_auc(auc_without_each(p, truth, subjects, len(codes)))


def auc_by_class(scores: Floats, truth: Ints) -> Floats:
    """Compute the AUC of each class against the rest, (K,); NaN for a class with no clip, or with every clip.

    ``scores`` (N, K) are probabilities, or any that grow with belief in the class; ``truth`` (N,) class indices.
    """
    return np.asarray(_auc_without(scores, truth, np.zeros(len(truth), dtype=np.int64), n_groups=1)[0])


def auc_without_each(scores: Floats, truth: Ints, subjects: Ints, n_subjects: int) -> Floats:
    """Compute the AUC by class, (n_subjects, K), without each subject; ``subjects`` (N,) are their indices from 0."""
    return np.asarray(_auc_without(scores, truth, subjects, n_subjects)[1])


def macro_auc(by_class: Floats) -> Floats:
    """Average over the classes whose AUC is defined, (..., K) -> (...); NaN if none is."""
    defined = ~np.isnan(by_class)
    return ratio(np.where(defined, by_class, 0.0).sum(-1), defined.sum(-1))


def _auc_without(scores: Floats, truth: Ints, groups: Ints, n_groups: int) -> tuple[Floats, Floats]:
    """Compute the (K,) AUC of all clips and the (n_groups, K) AUC without each group."""
    columns = [_one_class(scores[:, k], truth == k, groups, n_groups) for k in range(scores.shape[1])]
    return np.array([whole for whole, _ in columns]), np.stack([without for _, without in columns], axis=-1)


def _one_class(score: Floats, positive: np.ndarray, groups: Ints, n_groups: int) -> tuple[float, Floats]:
    def by_group(values: Floats, rows: np.ndarray) -> Floats:
        return np.bincount(groups[rows], weights=values[rows], minlength=n_groups).astype(np.float64)

    ones, everyone = np.ones(len(score)), np.zeros(len(score), dtype=np.int64)
    order = np.unique(score, return_inverse=True)[1]
    # (N,) clips of the other side with a lower score, ties one half
    below = _midranks(order, everyone) - _midranks(order, positive.astype(np.int64))
    below_within = _midranks(order, groups) - _midranks(order, groups * 2 + positive)
    n_positive, n_negative = by_group(ones, positive), by_group(ones, ~positive)
    won = by_group(below, positive)
    won_against = by_group(n_positive.sum() - below, ~positive)
    won_inside = by_group(below_within, positive)
    pairs = n_positive.sum() * n_negative.sum()
    pairs_left = (n_positive.sum() - n_positive) * (n_negative.sum() - n_negative)
    left = won.sum() - won - won_against + won_inside
    return float(ratio(won.sum(), pairs)), ratio(left, pairs_left)


def _midranks(order: Ints, groups: Ints) -> Floats:
    """Rank each clip within its group, from 1; equal scores, which have the same place in ``order`` (N,), share the
    middle of their ranks."""
    _, places, ties = np.unique(groups * len(order) + order, return_inverse=True, return_counts=True)
    sizes = np.bincount(groups)
    return np.asarray((np.cumsum(ties) - (ties - 1) / 2)[places] - (np.cumsum(sizes) - sizes)[groups])
