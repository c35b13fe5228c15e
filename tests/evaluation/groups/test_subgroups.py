"""Scores by group against fairlearn and scikit-learn, and groups with few or no clips."""

import json

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, equalized_odds_difference
from sklearn import metrics as sk

from fer_id.errors import DataError
from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.groups.grouping import NOT_ASKED, group_columns
from fer_id.evaluation.groups.subgroups import compute_subgroups
from fer_id.evaluation.metrics import compute_metrics
from fer_id.files import plain
from fer_id.labels import TARGET
from fer_id.runs.records import Size


@pytest.fixture
def cohort(random_table) -> pd.DataFrame:
    """30 children: two genders, three degrees of severity, the first child alone in a site; contexts vary by clip."""
    table = random_table(TARGET, clips=600, subjects=30, seed=3)
    child = table["subject_id"].str[1:].astype(int)
    return table.assign(
        gender=np.where(child % 2 == 0, "female", "male"),
        severity=np.array(["mild", "moderate", "severe"])[child % 3],
        site=np.where(child == 0, "north", "south"),
        context=np.array(["home", "school"])[(np.arange(600) // 30) % 2],
        note=[f"seen at {second} s" for second in range(600)],
        intensity=0.5,
    )


def subgroups_of(table: pd.DataFrame, **breakdown) -> dict:
    return compute_subgroups(table, TARGET, Breakdown(**breakdown))[0]


def by_severity(table: pd.DataFrame, metrics) -> MetricFrame:
    groups = table["severity"]
    return MetricFrame(metrics=metrics, y_true=table["label"], y_pred=table["predicted"], sensitive_features=groups)


def test_point_scores_are_those_of_fairlearn_and_sklearn(cohort):
    groups = subgroups_of(cohort)["columns"]["severity"]["groups"]
    present = {"labels": list(TARGET.names), "average": "macro", "zero_division": 0}
    macro = {
        "macro_recall": lambda y, p: sk.recall_score(y, p, **present),
        "macro_f1": lambda y, p: sk.f1_score(y, p, **present),
    }
    frame = by_severity(cohort, macro | {"accuracy": sk.accuracy_score, "n_clips": lambda y, p: len(y)})
    for value, row in frame.by_group.iterrows():
        assert {name: groups[value][name] for name in row.index} == pytest.approx(row.to_dict())
    for value, rows in cohort.groupby("severity"):
        recalls = sk.recall_score(rows["label"], rows["predicted"], labels=list(TARGET.names), average=None)
        assert list(groups[value]["recall"].values()) == pytest.approx(recalls.tolist())
        whole = compute_metrics(rows, TARGET, "real")  # the group as a run of its own
        for name in ("ece", "adaptive_ece", "brier", "nll"):
            assert groups[value][name] == pytest.approx(whole["calibration"][name])
        assert groups[value]["n_subjects"] == whole["n_subjects"] == 10
        assert groups[value]["intervals"]["accuracy"] == pytest.approx(whole["intervals"]["accuracy"])
        assert groups[value]["intervals"]["recall.fear"] == pytest.approx(whole["intervals"]["per_class.fear.recall"])


def test_gap_ratio_and_equalised_odds_are_fairlearns(cohort):
    subgroups = subgroups_of(cohort)["columns"]["severity"]
    frame = by_severity(cohort, sk.accuracy_score)
    gap = subgroups["gaps"]["accuracy"]
    assert gap["gap"] == pytest.approx(frame.difference())
    assert gap["ratio"] == pytest.approx(frame.ratio())
    assert (gap["worst"], gap["best"]) == (frame.by_group.idxmin(), frame.by_group.idxmax())
    truth, predicted, groups = cohort["label"], cohort["predicted"], cohort["severity"]
    odds = {
        label: equalized_odds_difference(truth == label, predicted == label, sensitive_features=groups)
        for label in TARGET.names
    }
    assert subgroups["equalised_odds"]["gap"] == pytest.approx(max(odds.values()))
    assert subgroups["equalised_odds"]["label"] == max(odds, key=odds.__getitem__)


def test_columns_that_make_no_groups_are_left_out_with_the_reason(cohort):
    subgroups = subgroups_of(cohort.assign(ward="one", unknown=None))
    assert list(subgroups["columns"]) == ["gender", "severity", "site", "context"]
    assert subgroups["left_out"] == {
        "note": "600 values, and no more than 12 make groups",
        "ward": "all test clips are of one group",
        "unknown": "no test clip has a value",
    }
    assert "intensity" not in group_columns(cohort, TARGET)


def test_requested_columns_and_pairs_alone_are_broken_down(cohort):
    subgroups = subgroups_of(cohort, columns=["gender"], pairs=["severity:gender", "gender:note"])
    assert list(subgroups["columns"]) == ["gender", "severity x gender"]
    pair = subgroups["columns"]["severity x gender"]
    assert pair["of"] == ["severity", "gender"]
    rows = cohort[(cohort["severity"] == "mild") & (cohort["gender"] == "male")]
    assert pair["groups"]["mild x male"]["accuracy"] == pytest.approx((rows["label"] == rows["predicted"]).mean())
    note = "600 values, and no more than 12 make groups"
    unasked = dict.fromkeys(("severity", "site", "context"), NOT_ASKED)
    assert subgroups["left_out"] == {**unasked, "note": note, "gender x note": f"note: {note}"}


def test_unknown_columns_are_named_with_the_known_ones(cohort):
    with pytest.raises(DataError) as caught:
        subgroups_of(cohort, columns=["sevrity", "gender"], pairs=["gender:sight", "gender"])
    message = str(caught.value)
    for part in ("no group column 'sevrity'", "no group column 'sight'", "pairs=gender: expected two"):
        assert part in message
    assert "Known columns: gender, severity, site, context, note" in message


def test_a_group_of_one_subject_is_shown_without_interval_or_gap(cohort):
    subgroups, reasons = compute_subgroups(cohort, TARGET, Breakdown(columns=["site"]))
    north = subgroups["columns"]["site"]["groups"]["north"]
    assert (north["n_subjects"], north["n_clips"]) == (1, 20)
    assert north["intervals"]["accuracy"] is None
    assert "only one subject" in reasons["subgroups.columns.site.groups.north.intervals.accuracy"]
    gap = subgroups["columns"]["site"]["gaps"]["accuracy"]
    assert (gap["verdict"], gap["gap"], gap["p"]) == ("insufficient evidence", None, None)
    assert gap["reason"] == "fewer than two groups have 5 subjects with a prediction"


def test_all_predictions_of_one_class(cohort, table_from):
    truth = [i // 30 % 5 for i in range(600)]  # every child has four clips of each class
    table = table_from(TARGET, truth, np.tile([5.0, 0, 0, 0, 0], (600, 1)), cohort["subject_id"])
    table["gender"] = cohort["gender"]
    subgroups = subgroups_of(table)["columns"]["gender"]
    assert {group["accuracy"] for group in subgroups["groups"].values()} == {0.2}
    assert subgroups["groups"]["male"]["recall"] == dict.fromkeys(TARGET.names, 0.0) | {"happy": 1.0}
    assert subgroups["gaps"]["accuracy"]["gap"] == 0
    assert subgroups["gaps"]["accuracy"]["verdict"] == "insufficient evidence"
    assert subgroups["equalised_odds"]["gap"] == 0


def test_absent_values_are_null_with_their_reason_and_never_0(cohort):
    table = cohort[(cohort["severity"] != "severe") | (cohort["label"] != "fear")].reset_index(drop=True)
    table.loc[table["severity"] == "mild", "predicted"] = None
    table.loc[table["severity"] == "mild", [c for c in table if str(c).startswith(("p_", "logit_"))]] = np.nan
    extra = table.iloc[:1].assign(split="validation", severity="profound")
    table = pd.concat([table, extra], ignore_index=True)
    subgroups, reasons = compute_subgroups(table, TARGET, Breakdown(columns=["severity"], pairs=["severity:site"]))
    json.dumps(subgroups.model_dump(), allow_nan=False)
    assert plain(subgroups.model_dump()) == subgroups.model_dump()
    groups = subgroups["columns"]["severity"]["groups"]
    place = "subgroups.columns.severity.groups"
    assert groups["severe"]["recall"]["fear"] is None
    assert reasons[f"{place}.severe.recall.fear"] == "no clip of class fear has a prediction"
    assert (groups["mild"]["accuracy"], groups["mild"]["abstention"]) == (None, 1.0)
    assert reasons[f"{place}.mild.accuracy"] == "no labelled test clip with a prediction"
    assert (groups["profound"]["n_clips"], groups["profound"]["abstention"]) == (0, None)
    assert reasons[f"{place}.profound.accuracy"] == "no labelled test clip"
    pair = subgroups["columns"]["severity x site"]["groups"]
    assert pair["severe x north"]["accuracy"] is None
    assert set(pair) == {f"{a} x {b}" for a in groups for b in ("north", "south")}

    def nulls(value, name):
        if isinstance(value, dict):
            return [null for key, item in value.items() for null in nulls(item, f"{name}.{key}")]
        return [name] if value is None else []

    for column, entry in subgroups["columns"].items():
        for name in nulls(entry["groups"], f"subgroups.columns.{column}.groups"):
            assert name in reasons, name


def test_flagged_and_missing_clips_abstain(cohort):
    table = cohort.assign(flagged=(cohort["gender"] == "male") & (np.arange(600) < 300))
    groups = subgroups_of(table)["columns"]["gender"]["groups"]
    assert groups["male"]["abstention"] == 0.5
    assert groups["female"]["abstention"] == 0


def test_calibrated_probabilities_are_taken_where_all_have_them(cohort):
    q = [f"q_{name}" for name in TARGET.names]
    even = cohort.assign(**dict.fromkeys(q, 0.2))
    assert subgroups_of(cohort)["probabilities"] == "raw"
    subgroups = subgroups_of(even, columns=["gender"])
    assert subgroups["probabilities"] == "calibrated"
    male = subgroups["columns"]["gender"]["groups"]["male"]
    assert male["ece"] == pytest.approx(abs(male["accuracy"] - 0.2))
    even.loc[0, q] = None
    assert subgroups_of(even)["probabilities"] == "raw"


def test_a_child_in_several_contexts_is_in_each_of_them(cohort):
    subgroups = subgroups_of(cohort)["columns"]
    assert subgroups["context"]["varies"] == "within subjects"
    assert subgroups["gender"]["varies"] == "between subjects"
    assert {group["n_subjects"] for group in subgroups["context"]["groups"].values()} == {30}


def test_clips_without_a_value_are_counted_apart(cohort):
    table = cohort.assign(gender=cohort["gender"].where(cohort["subject_id"] != "s0001", " "))
    subgroups = subgroups_of(table)["columns"]["gender"]
    assert subgroups["in_no_group"] == Size(n_clips=20, n_subjects=1)
    assert subgroups["groups"]["male"]["n_subjects"] == 14


def test_validation_and_unlabelled_clips_are_not_judged_and_order_does_not_matter(cohort):
    more = cohort.assign(split="validation", predicted="happy")
    unlabelled = cohort.assign(clip_id="u" + cohort["clip_id"], label=None)
    expected = compute_subgroups(cohort, TARGET, Breakdown())
    mixed = pd.concat([more, unlabelled, cohort]).sample(frac=1, random_state=0)
    subgroups = compute_subgroups(mixed, TARGET, Breakdown())
    assert subgroups[1] == expected[1]
    for column, entry in expected[0]["columns"].items():
        again = subgroups[0]["columns"][column]
        assert again["gaps"] == entry["gaps"]
        for value, group in entry["groups"].items():
            assert again["groups"][value]["intervals"] == group["intervals"]
            assert again["groups"][value]["ece"] == pytest.approx(group["ece"])


def test_the_p_of_a_column_does_not_depend_on_other_columns(cohort):
    alone = subgroups_of(cohort, columns=["gender"])["columns"]["gender"]["gaps"]
    beside = subgroups_of(cohort)["columns"]["gender"]["gaps"]
    assert {score: gap["p"] for score, gap in alone.items()} == {score: gap["p"] for score, gap in beside.items()}


def test_without_a_judged_clip_there_are_no_groups(cohort):
    subgroups = subgroups_of(cohort.assign(label=None))
    assert subgroups["columns"] == {}
    assert subgroups["left_out"]["gender"] == "no test clip has a value"
