"""Gaps between groups: power for planted gaps, and the rate of false claims without gaps."""

import itertools

import numpy as np
import pytest
from scipy import stats

from fer_id.evaluation import scores
from fer_id.evaluation.groups.gaps import (
    ALPHA,
    GAP,
    NO_GAP,
    TESTED,
    TOO_LITTLE,
    Gap,
    deal,
    equalised_odds,
    find_gaps,
    judge_gaps,
    permute_groups,
)

CLASSES = ("happy", "sad", "fear")


def answers(skill: np.ndarray, clips: int, rng: np.random.Generator, classes: int = 3) -> np.ndarray:
    """Draw counts (..., K, K + 1): ``clips`` clips of each class, right with probability ``skill``."""
    right = rng.binomial(clips, np.repeat(skill[..., None], classes, axis=-1))[..., None]
    correct = np.eye(classes, classes + 1)
    return right * correct + (clips - right) * correct[:, np.r_[classes - 1, : classes - 1, classes]]


def in_groups(counts: np.ndarray, groups: np.ndarray, number: int) -> np.ndarray:
    """Return (S, G, K, K + 1) from tables (S, K, K + 1) of subjects that are each in one group."""
    tables = np.zeros((len(counts), number, *counts.shape[1:]))
    tables[np.arange(len(counts)), groups] = counts
    return tables


def subjects(rng: np.random.Generator, number: int, *, drop: float = 0.0, groups: int = 2) -> np.ndarray:
    """Draw subjects of very different skill in two or more groups; the last group is worse by ``drop``."""
    group = np.arange(number) % groups
    skill = rng.beta(6, 4, size=number) - drop * (group == groups - 1)
    return in_groups(answers(skill.clip(0, 1), 5, rng), group, groups)


def names(number: int) -> list[str]:
    return [f"g{index}" for index in range(number)]


def verdicts(*columns: np.ndarray, draws: int = 199, seed: int = 0) -> dict[str, dict[str, str]]:
    gaps_of = {
        f"column{place}": find_gaps(tables, names(tables.shape[1]), CLASSES, 5, seed=seed, draws=draws)
        for place, tables in enumerate(columns)
    }
    return {name: {score: gap.verdict for score, gap in gaps.items()} for name, gaps in judge_gaps(gaps_of).items()}


def test_the_p_of_two_groups_is_that_of_an_exact_permutation_test():
    rng = np.random.default_rng(1)
    tables = subjects(rng, 10, drop=0.25)
    right = np.trace(tables[..., :-1], axis1=2, axis2=3).sum(1)  # every subject has 15 clips
    group = np.arange(10) % 2

    def gap(a, b, axis):
        return np.abs(a.mean(axis) - b.mean(axis))

    exact = stats.permutation_test((right[group == 0], right[group == 1]), gap, alternative="greater", vectorized=True)
    assert exact.pvalue > 0.02  # 252 deals
    accuracy = find_gaps(tables, names(2), CLASSES, 5, seed=0)["accuracy"]
    assert accuracy.gap == pytest.approx(gap(right[group == 0], right[group == 1], 0) / 15)
    assert accuracy.p == pytest.approx(exact.pvalue, abs=4 * np.sqrt(exact.pvalue / 2000))


def test_the_p_of_blocks_within_subjects_is_that_of_all_their_orders():
    rng = np.random.default_rng(4)
    tables = answers(rng.beta(6, 4, size=(5, 1)) - np.array([0.0, 0.0, 0.3]), 4, rng)  # (5, 3, K, K + 1): 7,776 orders
    right = np.trace(tables[..., :-1], axis1=2, axis2=3)
    orders = np.array(list(itertools.permutations(range(3))))
    every = itertools.product(range(6), repeat=5)
    gaps = [np.ptp(np.take_along_axis(right, orders[list(chosen)], axis=1).sum(0)) for chosen in every]
    exact = np.mean(np.array(gaps) >= np.ptp(right.sum(0)) - 1e-9)
    (test,) = permute_groups(tables, [scores.accuracy], seed=0)
    assert test.p == pytest.approx(exact, abs=4 * np.sqrt(exact / 2000))


