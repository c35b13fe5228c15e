"""The model card is valid for ``huggingface_hub``, begins with the caveat, and discloses no child."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from fer_id.release.bundle import Unfit
from fer_id.release.evidence import Record
from fer_id.release.model_card import Release, Source, cell, limits, limits_file, model_card
from tests.release.conftest import a_policy, column, good_metrics

Make = Callable[..., Record]
COHORT = Source("cohort", "real", "learned from and judged on", "not to be passed on", {"children": 12, "training": 11})
PICTURES = Source("ferplus", "real", "started from", "labels: MIT")


def contract(**changed: Any) -> dict[str, Any]:
    """Return the keys of a contract that the card reads."""
    took = {"median": 1.5, "p95": 2.0, "per": "frame", "machine": "a processor"}
    parity = {"max_difference": 2e-6, "clips": 64, "of": "clips of the store"}
    onnx = {"kind": "step", "state": {"h": 128, "c": 128}, "parity": parity, "latency_ms": took}
    unfit = [{"column": "severity", "group": "severe", "reason": "insufficient evidence"}]
    return {"released_on": "2026-11-23", "not_for_use_with": unfit, "onnx": onnx, "input": {"frames": 10}} | changed


def test_huggingface_hub_reads_the_metadata(make_record: Make) -> None:
    card = ModelCard(model_card(make_record(), [COHORT]))
    assert card.data.license == "other"
    assert card.data.model_name == "site/final"
    assert "provenance-real" in card.data.tags
    results = {result.metric_type: result for result in card.data.eval_results}
    values = {name: result.metric_value for name, result in results.items()}
    assert values == dict.fromkeys(("accuracy", "recall", "f1", "roc_auc"), 0.85)
    assert results["accuracy"].dataset_name == "cohort (real)"
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()


@pytest.mark.parametrize("provenance", ["synthetic", "simulated"])
def test_provenance_stands_in_title_caveat_and_each_result(make_record: Make, provenance: str) -> None:
    text = model_card(make_record(metrics=good_metrics(provenance)), [COHORT])
    card = ModelCard(text)
    first, *_ = card.text.strip().splitlines()
    assert f"{provenance.upper()} DATA" in first
    assert card.text.index("**Provenance:") < card.text.index("Recognises")
    for result in card.data.eval_results:
        assert provenance in result.metric_name
        assert provenance in result.dataset_name


def test_no_pseudonym_and_no_path_stands_in_the_card(make_record: Make) -> None:
    text = model_card(make_record(), [COHORT, PICTURES])
    subjects = {subject for split in make_record().job.subjects.values() for subject in split}
    assert not any(subject in text for subject in subjects)
    assert "data/site" not in text
    assert "12 children; training 11" in text


def test_groups_of_few_real_children_are_not_shown(make_record: Make) -> None:
    few = column(mild=0.7, moderate=0.6, severe=0.2)
    few["groups"]["severe"] |= {"n_subjects": 2, "n_clips": 20, "accuracy": 0.123}
    few["groups"]["moderate"] |= {"n_subjects": 6, "n_clips": 60, "accuracy": 0.456}
    metrics = good_metrics()
    metrics["subgroups"]["columns"] = {"severity": few}
    text = model_card(make_record(metrics=metrics), [])
    assert "| mild | at least 5 | 80.0" in text
    assert "2 groups of few children not shown" in text
    assert not any(number in text for number in ("12.3", "45.6", "| severe", "| moderate"))
    metrics["provenance"] = "simulated"
    assert "| severe | 2 | 12.3" in model_card(make_record(metrics=metrics), [])


def test_a_column_of_small_groups_says_that_nothing_is_known_of_a_gap(make_record: Make) -> None:
    metrics = good_metrics()
    metrics["subgroups"]["columns"] = {
        "severity": column(gap=None, verdict="insufficient evidence", mild=0.7, severe=0.6)
    }
    assert "**severity**: insufficient evidence about a gap\n" in model_card(make_record(metrics=metrics), [])


def test_the_card_says_when_every_clip_goes_to_a_person(make_record: Make) -> None:
    metrics = good_metrics()
    metrics["review"] |= {"thresholds": {"holdout": None}, "flagged": 1.0, "risk_answered": None, "coverage": 0.0}
    text = model_card(make_record(metrics=metrics), [])
    assert "**Every clip goes to a person**: no threshold on inner validation kept a risk of 20" in text
    assert "it answers nothing by itself" in text
    assert "were wrong" not in text


def test_it_says_what_was_not_measured(make_record: Make) -> None:
    bare = make_record(metrics={"provenance": "real", "labels": ["happy", "sad"]}, explanation=None)
    text = model_card(bare, [])
    assert ModelCard(text).data.eval_results is None
    assert text.count("Not measured") >= 3
    assert "No threshold of review was measured." in text


def test_undefined_scores_are_left_out_and_null_numbers_are_no_numbers(make_record: Make) -> None:
    metrics = good_metrics() | {"auc": None}
    metrics["intervals"]["auc"] = None
    metrics["reasons"] = {"intervals.auc": "one class"}
    card = ModelCard(model_card(make_record(metrics=metrics), []))
    assert "roc_auc" not in {result.metric_type for result in card.data.eval_results}
    assert "| AUC, one against rest | – | no interval: one class |" in card.text
    assert "None" not in card.text


def test_the_card_of_a_release_states_setting_legal_basis_and_unfit_groups(make_record: Make) -> None:
    text = model_card(make_record(), [COHORT], release=Release(a_policy(), contract(), "ab" * 32))
    for sentence in ("Setting: **research**", "ethics 12/2026", "severity **severe**", "ab" * 32, "1.5 ms a frame"):
        assert sentence in text
    assert all(f"* {use}" in text for use in a_policy().forbidden_uses)
    assert "DEMONSTRATION" not in text


def test_a_demonstration_is_marked_in_its_first_line(make_record: Make) -> None:
    policy = a_policy(kind="demonstration")
    record = make_record(metrics=good_metrics("synthetic"))
    text = ModelCard(model_card(record, [], release=Release(policy, contract(), "ab" * 32))).text.strip()
    assert "DEMONSTRATION" in text.splitlines()[0]
    assert "DEMONSTRATION" in text.splitlines()[2]


def test_evidence_is_said_to_be_of_other_weights(make_record: Make) -> None:
    loso = make_record(path="runs/site/loso", folds=("a", "b", "c"), metrics=good_metrics() | {"accuracy": 0.66})
    text = model_card(make_record(), [COHORT], evidence=loso)
    assert "| Accuracy | 66.0" in text
    assert "those of 3 models trained alike" in text
    assert "judged on nobody new" in text


def test_text_of_a_site_breaks_no_table() -> None:
    assert cell("a | b\n<script>`x`") == r"a \| b &lt;script>\`x\`"


def test_limits_say_all_that_a_policy_says(make_record: Make) -> None:
    policy = a_policy(kind="demonstration", exception="medical", exception_record="board, 3 May 2026")
    sentences = limits(make_record(metrics=good_metrics("simulated")), evidence=None, pretrained_elsewhere=True)
    text = limits_file("a/run", policy, "simulated", [Unfit("severity", "severe", "fails")], sentences)
    assert text.startswith("a/run (DEMONSTRATION, SIMULATED DATA)")
    named = ("board, 3 May 2026", "severity severe: fails", "Art. 5(1)(f)", "does not diagnose", "neurotypical")
    for sentence in named:
        assert sentence in text
    assert all(f"  - {use}" in text for use in policy.forbidden_uses)


def test_metadata_is_plain_yaml(make_record: Make) -> None:
    front = model_card(make_record(), []).split("---")[1]
    assert yaml.safe_load(front)["library_name"] == "fer_id"
