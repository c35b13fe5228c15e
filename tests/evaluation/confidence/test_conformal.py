import numpy as np
import pandas as pd
import pytest
from crepes import ConformalClassifier
from hypothesis import given
from hypothesis import strategies as st

from fer_id.evaluation.confidence.conformal import (
    INSUFFICIENT,
    conformal_scores,
    fewest_subjects,
    hierarchical_p_values,
    prediction_sets,
)
from fer_id.evaluation.groups.grouping import group_columns
from fer_id.evaluation.predictions import calibration_unit
from fer_id.labels import TARGET
from tests.evaluation.conftest import predictions_table


def crepes_p(calibration, scores):
    return ConformalClassifier().fit(calibration, seed=0).predict_p(scores, smoothing=False)


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_with_one_clip_a_child_the_p_values_are_those_of_crepes(children, seed):
    rng = np.random.default_rng(seed)
    calibration, scores = rng.integers(0, 20, children) / 20, rng.integers(0, 20, (9, 5)) / 20  # with ties
    ours = hierarchical_p_values(scores, calibration, [f"s{i}" for i in range(children)])
    np.testing.assert_allclose(ours, crepes_p(calibration, scores))


def test_the_p_values_are_the_mean_over_all_draws_of_one_clip_a_child():
    rng = np.random.default_rng(0)
    children = [rng.integers(0, 10, size) / 10 for size in (1, 2, 3, 4)]
    names = [f"s{i}" for i, clip_scores in enumerate(children) for _ in clip_scores]
    scores = rng.integers(0, 10, (6, 5)) / 10
    draws = np.stack(np.meshgrid(*children), axis=-1).reshape(-1, len(children))
    assert len(draws) == 24
    expected = np.mean([crepes_p(draw, scores) for draw in draws], axis=0)
    np.testing.assert_allclose(hierarchical_p_values(scores, np.concatenate(children), names), expected)


@pytest.mark.parametrize(("level", "needed"), [(0.9, 9), (0.8, 4), (0.95, 19), (0.5, 1)])
def test_fewer_children_than_the_level_needs_exclude_no_class(level, needed):
    assert fewest_subjects(level) == needed

    def lowest(children):
        return hierarchical_p_values(np.array([2.0]), np.zeros(children), [f"s{i}" for i in range(children)])[0]

    assert lowest(needed) <= 1 - level + 1e-12
    assert lowest(needed - 1) > 1 - level + 1e-12


def hierarchy(rng, children, clips, *, prefix, split):
    """Predictions of children who differ in accuracy and in their number of clips."""
    sizes = rng.integers(1, clips + 1, children)
    subject = np.repeat(np.arange(children), sizes)
    truth = rng.integers(5, size=len(subject))
    logits = rng.normal(size=(len(subject), 5))
    logits[np.arange(len(subject)), truth] += rng.normal(1.5, 1.0, children)[subject]
    return predictions_table(TARGET, truth, logits, [f"{prefix}{number}" for number in subject], split=split)


def judged(table, level=0.9):
    table_with_sets, children, why = prediction_sets(table, TARGET, level)
    return table_with_sets, *conformal_scores(table_with_sets, TARGET, children, why, level)


@pytest.mark.parametrize(
    ("children", "level"), [(9, 0.9), *(pytest.param(20, level, marks=pytest.mark.slow) for level in (0.9, 0.8))]
)
def test_coverage_for_new_children_is_at_its_level(children, level):
    rng = np.random.default_rng(children)
    coverage = []
    for _ in range(150):
        known = hierarchy(rng, children, 12, prefix="k", split="validation")
        new = hierarchy(rng, 20, 12, prefix="n", split="test")
        coverage.append(judged(pd.concat([known, new], ignore_index=True), level)[1]["subject_coverage"])
    error = np.std(coverage) / np.sqrt(len(coverage))
    assert np.mean(coverage) > level - 3 * error  # the theorem
    assert np.mean(coverage) < level + 1 / (children + 1) + 0.02 + 3 * error  # and no more cautious than it must be