def test_a_subject_moves_as_a_whole():
    blocks = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 0]], dtype=bool)
    labels = deal(blocks, 500, np.random.default_rng(0))
    first, *others = labels.tolist()
    assert first == blocks.nonzero()[1].tolist()
    pairs = {(tuple(row[0:2]), tuple(row[2:4]), tuple(row[4:6])) for row in others}
    lists = {tuple(sorted(map(tuple, map(sorted, row)))) for row in pairs}
    assert lists == {((0, 1), (0, 1), (1, 2))}  # the lists of the three subjects with two groups, in any assignment
    assert len(pairs) == 3 * 2**3  # assignments of (1, 2), times orders
    assert {tuple(row[6:]) for row in others} == {(2, 0), (0, 2)}


def test_copying_every_clip_ten_times_does_not_change_p():
    tables = subjects(np.random.default_rng(3), 14, drop=0.2)
    once, ten_times = (find_gaps(counts, names(2), CLASSES, 5, seed=0) for counts in (tables, 10 * tables))
    assert [gap.p for gap in once.values()] == [gap.p for gap in ten_times.values()]


def test_a_planted_gap_is_detected_in_its_group():
    rng = np.random.default_rng(7)
    planted, neutral = subjects(rng, 24, drop=0.35, groups=3), subjects(rng, 24)
    columns = {"planted": planted, "neutral": neutral}
    gaps = {name: find_gaps(tables, names(tables.shape[1]), CLASSES, 5, seed=0) for name, tables in columns.items()}
    judged = judge_gaps(gaps)
    assert {gap.verdict for gap in judged["planted"].values()} == {GAP}
    assert {gap.worst for gap in judged["planted"].values()} == {"g2"}
    assert {gap.verdict for gap in judged["neutral"].values()} == {NO_GAP}
    accuracy = judged["planted"]["accuracy"]
    assert accuracy.p <= accuracy.p_scores <= accuracy.p_holm < ALPHA
    assert accuracy.ratio < 1


def test_small_groups_never_enter_a_gap():
    rng = np.random.default_rng(2)
    counts = answers(np.array([0.6] * 12 + [0.0] * 4), 5, rng)
    tables = in_groups(counts, np.array([0, 1] * 6 + [2] * 4), 3)
    gaps = find_gaps(tables, names(3), CLASSES, 5, seed=0)
    assert {gap.worst for gap in gaps.values()} <= {"g0", "g1"}
    alone = find_gaps(tables[:, 1:], names(2), CLASSES, 5, seed=0)
    assert {gap.verdict for gap in alone.values()} == {TOO_LITTLE}
    assert {gap.reason for gap in alone.values()} == {"fewer than two groups have 5 subjects with a prediction"}
    assert all(gap.gap is None and np.isnan(gap.p) for gap in alone.values())


def test_a_gap_that_no_permutation_could_show_is_insufficient_evidence():
    rng = np.random.default_rng(5)
    few = in_groups(answers(np.array([0.95, 0.95, 0.1, 0.1]), 5, rng), np.array([0, 0, 1, 1]), 2)
    (gaps,) = judge_gaps({"column": find_gaps(few, names(2), CLASSES, 2, seed=0)}).values()
    assert gaps["accuracy"].gap > 0.5
    assert gaps["accuracy"].verdict == TOO_LITTLE
    assert gaps["accuracy"].reason == "with these subjects no p below 0.05 is possible"  # 2 of 6 deals at best
    alike = in_groups(answers(np.ones(12), 5, rng), np.arange(12) % 2, 2)
    (gaps,) = judge_gaps({"column": find_gaps(alike, names(2), CLASSES, 5, seed=0)}).values()
    assert gaps["accuracy"].gap == 0
    assert gaps["accuracy"].verdict == TOO_LITTLE  # everybody is always right: nothing can be dealt out differently


def test_a_hopeless_test_does_not_cost_the_others():
    rng = np.random.default_rng(11)
    planted = find_gaps(subjects(rng, 12, drop=0.4), names(2), CLASSES, 5, seed=0)
    few = find_gaps(subjects(rng, 4), names(2), CLASSES, 2, seed=0)
    alone, beside = judge_gaps({"a": planted}), judge_gaps({"a": planted, **{f"b{i}": few for i in range(9)}})
    assert alone["a"] == beside["a"]


def test_macro_means_over_different_classes_are_not_compared():
    tables = subjects(np.random.default_rng(0), 12)
    tables[:, 1, 2] = 0  # nobody of the second group has a clip of fear
    gaps = find_gaps(tables, names(2), CLASSES, 5, seed=0)
    assert gaps["accuracy"].gap is not None
    assert gaps["macro_f1"].gap is None
    assert "g1 has no clip of fear" in gaps["macro_f1"].reason


