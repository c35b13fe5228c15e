"""The coverage simulation itself, and the published coverage of the shipped intervals."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from experiments.measure import interval_coverage as coverage
from experiments.measure.interval_coverage import Row, draw_cohort, main, measure, population_scores
from fer_id.evaluation.intervals import HELD, Interval, jackknife
from tests.conftest import MadeOnce
from tests.experiments.messages import Capture

HEADLINE = ("accuracy", "macro_f1", "macro_recall", "recall of a rare class", "difference in accuracy_with_missing")

DRAWS, PUBLISHED = 500, 2000
"""Cohorts of a repeated and of the published measurement; :func:`margin` is that of both."""


def margin(share: float, *draws: int) -> float:
    """Return four Monte-Carlo standard errors of a share, or of the difference between two measurements of it."""
    return 4 * math.sqrt(sum(share * (1 - share) / each for each in draws))


@pytest.fixture(scope="module")
def truth(made_once: MadeOnce) -> dict[str, float]:
    """Scores of a quarter of the default population: within 0.004 of them, far less than the width of any interval."""

    def write(out: Path) -> None:
        out.mkdir()
        (out / "scores.json").write_text(json.dumps(population_of(50_000, seed=11)))

    scores: dict[str, float] = json.loads((made_once("population", write) / "scores.json").read_text())
    return scores


def test_a_cohort_is_hierarchical_uneven_and_incomplete() -> None:
    cohort = draw_cohort(np.random.default_rng(0), 2000)
    clips = np.bincount(cohort.subjects)
    assert (clips.min(), clips.max()) == (4, 80)
    assert np.bincount(cohort.truth) / len(cohort.truth) == pytest.approx(coverage.SHARES, abs=0.02)
    assert 1 - cohort.seen.mean() == pytest.approx(0.05, abs=0.01)
    first, second = cohort.accuracies()
    within = (first * (1 - first) / clips).mean()  # variance that clips of equal children would have
    assert first.var() > 2 * within
    assert np.corrcoef(first, second)[0, 1] > 0.6
    assert cohort.counts.sum((2, 3)).tolist() == np.stack([clips, clips], axis=1).tolist()


def test_a_part_is_the_clips_of_its_children() -> None:
    cohort = draw_cohort(np.random.default_rng(0), 9)
    part = cohort.part(3, 4)
    rows = (cohort.subjects >= 3) & (cohort.subjects < 7)
    assert part.subjects.tolist() == (cohort.subjects[rows] - 3).tolist()
    assert part.probabilities.shape == (2, rows.sum(), 5)
    assert part.counts.sum() == 2 * rows.sum()


@pytest.mark.slow
def test_the_truth_is_a_pooled_score_that_small_cohorts_scatter_around(truth: dict[str, float]) -> None:
    assert truth == pytest.approx(population_of(10_000, seed=6), abs=0.03)


def population_of(children: int, seed: int) -> dict[str, float]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage, "POPULATION", children)
        return population_scores(seed)


def test_counting_by_hand() -> None:
    ends = ((0.1, 0.4), (0.3, 0.7), (0.5, 0.9), (0.6, 0.7))
    intervals = [*(Interval(*each, "jackknife", 3) for each in ends), Interval.undefined("too few", 1)]
    row = Row.of(3, "accuracy", "jackknife", 0.5, intervals)
    assert (row.coverage, row.below, row.above, row.undefined) == pytest.approx((2 / 4, 1 / 4, 1 / 4, 1 / 5))
    assert row.width == pytest.approx((0.3 + 0.4 + 0.4 + 0.1) / 4)
    nowhere = Row.of(3, "accuracy", "jackknife", 0.5, intervals[4:])
    assert nowhere.undefined == 1
    assert np.isnan([nowhere.coverage, nowhere.error, nowhere.below, nowhere.above, nowhere.width]).all()


def test_coverage_agrees_with_theory() -> None:
    """On means of normal values the jackknife is Student's interval, and exact."""
    draws = np.random.default_rng(1).normal(size=(3000, 8))
    intervals = [jackknife(v.mean(), (v.sum() - v) / 7, bounds=(-np.inf, np.inf)) for v in draws]
    assert Row.of(8, "mean", "jackknife", 0.0, intervals).coverage == pytest.approx(0.95, abs=margin(0.95, 3000))


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [6, 12, 20, 40])
def test_the_published_coverage_is_reproduced(subjects: int, truth: dict[str, float]) -> None:
    """Other draws and another seed give the same shares within the Monte-Carlo error of both measurements."""
    rows = measure(subjects, DRAWS, truth, seed=11)
    assert all(row.coverage + row.below + row.above == pytest.approx(1) for row in rows)
    shipped = {row.score: row.coverage for row in rows}
    assert shipped.keys() == truth.keys()
    assert HELD[subjects].keys() <= shipped.keys()
    for score, claimed in HELD[subjects].items():
        assert shipped[score] == pytest.approx(claimed, abs=margin(claimed, DRAWS, PUBLISHED)), score
    lowest = {6: 0.89, 12: 0.90, 20: 0.91, 40: 0.92}[subjects]
    for score in HEADLINE:
        assert lowest - margin(lowest, DRAWS) < shipped[score] < 0.97 + margin(0.97, DRAWS)


def test_the_table_has_a_line_for_each_score_and_method() -> None:
    row = Row(6, "accuracy", "jackknife", 0.7, 0.9, 0.01, 0.06, 0.04, 0.3, 0.02)
    lines = coverage.table([row, Row(12, "accuracy", "jackknife", 0.7, 0.94, 0.01, 0.03, 0.03, 0.2, 0.0)]).splitlines()
    assert lines[0].split() == ["score", "method", "6", "subjects", "12", "subjects"]
    assert "0.900 ±0.010 (6|4) none 2%" in lines[1]


def test_an_unknown_setting_is_one_clear_line(capsys: Capture) -> None:
    assert main(["draw=10"]) == 2
    assert "expected draws=2000" in capsys.readouterr().err
