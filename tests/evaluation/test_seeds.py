"""Scores over several seeds against each run's own metrics, scipy's tests and an example by hand."""

import numpy as np
import pytest
from scipy import stats

from fer_id.evaluation.metrics import compute_metrics
from fer_id.evaluation.paired import compare_runs, holm, sign_flip
from fer_id.evaluation.predictions import judge
from fer_id.evaluation.seeds import contrast, mean_scores
from fer_id.labels import TARGET


def test_one_seed_equals_the_metrics_of_its_run(random_table):
    table = random_table(TARGET, clips=200, subjects=8)
    metrics, estimates = compute_metrics(table, TARGET, "synthetic"), mean_scores([judge(table, TARGET)], len(TARGET))
    for name in ("accuracy", "macro_precision", "macro_recall", "macro_f1", "auc"):
        assert estimates[name].value == pytest.approx(metrics[name])
        assert estimates[name].interval.low == pytest.approx(metrics["intervals"][name]["low"])
        assert estimates[name].spread is None
    for index, label in enumerate(TARGET.names):
        assert estimates[f"recall.{index}"].value == pytest.approx(metrics["per_class"][label]["recall"])


def test_several_seeds_are_averaged_and_the_interval_is_still_over_subjects(random_table):
    tables = [random_table(TARGET, clips=200, subjects=8, seed=seed) for seed in range(3)]
    for table in tables[1:]:  # another training predicts otherwise on the same clips
        table[["label", "subject_id"]] = tables[0][["label", "subject_id"]]
    metrics = [compute_metrics(table, TARGET, "synthetic") for table in tables]
    estimates = mean_scores([judge(table, TARGET) for table in tables], len(TARGET))
    accuracies = [run["accuracy"] for run in metrics]
    assert estimates["accuracy"].value == pytest.approx(np.mean(accuracies))
    assert estimates["accuracy"].spread == pytest.approx(np.std(accuracies, ddof=1))
    assert estimates["auc"].value == pytest.approx(np.mean([run["auc"] for run in metrics]))
    assert estimates["accuracy"].interval.n_subjects == 8
    doubled = mean_scores([judge(table, TARGET) for table in [*tables, *tables]], len(TARGET))
    assert doubled["accuracy"].interval.low == pytest.approx(estimates["accuracy"].interval.low)


def test_a_contrast_is_paired_by_subject(random_table):
    worse, better = (random_table(TARGET, clips=240, subjects=9, skill=skill) for skill in (1.0, 2.5))
    better[["label", "subject_id"]] = worse[["label", "subject_id"]]
    ours, theirs = judge(better, TARGET), judge(worse, TARGET)
    difference = contrast([ours], [theirs], len(TARGET))
    paired = compare_runs(ours, theirs, len(TARGET)).differences["accuracy_with_missing"]
    assert (difference.value, difference.interval) == (pytest.approx(paired.value), paired.interval)
    opposite = contrast([theirs], [ours], len(TARGET))
    assert (opposite.value, opposite.p) == (pytest.approx(-difference.value), pytest.approx(difference.p))


def test_the_sign_test_agrees_with_t_where_subjects_are_many():
    gains = np.random.default_rng(0).normal(0.2, 1, 200)
    assert sign_flip(gains, np.zeros(200)) == pytest.approx(stats.ttest_1samp(gains, 0).pvalue, abs=0.01)


def test_holm_by_hand():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "none": float("nan"), "d": 0.5})
    assert {name: adjusted[name] for name in "abcd"} == pytest.approx({"a": 0.04, "b": 0.09, "c": 0.09, "d": 0.5})
    assert np.isnan(adjusted["none"])
