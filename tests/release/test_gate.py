"""The release gate passes a record within all bounds of the policy, and gives every reason to refuse another."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.evaluation.groups.grouping import NOT_ASKED
from fer_id.release.evidence import Record
from fer_id.release.gate import judge_release
from fer_id.reporting.result_shapes import Explanation
from fer_id.runs.job import Job, Store
from fer_id.runs.metrics import Metrics
from tests.release.conftest import a_policy, column, good_explanation, good_metrics, interval, with_changes

Make = Callable[..., Record]
IMAGES = {"store": Store(fingerprint="f00d", shard_by="split", provenance="real")}


def spoilt(**changed: Any) -> dict[str, Any]:
    """Return good metrics with other values under dotted names (``__`` for the dot)."""
    metrics = good_metrics()
    for dotted, value in changed.items():
        *way, last = dotted.split("__")
        place = metrics
        for step in way:
            place = place[step]
        place[last] = value
    return metrics


def test_a_record_within_all_bounds_passes(make_record: Make) -> None:
    assert judge_release(make_record(), a_policy()) == ([], ())


def test_pictures_of_a_benchmark_leave_as_weights_to_start_from_alone(make_record: Make) -> None:
    """Without groups, which the pictures do not name, and with views, which a run computes itself."""
    views = {"trainer": {"test_views": "ten", "precision": "32"}}
    run = make_record(job=IMAGES, metrics=spoilt(subgroups=None), config=views)
    weights = a_policy(kind="pretrained", groups=[])
    assert judge_release(run, weights).reasons == []
    assert any("policy=fer2013" in reason for reason in judge_release(run, a_policy()).reasons)
    (people,) = judge_release(make_record(), weights).reasons
    assert "clips of people" in people
    (parent,) = judge_release(with_changes(run, job={"parents": ["runs/a/b"]}), weights).reasons
    assert "started from another run (runs/a/b)" in parent
    (file,) = judge_release(with_changes(run, config={"model": {"weights": "w.pt"}}), weights).reasons
    assert "started from a file of weights (model.weights)" in file
    assert any("leave evidence= out" in reason for reason in judge_release(run, weights, run).reasons)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (spoilt(n_subjects=11), "judged on 11 subjects, expected 12 at least"),
        (spoilt(intervals__accuracy=interval(0.49)), "accuracy may be as low as 0.490, expected 0.5"),
        (spoilt(intervals__accuracy=None), "the interval of its accuracy: not measured; run fer-id evaluate"),
        (spoilt(calibration__calibrated=None), "its calibration (ECE after a temperature): not measured"),
        (spoilt(calibration__calibrated__ece=0.16), "calibrated ECE 0.160, expected 0.15 at most"),
        (spoilt(calibration__temperatures={}), "its temperature: not measured"),
        (spoilt(review=None), "its threshold of review: not measured; run fer-id evaluate runs/site/final"),
        (
            spoilt(review__risk=0.3),
            "chosen for a risk of 0.3, expected 0.2 at most; run fer-id evaluate runs/site/final",
        ),
        (spoilt(subgroups__columns={}), "groups of severity: not measured"),
        (
            spoilt(subgroups__columns={"severity": column(mild=0.7, severe=0.29)}),
            "severity severe: its accuracy may be as low as 0.290, expected 0.3 of any group",
        ),
        (
            spoilt(subgroups__columns={"severity": column(gap=0.3, verdict="gap", mild=0.7, severe=0.6)}),
            "severity: accuracy differs by 0.300 between mild and severe (gap), expected 0.25 at most",
        ),
        (
            spoilt(subgroups__columns={"severity": column(gap=0.3, mild=0.7, severe=0.6)}),
            "severity: accuracy differs by 0.300 between mild and severe (no gap shown), expected 0.25 at most",
        ),
        (
            spoilt(subgroups__columns={"severity": column(gap=None, mild=None, severe=None)}),
            "groups of severity: insufficient evidence, in no group were enough children judged",
        ),
        (
            spoilt(subgroups__columns={"severity": column(verdict="insufficient evidence", mild=0.7, severe=0.6)}),
            "groups of severity: nothing is shown of the gap between them (insufficient evidence)",
        ),
        (
            spoilt(subgroups__columns={"severity": column(mild=0.45, severe=0.4)}),
            "groups of severity: it is fit for none of them",
        ),
    ],
)
def test_a_number_out_of_bounds_is_a_reason(make_record: Make, metrics: dict[str, Any], message: str) -> None:
    reasons = judge_release(make_record(metrics=metrics), a_policy()).reasons
    assert any(message in reason for reason in reasons), reasons


def test_nothing_measured_is_a_reason_for_each_bound_and_no_crash(make_record: Make) -> None:
    reasons = judge_release(make_record(metrics={}, explanation=None, done=False, job=Job()), a_policy()).reasons
    words = ("DONE", "inner validation", "temperature", "review", "provenance", "subjects", "accuracy", "calibration")
    for word in (*words, "subgroups", "where it looks"):
        assert any(word in reason for reason in reasons), word


def test_missing_subgroups_and_review_have_reasons_of_their_own(make_record: Make) -> None:
    metrics = good_metrics()
    del metrics["subgroups"], metrics["review"]
    reasons = judge_release(make_record(metrics=metrics), a_policy()).reasons
    assert len(reasons) == 2
    assert all("not measured; run fer-id evaluate" in reason for reason in reasons)


def test_the_stated_reason_of_a_null_metric_is_passed_on(make_record: Make) -> None:
    metrics = spoilt(calibration__temperatures={}) | {
        "reasons": {"calibration.temperatures.holdout": "12 labelled clips of inner validation, expected 20 at least"}
    }
    reasons = judge_release(make_record(metrics=metrics), a_policy()).reasons
    assert reasons == ["its temperature: 12 labelled clips of inner validation, expected 20 at least"]


def test_a_null_threshold_of_review_passes(make_record: Make) -> None:
    assert not judge_release(make_record(metrics=spoilt(review__thresholds={"holdout": None})), a_policy()).reasons


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"done": False}, "not finished (no DONE)"),
        ({"folds": ("runs/site/final/folds/s1",)}, "is a cross-validation: 1 models"),
        ({"job": {"clips": {"train": 10, "validation": 0, "test": 10}}}, "no inner validation"),
        ({"job": {"mode": "transductive"}}, "was judged transductive"),
        ({"job": {"mode": "personalised"}}, "was judged personalised"),
        ({"job": {"store": Store(fingerprint="f00d", shard_by="split")}}, "not on children"),
        ({"config": {"trainer": {"test_views": "ten"}}}, "test_views=ten"),
    ],
)
def test_only_a_finished_single_training_that_was_judged_as_it_will_be_used_is_released(
    make_record: Make, changed: dict[str, Any], message: str
) -> None:
    (reason,) = judge_release(make_record(**changed), a_policy()).reasons
    assert message in reason


def test_refusing_a_cross_validation_names_a_training_to_release_instead(make_record: Make) -> None:
    temperatures = {"s1": 1.1, "s2": 0.9}
    metrics = spoilt(calibration__temperatures=temperatures, review__thresholds=dict.fromkeys(temperatures))
    loso = make_record(path="runs/site/loso", folds=("runs/site/loso/folds/s1",), metrics=metrics)
    (reason,) = judge_release(loso, a_policy()).reasons
    assert "fer-id release RUN evidence=runs/site/loso" in reason
    assert "runs/site/loso/folds/s1" in reason


@pytest.mark.parametrize("provenance", ["synthetic", "simulated"])
def test_drawn_and_simulated_data_allow_a_demonstration_only(make_record: Make, provenance: str) -> None:
    record = make_record(metrics=good_metrics(provenance))
    (reason,) = judge_release(record, a_policy()).reasons
    assert "demonstration or not at all" in reason
    assert not judge_release(record, a_policy(kind="demonstration")).reasons


def test_real_children_are_no_demonstration(make_record: Make) -> None:
    (reason,) = judge_release(make_record(), a_policy(kind="demonstration")).reasons
    assert "provenance real" in reason


def test_a_demonstration_keeps_its_bounds(make_record: Make) -> None:
    record = make_record(metrics=good_metrics("synthetic"))
    assert judge_release(record, a_policy(kind="demonstration", min_subjects=30)).reasons


@pytest.mark.parametrize("setting", ["education", "workplace"])
@pytest.mark.parametrize(
    ("exception", "record", "passes"),
    [("none", "", False), ("none", "board, 2026", False), ("medical", " ", False), ("safety", "board, 2026", True)],
)
def test_schools_and_workplaces_need_a_recorded_exception(
    make_record: Make, setting: str, exception: str, record: str, passes: bool
) -> None:
    policy = a_policy(setting=setting, exception=exception, exception_record=record)
    reasons = judge_release(make_record(), policy).reasons
    assert (not reasons) is passes
    assert passes or "Art. 5(1)(f)" in reasons[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"leakage": {"value": 1.0, "low": 0.8, "high": 1.2, "reason": None}}, "leakage may be as high as 1.200"),
        ({"leakage": {"value": 0.5, "low": None, "high": None, "reason": "one subject"}}, "no interval (one subject)"),
        ({"checks": {}}, "check randomisation: not made"),
        ({"checks": {"random everything": {"passed": True}, "stability": {"passed": None}}}, "stability: undecided"),
        ({"failed": ["insertion"]}, "check insertion: failed"),
    ],
)
def test_failed_checks_and_high_leakage_are_reasons(make_record: Make, changed: dict[str, Any], message: str) -> None:
    reasons = judge_release(make_record(explanation=good_explanation() | changed), a_policy()).reasons
    assert any(message in reason for reason in reasons), reasons


def test_groups_below_the_bound_or_unknown_are_named(make_record: Make) -> None:
    columns = {
        "severity": column(mild=0.7, moderate=0.45, severe=None),
        "severity x context": column(gap=None, **{"mild, home": 0.45, "severe, home": None}),
    }
    metrics = spoilt(subgroups__columns=columns, provenance="simulated")
    verdict = judge_release(make_record(metrics=metrics), a_policy(kind="demonstration"))
    assert not verdict.reasons
    assert [(entry.column, entry.group) for entry in verdict.unfit] == [
        ("severity", "moderate"),
        ("severity", "severe"),
        ("severity x context", "mild, home"),
    ]
    assert "as low as 0.45" in str(verdict.unfit[0])
    assert "insufficient evidence" in str(verdict.unfit[1])


def test_no_number_of_a_group_outside_the_public_view_is_disclosed(make_record: Make) -> None:
    """Two of three groups are hidden: the smallest, and a second one, or the first would follow from the total."""
    few = column(mild=0.7, moderate=0.41, severe=0.42)
    few["groups"]["severe"] |= {"n_subjects": 3, "n_clips": 30}
    few["groups"]["moderate"] |= {"n_subjects": 5, "n_clips": 50}
    verdict = judge_release(make_record(metrics=spoilt(subgroups__columns={"severity": few})), a_policy())
    assert [entry.group for entry in verdict.unfit] == ["moderate", "severe"]
    assert not any(number in str(entry) for entry in verdict.unfit for number in ("0.41", "0.42"))
    disclosed = column(mild=0.7, moderate=0.41)
    verdict = judge_release(make_record(metrics=spoilt(subgroups__columns={"severity": disclosed})), a_policy())
    assert "as low as 0.41" in str(verdict.unfit[0])


def test_an_interval_of_too_few_children_does_not_count(make_record: Make) -> None:
    few = column(mild=0.7, severe=0.9)
    few["groups"]["severe"]["n_subjects"] = 4
    verdict = judge_release(make_record(metrics=spoilt(subgroups__columns={"severity": few})), a_policy())
    assert [entry.group for entry in verdict.unfit] == ["severe"]
    lenient = spoilt(subgroups__columns={"severity": few}, subgroups__min_subjects=2)
    assert [entry.group for entry in judge_release(make_record(metrics=lenient), a_policy()).unfit] == ["severe"]


def test_a_column_left_out_of_the_evaluation_is_a_reason(make_record: Make) -> None:
    metrics = spoilt(subgroups__left_out={"gender": NOT_ASKED, "ward": "all test clips are of one group"})
    verdict = judge_release(make_record(metrics=metrics), a_policy())
    assert verdict.reasons == ["groups of gender: not asked for; run fer-id evaluate again without groups="]


class TestEvidence:
    """Runs trained for use, with a cross-validation as evidence."""

    def loso(self, record: Record, **changed: Any) -> Record:
        everybody = sorted(record.job.learned_from)
        config = record.config | {"protocol": {"name": "loso", "mode": "inductive"}, "name": "site/loso"}
        job = record.job.model_copy(update={"subjects": dict.fromkeys(("train", "validation", "test"), everybody)})
        made = replace(record, path="runs/site/loso", config=config, job=job, folds=("a", "b"))
        if "metrics" in changed:
            changed["metrics"] = Metrics.model_validate(changed["metrics"])
        return with_changes(made, **changed)

    def test_its_numbers_count(self, make_record: Make) -> None:
        weak = make_record(metrics=spoilt(n_subjects=2, intervals__accuracy=None))
        assert judge_release(weak, a_policy()).reasons
        assert not judge_release(weak, a_policy(), self.loso(make_record())).reasons

    def test_temperature_and_threshold_are_those_of_the_weights(self, make_record: Make) -> None:
        weak = make_record(metrics=spoilt(review=None, calibration__temperatures={}))
        assert len(judge_release(weak, a_policy(), self.loso(make_record())).reasons) == 2

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"done": False}, "runs/site/loso is not finished"),
            ({"folds": ()}, "is a single training, of other weights"),
            ({"config": {"optim": {"lr": 0.1}}}, "was trained with other settings than runs/site/final: optim.lr"),
            ({"config": {"protocol": {"mode": "inductive", "train_groups": 3}}}, "protocol.train_groups"),
            ({"config": {"protocol": {"mode": "inductive", "at_most": 3}}}, "protocol.at_most"),
            ({"job": {"store": Store(fingerprint="beef")}}, "another store"),
            ({"metrics": spoilt(n_subjects=3)}, "3 subjects"),
        ],
    )
    def test_it_is_a_finished_cross_validation_of_the_same_settings_and_store_and_its_numbers_count(
        self, make_record: Make, changed: dict[str, Any], message: str
    ) -> None:
        (reason,) = judge_release(make_record(), a_policy(), self.loso(make_record(), **changed)).reasons
        assert message in reason

    def test_weights_that_learned_from_fewer_are_another_model(self, make_record: Make) -> None:
        job = self.loso(make_record()).job
        more = job.subjects | {"test": sorted(job.tested | make_record().job.tested)}
        (reason,) = judge_release(make_record(), a_policy(), self.loso(make_record(), job={"subjects": more})).reasons
        assert "learned from 16 of the 36 subjects" in reason

    def test_it_judged_everybody_the_weights_learned_from(self, make_record: Make) -> None:
        subjects = self.loso(make_record()).job.subjects
        some = subjects | {"test": subjects["test"][:-3]}  # ... whom it learned from
        (reason,) = judge_release(make_record(), a_policy(), self.loso(make_record(), job={"subjects": some})).reasons
        assert "never judged 3 of the subjects" in reason


@given(
    st.floats(0, 0.99),
    st.floats(0, 0.99),
    st.floats(0.01, 2),
    st.integers(2, 60),
    st.lists(st.none() | st.floats(0, 0.99), min_size=1, max_size=4),
)
def test_a_stricter_policy_never_lets_more_through(
    accuracy: float, ece: float, leakage: float, subjects: int, lows: list[float | None]
) -> None:
    """For any metrics, looser bounds give no more reasons and no more unfit groups."""
    record = _measured(accuracy, ece, leakage, subjects, lows)
    strict, at_least = a_policy(), {"min_subjects": 2, "min_accuracy": 0.0, "min_worst_group_accuracy": 0.0}
    loose = a_policy(**at_least, max_gap=1.0, max_ece=1.0, max_risk=0.9, max_leakage=9.0)
    tight, wide = judge_release(record, strict), judge_release(record, loose)
    assert len(wide.reasons) <= len(tight.reasons)
    assert {entry.group for entry in wide.unfit} <= {entry.group for entry in tight.unfit}
    within = accuracy >= 0.5 and ece <= 0.15 and leakage <= 1.0 and subjects >= 12
    known = [low for low in lows if low is not None]
    assert bool(tight.reasons) is not (within and min(known, default=0) >= 0.3 and max(known, default=0) >= 0.5)


def _measured(accuracy: float, ece: float, leakage: float, subjects: int, lows: list[float | None]) -> Record:
    names = {f"g{number}": low for number, low in enumerate(lows)}
    metrics = deepcopy(good_metrics())
    metrics["n_subjects"], metrics["intervals"]["accuracy"] = subjects, interval(accuracy)
    metrics["calibration"]["calibrated"]["ece"] = ece
    metrics["subgroups"]["columns"] = {"severity": column(**names)}
    explanation = good_explanation() | {"leakage": {"value": 0.1, "low": 0.0, "high": leakage, "reason": None}}
    job = Job(store=Store(shard_by="subject_id"), clips={"validation": 3})
    return Record(
        "run", "a/run", True, (), {}, job, Metrics.model_validate(metrics), Explanation.model_validate(explanation)
    )