def test_equalised_odds_by_hand():
    counts = np.zeros((2, 2, 2, 3))
    counts[0, 0] = [[8, 2, 0], [1, 9, 0]]  # recalls .8 and .9
    counts[1, 1] = [[5, 5, 0], [2, 8, 0]]  # .5 and .8
    gap, label, why = equalised_odds(counts, ("a", "b"), 1)
    assert (gap, label, why) == (pytest.approx(0.3), "a", None)
    assert equalised_odds(counts, ("a", "b"), 2) == (None, None, "of no class have two groups 2 subjects")


def false_claims(draw, repeats: int) -> float:
    """Return the share of runs without a gap in which any column or score claims one."""
    claimed = 0
    for seed in range(repeats):
        rng = np.random.default_rng([77, seed])
        column_verdicts = verdicts(*draw(rng), seed=seed)
        claimed += any(verdict == GAP for column in column_verdicts.values() for verdict in column.values())
    return claimed / repeats


def at_most(rate: float, repeats: int) -> float:
    """Return the 99.9 % quantile of the observed rate in ``repeats`` draws."""
    return float(stats.binom.ppf(0.999, repeats, rate) / repeats)


def neutral(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw columns without gaps: two groups, three unequal ones, a context; children and contexts differ in skill."""
    skill = rng.beta(6, 4, size=number)
    counts = answers(skill, 5, rng)
    unequal = rng.permutation(np.repeat([0, 1, 2], [number - 2 * (number // 4), number // 4, number // 4]))
    contexts = answers((skill[:, None] + rng.normal(0, 0.1, size=(number, 3))).clip(0, 1), 2, rng)
    return in_groups(counts, rng.permutation(number) % 2, 2), in_groups(counts, unequal, 3), contexts


def test_no_more_false_claims_than_stated():
    assert false_claims(lambda rng: neutral(rng, 20), 200) <= at_most(ALPHA, 200)


def test_columns_with_one_testable_score_do_not_raise_the_rate_of_false_claims() -> None:
    """One column with three correlated scores, five whose groups lack a class, so that their macro scores are untested:
    with a family for each score a gap was claimed in .083 of such runs without one."""
    rng, repeats, claimed = np.random.default_rng(3), 2000, 0
    z = rng.multivariate_normal(np.zeros(3), np.full((3, 3), 0.9) + 0.1 * np.eye(3), size=50_000)
    p = 2 * stats.norm.sf(np.abs(z))
    smallest = np.sort(p.min(axis=1))
    for values in p[:repeats]:
        corrected = np.searchsorted(smallest, values, side="right") / len(p)  # for the three, as permutations do
        columns = {
            "all": {score: Gap(0.1, p_scores=q, least=0.001) for score, q in zip(TESTED, corrected, strict=True)}
        }
        for place, q in enumerate(rng.uniform(size=5)):
            untested = dict.fromkeys(TESTED, Gap(reason="a group lacks a class"))
            columns[f"accuracy {place}"] = untested | {"accuracy": Gap(0.1, p_scores=q, least=0.001)}
        claimed += any(gap.verdict == GAP for gaps in judge_gaps(columns).values() for gap in gaps.values())
    assert claimed / repeats <= at_most(ALPHA, repeats)


@pytest.mark.slow
@pytest.mark.parametrize("number", [12, 24, 48])
def test_no_more_false_claims_than_stated_over_many_draws(number):
    rate = false_claims(lambda rng: neutral(rng, number), 600)
    print(f"{number} subjects: a gap claimed in {rate:.3f} of 600 runs without one")
    assert rate <= at_most(ALPHA, 600)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "drop", "least"), [(20, 0.3, 0.6), (40, 0.3, 0.95), (40, 0.2, 0.6)])
def test_planted_gaps_are_detected(number, drop, least):
    repeats, detected = 200, 0
    for seed in range(repeats):
        rng = np.random.default_rng([78, seed])
        column_verdicts = verdicts(subjects(rng, number, drop=drop), *neutral(rng, number), draws=399, seed=seed)
        detected += column_verdicts["column0"]["accuracy"] == GAP
    print(f"{number} subjects, {drop:.0%} worse: found in {detected / repeats:.2f} of {repeats} runs")
    assert detected / repeats >= least


def test_every_score_is_tested():
    assert list(TESTED) == ["accuracy", "macro_recall", "macro_f1"]
