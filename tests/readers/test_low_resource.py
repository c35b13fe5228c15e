"""Leave-one-child-out in cohorts of a few children: who learns from whom, values, and resuming."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from fer_id.readers import study as studies
from fer_id.readers.low_resource import divide, learning_curve, leave_one_out


@given(draws=st.integers(1, 4), seed=st.integers(0, 99), more=st.integers(0, 5))
def test_cohorts_of_each_size_have_the_same_children_once(draws, seed, more):
    children = [f"c{number:03d}" for number in range(12 * draws + more)]
    cohorts = divide([*children, *children], [3, 6, 12], draws, seed)
    assert {size: len(of) for size, of in cohorts.items()} == {3: 4 * draws, 6: 2 * draws, 12: draws}
    flat = {size: [child for cohort in of for child in cohort] for size, of in cohorts.items()}
    assert all(sorted(of) == sorted(flat[12]) for of in flat.values())
    assert len(set(flat[12])) == 12 * draws
    assert divide(children[::-1], [3, 6, 12], draws, seed) == cohorts
    with pytest.raises(ValueError, match="expected at least"):
        divide(children[: 12 * draws - 1], [3, 12], draws, seed)


def test_a_child_left_out_is_neither_learned_from_nor_validated_on(study):
    children = ["s6", "s7", "s8"]
    folds = leave_one_out(study, children, 0)
    assert [set(fold.labelled("test")["subject_id"]) for fold in folds] == [{child} for child in children]
    for fold in folds:
        parts = [set(fold.labelled(split)["subject_id"]) for split in ("train", "validation", "test")]
        assert sorted(child for part in parts for child in part) == children
        assert len(fold.clips) == len(fold.features.values) == 30
    assert len({fold.folder for fold in folds}) == 3


def test_the_curve_is_the_macro_recall_of_the_pooled_children(study, monkeypatch):
    study.fit(["set", "lstm"], [0, 1])
    curve = learning_curve(study, ["set", "lstm"], [3], 1, [0, 1])
    folds, names = leave_one_out(study, ["s6", "s7", "s8"], 0), study.labels.names
    pooled = pd.concat([fold.predictions("set", 0).query("split == 'test'") for fold in folds])
    assert len(pooled) == 30
    expected = recall_score(pooled["label"], pooled["predicted"].fillna("none"), average="macro", labels=names)
    assert curve.estimates["set"][3].value == pytest.approx(expected)
    assert curve.estimates["set"][3].clusters == 3
    assert curve.estimates["lstm"][3].trainings == 1
    right = study.right("lstm", [0, 1], "test")
    truth = study.labelled("test")["label"].to_numpy()
    by_class = [right[:, truth == name].mean() for name in names]
    assert curve.full["lstm"].value == pytest.approx(np.mean(by_class))
    assert (curve.learned, curve.cohorts) == (4, {3: 1})
    monkeypatch.setattr(studies, "_fitted", None)
    assert learning_curve(study, ["set"], [3], 1, [0, 1]).estimates["set"] == curve.estimates["set"]