def test_sets_for_new_sites_are_calibrated_over_sites():
    rng = np.random.default_rng(5)
    known = hierarchy(rng, 27, 10, prefix="k", split="validation")
    table = pd.concat([known, hierarchy(rng, 6, 10, prefix="n", split="test")], ignore_index=True)
    table["site"] = table["subject_id"].str[1:].astype(int) // 3
    by_site, sites, why = prediction_sets(table, TARGET, unit="site")
    renamed = table.assign(subject_id=table["site"].astype(str))
    assert (sites, why) == ({"holdout": 9}, {})
    assert by_site["set"].equals(prediction_sets(renamed, TARGET)[0]["set"])
    _, _, why = prediction_sets(table.assign(site=table["site"] // 2), TARGET, unit="site")
    assert why == {"holdout": "5 groups of site to calibrate on, sets of level 0.9 need 9 at least"}


@pytest.mark.parametrize(
    ("protocol", "unit"),
    [
        ({"name": "loso", "group": "site"}, "site"),
        ({"name": "loso", "group": "subject_id"}, "subject_id"),
        ({"name": "loso", "group": "elsewhere"}, "subject_id"),
        ({"name": "official", "group": "site"}, "subject_id"),
        ({}, "subject_id"),
    ],
)
def test_the_unit_is_what_the_protocol_leaves_out(protocol, unit):
    predictions = pd.DataFrame({"subject_id": ["a"], "site": ["b"]})
    assert calibration_unit({"protocol": protocol}, predictions) == unit


def test_sets_are_written_for_test_clips_with_a_prediction_only():
    rng = np.random.default_rng(5)
    known = hierarchy(rng, 12, 10, prefix="k", split="validation")
    new = hierarchy(rng, 6, 10, prefix="n", split="test")
    new.loc[0, ["predicted", *(c for c in new if c.startswith(("p_", "logit_")))]] = None
    new.loc[1, "label"] = None
    sets, conformal, reasons = judged(pd.concat([known, new], ignore_index=True))
    test = sets[sets["split"] == "test"].reset_index(drop=True)
    assert sets[sets["split"] != "test"]["set"].isna().all()
    assert test["set"].isna().tolist() == [True] + [False] * (len(test) - 1)
    assert group_columns(sets, TARGET) == []  # prediction sets are not a group column
    order = {name: place for place, name in enumerate(TARGET.names)}
    for text in test["set"].dropna():
        places = [order[name] for name in text.split("|") if name]
        assert places == sorted(set(places))
    counted = test.iloc[2:]
    sizes = np.array([len([name for name in text.split("|") if name]) for text in counted["set"]])
    holds = [label in text.split("|") for label, text in zip(counted["label"], counted["set"], strict=True)]
    assert conformal["n_clips"] == len(counted)
    assert conformal["coverage"] == pytest.approx(np.mean(holds))
    assert conformal["mean_size"] == pytest.approx(sizes.mean())
    assert conformal["singletons"] == pytest.approx((sizes == 1).mean())
    assert conformal["empty"] == pytest.approx((sizes == 0).mean())
    assert conformal["verdict"] == "ok"
    assert conformal["interval"] is not None or "conformal.interval" in reasons
    by_class = pd.Series(holds).groupby(counted["label"].to_numpy()).mean().to_dict()
    assert {name: row["coverage"] for name, row in conformal["per_class"].items()} == pytest.approx(by_class)


def test_too_few_children_are_insufficient_evidence_and_folds_with_enough_are_pooled():
    rng = np.random.default_rng(6)
    parts = []
    for fold, children in (("a", 8), ("b", 10)):
        for number, split in ((children, "validation"), (3, "test")):
            parts.append(hierarchy(rng, number, 6, prefix=f"{fold}{split}", split=split).assign(fold=fold))
    sets, conformal, reasons = judged(pd.concat(parts, ignore_index=True))
    assert conformal["n_subjects_calibration"] == {"a": 8, "b": 10}
    assert conformal["verdict"] == "ok"
    assert sets[sets["fold"] == "a"]["set"].isna().all()
    assert conformal["n_clips"] == ((sets["fold"] == "b") & (sets["split"] == "test")).sum()
    assert "8 subjects" in reasons["conformal.n_subjects_calibration.a"]
    few = pd.concat(parts[:2], ignore_index=True)
    _, conformal, reasons = judged(few)
    assert conformal["verdict"] == INSUFFICIENT
    nulls = [name for name, value in conformal if value is None]
    assert set(nulls) == {"coverage", "interval", "subject_coverage", "mean_size", "singletons", "empty", "per_class"}
    assert all(f"conformal.{name}" in reasons for name in nulls)
    _, conformal, reasons = judged(few[few["split"] == "test"])
    assert conformal["n_subjects_calibration"] == {"a": 0}
    assert conformal["verdict"] == INSUFFICIENT


def test_sets_do_not_depend_on_test_labels():
    rng = np.random.default_rng(7)
    known, new = (hierarchy(rng, 12, 8, prefix=s, split=s) for s in ("validation", "test"))
    before = judged(pd.concat([known, new], ignore_index=True))[0]["set"]
    after = judged(pd.concat([known, new.assign(label="neutral")], ignore_index=True))[0]["set"]
    pd.testing.assert_series_equal(before, after)
