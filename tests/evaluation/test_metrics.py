import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from fer_id.errors import DataError
from fer_id.evaluation.metrics import compute_metrics
from fer_id.files import plain
from fer_id.labels import FER7, TARGET
from fer_id.reporting.words import summary

NAMES = np.array(TARGET.names)


@st.composite
def predicted_clips(draw):
    """Draw few clips of few classes, so that absent, never predicted and tied cases are common."""
    n = draw(st.integers(1, 30))
    truth = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    row = st.lists(st.integers(-3, 3), min_size=5, max_size=5)
    logits = np.array(draw(st.lists(row, min_size=n, max_size=n)), float)
    subjects = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    return truth, logits, subjects


@settings(max_examples=15)
@given(predicted_clips())
def test_metrics_equal_sklearn(table_from, clips):
    truth, logits, subjects = clips
    table = table_from(TARGET, truth, logits, subjects)
    metrics = compute_metrics(table, TARGET, "synthetic")
    y, predicted = table["label"], table["predicted"]
    present = sorted(set(y))
    average = {"labels": present, "average": "macro", "zero_division": 0}

    assert metrics["accuracy"] == pytest.approx(sk.accuracy_score(y, predicted))
    assert metrics["macro_precision"] == pytest.approx(sk.precision_score(y, predicted, **average))
    assert metrics["macro_recall"] == pytest.approx(sk.recall_score(y, predicted, **average))
    assert metrics["macro_f1"] == pytest.approx(sk.f1_score(y, predicted, **average))
    assert metrics["confusion_matrix"] == sk.confusion_matrix(y, predicted, labels=list(NAMES)).tolist()
    for name, cells in zip(NAMES, sk.multilabel_confusion_matrix(y, predicted, labels=list(NAMES)), strict=True):
        row, (true_negatives, false_positives) = metrics["per_class"][name], cells[0]
        assert row["support"] == (y == name).sum()
        if true_negatives + false_positives:
            assert row["specificity"] == pytest.approx(true_negatives / (true_negatives + false_positives))
        if 0 < (y == name).sum() < len(y):
            assert row["auc"] == pytest.approx(sk.roc_auc_score(y == name, table[f"p_{name}"]))


@given(predicted_clips(), st.sets(st.integers(0, 29)))
def test_every_null_has_its_reason_and_the_rest_is_strict_json(table_from, clips, missing):
    truth, logits, subjects = clips
    table = table_from(TARGET, truth, logits, subjects, missing=[row for row in missing if row < len(truth)])
    metrics = compute_metrics(table, TARGET, "synthetic").model_dump(exclude_unset=True)
    json.dumps(metrics, allow_nan=False)
    assert plain(metrics) == metrics

    reasons = metrics["reasons"]
    for name, value in metrics.items():
        if value is None:
            assert name in reasons
    for label, row in metrics["per_class"].items():
        for score, value in row.items():
            assert (value is None) == (f"per_class.{label}.{score}" in reasons)
    for name, interval in metrics["intervals"].items():
        assert (interval is None) == (f"intervals.{name}" in reasons)


def test_auc_is_the_macro_mean_over_the_classes_that_occur(random_table):
    table = random_table(FER7, clips=400)
    table = table[table["label"] != "disgust"]
    metrics = compute_metrics(table, FER7, "real")
    others = [name for name in FER7.names if name != "disgust"]
    by_class = [sk.roc_auc_score(table["label"] == name, table[f"p_{name}"]) for name in others]
    assert metrics["auc"] == pytest.approx(np.mean(by_class))
    assert metrics["per_class"]["disgust"]["auc"] is None
    assert "no test clip" in metrics["reasons"]["per_class.disgust.auc"]


def test_a_class_never_predicted_has_f1_0_and_an_undefined_precision(table_from):
    logits = np.tile([5.0, 0, 0, 0, 0], (4, 1))
    metrics = compute_metrics(table_from(TARGET, [0, 0, 1, 1], logits, list("aabb")), TARGET, "real")
    assert metrics["per_class"]["sad"]["f1"] == 0
    assert metrics["per_class"]["sad"]["precision"] is None
    assert metrics["reasons"]["per_class.sad.precision"] == "sad was never predicted; counts as 0 in the macro mean"
    assert metrics["macro_precision"] == pytest.approx(0.25)
    assert metrics["per_class"]["fear"]["f1"] is None


