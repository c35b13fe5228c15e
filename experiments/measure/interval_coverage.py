"""Monte-Carlo coverage of the shipped confidence intervals.

``python -m experiments.measure.interval_coverage [draws=2000] [seed=0] [subjects=6,12] [easier=0]``

Cohorts are drawn repeatedly from a population of synthetic children, the shipped intervals are computed for each, and
coverage is the share of them that contain the population's score: all clips of infinitely many children pooled, the
limit of a pooled score as children are added. Prints a table and writes ``runs/coverage.json``.

The population: a child has an ability (normal, on the logits, so its accuracy is logit-normal), leanings towards
classes, 4 to 80 clips of classes in its own proportions, of which on average 5 % show no face (beta, by child). Two
models answer the same clips; they share most of a child's ability and of a clip's difficulty. Confidence is the softmax
of the logits, somewhat overconfident. The first model is right on 71 % of clips; ``easier`` adds to the logit of the
true class (with 2.4 the model is right on 97 %).
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import special

from experiments.measure.timing import aligned
from fer_id.evaluation import scores
from fer_id.evaluation.auc import auc_by_class, auc_without_each, macro_auc
from fer_id.evaluation.confidence.calibration import calibration_intervals, calibration_scores
from fer_id.evaluation.confidence.selective import COVERAGES, risk_coverage, selective_intervals
from fer_id.evaluation.intervals import Interval, count_intervals, jackknife
from fer_id.evaluation.paired import PAIRED, difference_intervals, effect
from fer_id.evaluation.scores import Bools, Floats, Ints
from fer_id.files import write_json
from fer_id.progress import say

OUT = Path("runs/coverage.json")
SUBJECTS = (6, 12, 20, 40, 80)
SHARES = (0.30, 0.25, 0.20, 0.10, 0.15)  # share of each class among the clips; the fourth class is the rare one

SKILLS = ((2.6, 1.9, 1.9, 1.2, 2.2), (2.3, 1.6, 1.6, 0.8, 1.9))
"""By model: gain in the logit of the true class, for each class."""

RARE, CLASSES = 3, len(SHARES)
POPULATION, AT_ONCE = 200_000, 20_000  # children: in the large cohort, and held in memory together

_STATISTICS = {name: scores.overall_statistics(CLASSES)[name] for name in ("accuracy", "macro_f1", "macro_recall")}
_STATISTICS["recall of a rare class"] = scores.class_statistics(CLASSES)[RARE, "recall"]


@dataclass(frozen=True)
class Cohort:
    """Clips of S children, ordered by child, with predictions of two models."""

    subjects: Ints  # (N,) 0 to S - 1, ascending
    truth: Ints  # (N,)
    seen: Bools  # (N,) whether a face was found
    probabilities: Floats  # (2, N, K)
    counts: Floats  # (S, 2, K, K + 1)

    def answered(self) -> tuple[Floats, Ints, Ints]:
        """Return the first model's probabilities, the classes and the children of the clips with a face."""
        return self.probabilities[0, self.seen], self.truth[self.seen], self.subjects[self.seen]

    def accuracies(self) -> Floats:
        """Return each model's accuracy on each child's clips, (2, S); clips without a face count as errors."""
        return scores.accuracy_with_missing(self.counts).T

    def part(self, first: int, size: int) -> Cohort:
        """Return the sub-cohort of ``size`` children from child ``first`` on."""
        rows = slice(*np.searchsorted(self.subjects, (first, first + size)))
        clips = self.subjects[rows] - first, self.truth[rows], self.seen[rows], self.probabilities[:, rows]
        return Cohort(*clips, self.counts[first : first + size])


