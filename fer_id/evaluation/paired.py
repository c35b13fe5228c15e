"""Paired comparison of two runs on the same clips: differences with intervals, a sign-flip test, Holm's correction.

Pairing by subject cancels the difficulty of each subject. The difference of the pooled scores has a subject-level
interval in which a subject is left out of, or drawn for, both runs at once. Accuracy counts clips without a prediction
as errors, so that both runs are judged on the same clips.

The test flips the sign of whole subjects: under the null hypothesis the two runs' predictions for a subject are
exchangeable (Fisher's randomisation test of paired samples; exact for whole counts of clips). It is the only test here:
Wilcoxon's signed ranks drop tied subjects, have many ties where children have few clips, and test another quantity than
the difference reported; and two p for one question invite a choice between them. Over several runs the p are corrected
by Holm's method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fer_id.evaluation import scores
from fer_id.evaluation.effect import Effect, effect
from fer_id.evaluation.intervals import BOOTSTRAP_FROM, DIFFERENCE_RANGE, Interval, count_intervals
from fer_id.evaluation.predictions import Judged
from fer_id.evaluation.scores import Floats, Ints, Statistic


@dataclass(frozen=True)
class Difference:
    """``run - reference`` of one score, in [-1, 1], with its interval; NaN where a score is undefined."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Comparison:
    """Comparison of a run with the reference.

    Attributes:
        differences: of the scores of ``PAIRED``.
        effect: of the accuracies by subject, clips without a prediction counted as errors.
        p: of :func:`sign_flip` for that accuracy; NaN with fewer than two subjects.
    """

    differences: dict[str, Difference]
    effect: Effect
    p: float


PAIRED = {"accuracy_with_missing": scores.accuracy_with_missing, "macro_f1": scores.macro_f1}


def why_not_paired(run: Judged, reference: Judged) -> str | None:
    """Return None where both runs have the same clips, subjects and labels, otherwise the difference in words."""
    if _listed_alike(run, reference):
        return None
    ours, theirs = _clips(run), _clips(reference)
    if len(ours) != len(run.clip_ids) or len(theirs) != len(reference.clip_ids):
        return "a clip was tested in more than one fold"
    common = ours.keys() & theirs.keys()
    if len(common) < max(len(ours), len(theirs)):
        return f"other test clips: {len(common):,} in common of {len(ours):,} and {len(theirs):,}"
    if differ := sum(ours[clip] != theirs[clip] for clip in common):
        return f"{differ:,} clips have another label or subject"
    if not ours:
        return "no labelled test clip"
    return None


def compare_runs(run: Judged, reference: Judged, classes: int, *, seed: int = 0) -> Comparison:
    """Compute differences, effect sizes and the test; :func:`why_not_paired` must return None for these runs."""
    ours, theirs = (_counts(judged, classes) for judged in (run, reference))
    by_subject = [scores.accuracy_with_missing(counts) for counts in (ours, theirs)]
    right = [np.trace(counts[..., :-1], axis1=-2, axis2=-1) for counts in (ours, theirs)]
    differences = difference_intervals(np.stack([ours, theirs], axis=1), seed=seed)
    return Comparison(differences, effect(*by_subject), sign_flip(*right, seed=seed))


def difference_intervals(
    counts: Floats, *, seed: int = 0, bootstrap_from: int = BOOTSTRAP_FROM
) -> dict[str, Difference]:
    """Compute differences in the scores of ``PAIRED`` from counts (S, 2, K, K + 1): the run, then the reference."""
    reads = np.ones(counts.shape[-2:], dtype=np.bool_)
    statistics = {name: Statistic(_minus(score), reads) for name, score in PAIRED.items()}
    intervals = count_intervals(counts, statistics, bounds=DIFFERENCE_RANGE, seed=seed, bootstrap_from=bootstrap_from)
    total = counts.sum(0)
    return {name: Difference(float(statistics[name].value(total)), intervals[name]) for name in statistics}


def sign_flip(right: Floats, reference: Floats, *, seed: int = 0) -> float:
    """Compute the two-sided p of the sign-flip test from the number of correct predictions of each subject.

    Counts rather than shares: subjects with more clips weigh more, as in the accuracy compared. For whole numbers p is
    exact with any number of subjects, so it can be small enough for many tests at once.

    Args:
        right, reference: (S,) correct predictions of each subject, on the same clips; means over trainings need not be
            whole.
        seed: seed of the 9,999 flips drawn where counts are not whole and there are more than 13 subjects.

    Returns:
        p in (0, 1]; NaN with fewer than two subjects.
    """
    difference = right - reference
    if len(difference) < 2:
        return float("nan")
    whole = np.rint(difference)
    if np.array_equal(whole, difference):
        return _flip_whole(whole.astype(np.int64))
    test = stats.permutation_test(
        (difference,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=9_999,
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def _flip_whole(difference: Ints) -> float:
    """Compute the exact p over all sign flips from the distribution of their sum, which is built up subject by subject
    (Pagano and Tritchler 1983, JASA 78:435)."""
    sizes = np.abs(difference[difference != 0])
    chance = np.zeros(int(sizes.sum()) + 1)  # probability of each sum of the positive differences
    chance[0] = 1.0
    for size in sizes.tolist():
        moved = np.zeros_like(chance)
        moved[size:] = chance[:-size]
        chance = (chance + moved) / 2
    least = (len(chance) - 1 + abs(int(difference.sum()))) // 2  # always whole: a sum has the parity of its parts
    return min(1.0, 2 * float(chance[least:].sum()))


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p of a family of tests to control its family-wise error rate (Holm, 1979).

    NaN stays NaN and does not count as a test.
    """
    tests = sorted((p, name) for name, p in values.items() if not np.isnan(p))
    adjusted, highest = dict.fromkeys(values, float("nan")), 0.0
    for place, (p, name) in enumerate(tests):
        highest = max(highest, min(1.0, (len(tests) - place) * p))
        adjusted[name] = highest
    return adjusted


def _listed_alike(run: Judged, reference: Judged) -> bool:
    """Return True where both runs list the same clips in the same order, each once: a fast check of the usual case."""
    return (
        bool(run.clip_ids)
        and run.clip_ids == reference.clip_ids
        and run.subject_ids == reference.subject_ids
        and np.array_equal(run.truth, reference.truth)
        and np.array_equal(run.subjects, reference.subjects)
        and len(set(run.clip_ids)) == len(run.clip_ids)
    )


def _clips(judged: Judged) -> dict[str, tuple[int, str]]:
    subjects = [judged.subject_ids[code] for code in judged.subjects.tolist()]
    return dict(zip(judged.clip_ids, zip(judged.truth.tolist(), subjects, strict=True), strict=True))


def _counts(judged: Judged, classes: int) -> Floats:
    return scores.count_clips(judged.truth, judged.predicted, judged.subjects, len(judged.subject_ids), classes)


def _minus(score: scores.Score) -> scores.Score:
    return lambda counts: score(counts[..., 0, :, :]) - score(counts[..., 1, :, :])