def test_clips_without_a_face_or_a_label_are_counted(table_from):
    logits = np.eye(5)[[0, 1, 2, 3, 0]] * 9
    metrics = compute_metrics(table_from(TARGET, [0, 1, 2, 0, -1], logits, list("aabbb"), missing=[1]), TARGET, "real")
    assert (metrics["n_clips"], metrics["n_missing"], metrics["n_unlabelled"]) == (4, 1, 1)
    assert metrics["coverage"] == 0.75
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["accuracy_with_missing"] == 0.5
    assert sum(map(sum, metrics["confusion_matrix"])) == 3
    shares = dict.fromkeys(("accuracy", "macro_recall", "macro_f1"), 1.0)
    assert metrics.per_subject["a"].model_dump() == {"n_clips": 2, "n_missing": 1, **shares}


def test_clips_without_an_own_baseline_are_counted_where_the_model_subtracts_one(table_from):
    table = table_from(TARGET, [0, 1, 2, 0, -1], np.eye(5)[[0, 1, 2, 3, 0]] * 9, list("aabbb"), missing=[1])
    table["no_baseline"] = [True, True, False, True, True]  # the second has no face at all, the last no label
    metrics = compute_metrics(table, TARGET, "real")
    assert metrics["n_no_baseline"] == 2
    assert "2 clips with a single frame" in " ".join(summary(metrics, people=True))
    assert compute_metrics(table.drop(columns="no_baseline"), TARGET, "real")["n_no_baseline"] is None


def test_only_test_rows_are_judged_and_folds_are_pooled(random_table):
    first, second = random_table(TARGET, seed=1), random_table(TARGET, seed=2)
    folds = pd.concat([first.assign(fold="1"), second.assign(fold="2")])
    with_validation = pd.concat([folds, first.assign(fold="2", split="validation", predicted="happy")])
    metrics = compute_metrics(folds, TARGET, "real")
    assert compute_metrics(with_validation, TARGET, "real") == metrics
    assert metrics["n_clips"] == 240
    assert metrics["accuracy"] == pytest.approx((folds["label"] == folds["predicted"]).mean())


def test_without_a_labelled_clip_everything_is_null(random_table):
    metrics = compute_metrics(random_table(TARGET).assign(label=None), TARGET, "real")
    assert metrics["accuracy"] is None
    assert metrics["reasons"]["accuracy"] == "no labelled test clip"
    assert metrics["n_unlabelled"] == 120


def test_the_order_of_rows_does_not_matter(random_table):
    table = random_table(TARGET, clips=600, subjects=50)
    shuffled = compute_metrics(table.sample(frac=1, random_state=3), TARGET, "real")
    metrics = compute_metrics(table, TARGET, "real")
    assert shuffled["calibration"]["ece"] == pytest.approx(metrics["calibration"]["ece"])  # a sum in another order
    assert shuffled.model_copy(update={"calibration": metrics.calibration}) == metrics


def test_missing_columns_are_listed_together(random_table):
    with pytest.raises(DataError) as caught:
        compute_metrics(random_table(TARGET).drop(columns=["subject_id", "p_fear", "logit_sad"]), TARGET, "real")
    assert all(f"column {name} is missing" in str(caught.value) for name in ("subject_id", "p_fear", "logit_sad"))


def test_contradictions_of_the_contract_are_listed_together(random_table):
    table = random_table(TARGET)
    contradictions = [
        ("logit_happy", np.nan, "a logit is NaN"),
        ("p_happy", table.loc[1, "p_happy"] + 0.5, "do not sum to 1 in 1 of 120 rows (first clips: clip00001)"),
        ("p_sad", np.inf, "p_<class> is NaN or infinite"),
        ("label", "contempt", "label is no class of target5 ('contempt')"),
        ("predicted", "joy", "predicted is no class of target5 ('joy')"),
        ("split", "train", "split is none of test, validation"),
        ("subject_id", None, "subject_id is empty"),
        ("clip_id", table.loc[8, "clip_id"], "occurs twice"),
        ("predicted", None, "probabilities but no predicted class"),
    ]
    for row, (column, value, _) in enumerate(contradictions):
        table.loc[row, column] = value
    with pytest.raises(DataError) as caught:
        compute_metrics(table, TARGET, "real")
    for _, _, message in contradictions:
        assert message in str(caught.value)


def test_text_among_the_probabilities_is_refused(random_table):
    table = random_table(TARGET).astype({"p_sad": object})
    table.loc[3, "p_sad"] = "high"
    with pytest.raises(DataError, match="NaN or infinite in 1 of 120 rows"):
        compute_metrics(table, TARGET, "real")


def test_an_unknown_provenance_is_refused(random_table):
    with pytest.raises(DataError, match="provenance 'made up'"):
        compute_metrics(random_table(TARGET), TARGET, "made up")