@dataclass(frozen=True)
class Row:
    """A line of the table; shares and the mean width are those of the cohorts with an interval."""

    subjects: int
    score: str
    method: str
    truth: float
    coverage: float  # share of the intervals that contain the truth
    error: float  # Monte-Carlo standard error of the coverage
    below: float  # share of the intervals below the truth
    above: float
    width: float
    undefined: float  # share of the cohorts without an interval

    @classmethod
    def of(cls, subjects: int, score: str, method: str, truth: float, intervals: Sequence[Interval]) -> Row:
        """Count the intervals of all cohorts against the truth."""
        ends = [(each.low, each.high) for each in intervals if each.low is not None and each.high is not None]
        low, high = np.array(ends).reshape(-1, 2).T

        def mean(values: Floats | Bools) -> float:
            return float(np.mean(values)) if ends else np.nan

        coverage = mean((low <= truth) & (truth <= high))
        error = float(np.sqrt(coverage * (1 - coverage) / max(len(ends), 1)))
        shares = {"below": mean(high < truth), "above": mean(low > truth), "width": mean(high - low)}
        undefined = 1 - len(ends) / len(intervals)
        return cls(subjects, score, method, truth, coverage, error, **shares, undefined=undefined)


def measure(
    subjects: int,
    draws: int,
    truth: dict[str, float],
    *,
    seed: int,
    easier: float = 0.0,
) -> list[Row]:
    """Return the coverage of all scores (:func:`all_intervals`) in ``draws`` cohorts of one size.

    ``truth`` are the :func:`population_scores` with the same ``easier``, which is added to the logit of the true class.
    """
    rng, intervals = np.random.default_rng([seed, subjects]), defaultdict[tuple[str, str], list[Interval]](list)
    for size in _portions(draws, max(1, AT_ONCE // subjects)):
        cohorts = draw_cohort(rng, size * subjects, easier)
        for index in range(size):
            for key, interval in all_intervals(cohorts.part(index * subjects, subjects)).items():
                intervals[key].append(interval)
    return [Row.of(subjects, *key, truth[key[0]], drawn) for key, drawn in intervals.items()]


def all_intervals(cohort: Cohort) -> dict[tuple[str, str], Interval]:
    """Return all intervals of a cohort, by score and method."""
    counted = count_intervals(cohort.counts[:, 0], _STATISTICS)
    differences = difference_intervals(cohort.counts)
    counted |= {f"difference in {name}": difference.interval for name, difference in differences.items()}
    results = {(name, "jackknife"): interval for name, interval in counted.items()}
    p, truth, subjects = cohort.answered()
    names, codes = np.unique(subjects, return_inverse=True)
    without_each = macro_auc(auc_without_each(p, truth, codes, len(names)))
    results["auc", "jackknife"] = jackknife(float(macro_auc(auc_by_class(p, truth))), without_each)
    confidence_intervals = calibration_intervals(p, truth, subjects)
    confidence_intervals |= selective_intervals(p.max(axis=1), p.argmax(axis=1) == truth, subjects)
    results |= {(name, "jackknife"): interval for name, (_, interval) in confidence_intervals.items()}
    size = effect(*cohort.accuracies())
    return results | {("g", "noncentral t"): size.g_interval, ("superiority", "exact"): size.superiority_interval}


def population_scores(seed: int = 0, easier: float = 0.0) -> dict[str, float]:
    """Return the scores in the limit of infinitely many children, from ``POPULATION`` children drawn in portions."""
    rng, pooled, accuracies = np.random.default_rng([seed, 0]), np.zeros((2, CLASSES, CLASSES + 1)), []
    others = defaultdict[str, list[float]](list)  # one value per portion; their mean is used
    for size in _portions(POPULATION, AT_ONCE):
        cohort = draw_cohort(rng, size, easier)
        pooled += cohort.counts.sum(0)
        accuracies.append(cohort.accuracies())
        p, truth, _ = cohort.answered()
        confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
        curve = risk_coverage(confidence, right)
        values = {name: value for name, value in calibration_scores(p, truth).items() if name != "adaptive_ece"}
        values |= {"auc": float(macro_auc(auc_by_class(p, truth))), "aurc": curve.aurc}
        values |= {f"risk_at_coverage.{share}": curve.risk_at(share) for share in COVERAGES}
        values["overconfidence"] = float((confidence - right).mean())
        for name, value in values.items():
            others[name].append(value)
    whole = effect(*np.concatenate(accuracies, axis=1))
    population = {name: float(statistic.value(pooled[0])) for name, statistic in _STATISTICS.items()}
    population |= {
        f"difference in {name}": float(score(pooled[0]) - score(pooled[1])) for name, score in PAIRED.items()
    }
    population |= {name: float(np.mean(portions)) for name, portions in others.items()}
    return population | {"g": whole.g, "superiority": whole.superiority}


def draw_cohort(rng: np.random.Generator, subjects: int, easier: float = 0.0) -> Cohort:
    """Draw ``subjects`` children of the population with their clips and both models' predictions."""
    clips = np.clip(np.rint(rng.lognormal(np.log(20), 0.6, subjects)), 4, 80).astype(np.int64)
    child = np.repeat(np.arange(subjects), clips)
    proportions = np.cumsum(rng.dirichlet(12 * np.asarray(SHARES), subjects), axis=1)
    truth = (rng.random(len(child))[:, None] > proportions[child, :-1]).sum(axis=1)
    seen = rng.random(len(child)) >= rng.beta(0.6, 11.4, subjects)[child]
    ability, leaning = rng.normal(0, 0.9, subjects), rng.normal(0, 0.5, (subjects, CLASSES))
    difficulty = rng.normal(0, 0.8, (len(child), CLASSES)) + leaning[child]
    probabilities = np.empty((2, len(child), CLASSES))
    counts = np.empty((subjects, 2, CLASSES, CLASSES + 1))
    for run, skills in enumerate(SKILLS):
        logits = difficulty + rng.normal(0, 0.6, (len(child), CLASSES))
        own = ability + rng.normal(0, 0.3, subjects)
        logits[np.arange(len(child)), truth] += easier + np.asarray(skills)[truth] + own[child]
        probabilities[run] = special.softmax(1.6 * logits, axis=1)
        predicted = np.where(seen, logits.argmax(axis=1), -1)
        counts[:, run] = scores.count_clips(truth, predicted, child, subjects, CLASSES)
    return Cohort(child, truth, seen, probabilities, counts)


def _portions(total: int, at_most: int) -> Iterator[int]:
    while total > 0:
        yield min(total, at_most)
        total -= at_most


def table(rows: Sequence[Row]) -> str:
    """Return coverage by score and method, a column per number of subjects, with percentages below and above."""
    sizes = sorted({row.subjects for row in rows})
    cells = defaultdict[tuple[str, str], dict[int, str]](dict)
    for row in rows:
        text = f"{row.coverage:.3f} ±{row.error:.3f} ({100 * row.below:.0f}|{100 * row.above:.0f})"
        text += f" none {row.undefined:.0%}" if row.undefined > 0.005 else ""
        cells[row.score, row.method][row.subjects] = text
    lines = [("score", "method", *(f"{size} subjects" for size in sizes))]
    lines += [(*key, *(columns.get(size, "-") for size in sizes)) for key, columns in cells.items()]
    return aligned(lines)


def main(arguments: Sequence[str]) -> int:
    """Measure coverage, print the table and write :data:`OUT`; the exit code is 2 for an unknown setting."""
    settings = {"draws": "2000", "seed": "0", "subjects": ",".join(map(str, SUBJECTS)), "easier": "0"}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name not in settings or not value.replace("." if name == "easier" else ",", "").isdigit():
            say(f"coverage: {argument}: expected draws=2000, seed=0, subjects=6,12, easier=0")
            return 2
        settings[name] = value
    draws, seed, easier = int(settings["draws"]), int(settings["seed"]), float(settings["easier"])
    began, truth = time.perf_counter(), population_scores(seed, easier)
    rows = []
    for size in map(int, settings["subjects"].split(",")):
        say(f"... {size} subjects ({time.perf_counter() - began:.0f} s)")
        rows += measure(size, draws, truth, seed=seed, easier=easier)
    print(table(rows))
    settings_used = {"draws": draws, "seed": seed, "easier": easier}
    write_json(OUT, {**settings_used, "truth": truth, "rows": [asdict(row) for row in rows]})
    say(f"{draws:,} cohorts of each size in {time.perf_counter() - began:.0f} s; {OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
