"""A policy is complete and of the right types, or refused with all its problems."""

import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fer_id.explain.verdicts import DECISIVE
from fer_id.release.policy import CHECKS, FORBIDDEN, Policy, PolicyError, policy_problems, read_policy
from tests.release.conftest import a_policy

GOOD = asdict(a_policy())


def written(path: Path, **changed: Any) -> Path:
    """Write a policy file with changes; ``None`` leaves a key out."""
    content = {key: value for key, value in (GOOD | changed).items() if value is not None}
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_written_policy_is_read_as_it_was(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path / "policy.yaml"))
    assert policy == a_policy()
    (tmp_path / "again.yaml").write_text(policy.as_yaml())
    assert read_policy(tmp_path / "again.yaml") == policy


@pytest.mark.parametrize("name", [field.name for field in fields(Policy)])
def test_nothing_may_be_left_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(PolicyError, match=f"{name}: missing"):
        read_policy(written(tmp_path / "policy.yaml", **{name: None}))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("kind", "final", "one of release, demonstration, pretrained"),
        ("setting", "school", "one of research, therapy, home, education, workplace"),
        ("exception", True, "text, one of none, medical, safety"),
        ("legal_basis", "  ", "legal_basis: empty"),
        ("min_subjects", 1, "a whole number, at least 2"),
        ("min_subjects", 12.5, "a whole number"),
        ("min_subjects", True, "a whole number"),
        ("min_accuracy", 1, "at least 0, below 1"),
        ("min_accuracy", "half", "a number"),
        ("min_accuracy", math.nan, "a number"),
        ("max_gap", -0.1, "at least 0, at most 1"),
        ("max_ece", 1.5, "at most 1"),
        ("max_leakage", 0, "above 0"),
        ("max_leakage", math.inf, "a number"),
        ("groups", "severity", "a list of texts"),
        ("required_checks", ["luck"], "one of randomisation, stability, deletion, insertion"),
        ("min_worst_group_accuracy", 0.9, "a group is asked for no more than all"),
        ("forbidden_uses", ["punishment", "grading"], "does not forbid exclusion, surveillance, diagnosis"),
    ],
)
def test_an_impossible_value_is_refused_with_the_expected_one(
    tmp_path: Path, key: str, value: Any, expected: str
) -> None:
    with pytest.raises(PolicyError, match=expected):
        read_policy(written(tmp_path / "policy.yaml", **{key: value}))


def test_all_problems_stand_in_one_message(tmp_path: Path) -> None:
    wrong = written(tmp_path / "policy.yaml", max_gap=2, max_ece=None, minimum=3, kind="none")
    with pytest.raises(PolicyError) as raised:
        read_policy(wrong)
    assert all(word in str(raised.value) for word in ("max_gap", "max_ece: missing", "minimum: unknown", "kind"))


def test_a_bound_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "policy.yaml")
    path.write_text(path.read_text() + "max_gap: 1.0\n")
    with pytest.raises(PolicyError, match="max_gap: is given twice"):
        read_policy(path)


@pytest.mark.parametrize("text", ["- a\n- b", "", "a: [", "a: !!python/object/apply:os.system ['true']"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(PolicyError):
        read_policy(tmp_path / "policy.yaml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no such file"):
        read_policy(tmp_path / "nowhere.yaml")


def test_the_checks_are_those_of_the_maps() -> None:
    assert set(CHECKS.values()) == set(DECISIVE)


KEYS = st.sampled_from([field.name for field in fields(Policy)]) | st.text(max_size=5)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.dictionaries(KEYS, VALUES | st.lists(VALUES, max_size=3)))
def test_random_content_gives_problems_or_a_valid_policy(raw: dict[str, Any]) -> None:
    """Random replacements in a good policy are refused unless the resulting policy is valid."""
    problems = policy_problems(GOOD | raw)
    if not problems:
        policy = Policy(**(GOOD | raw))
        assert set(FORBIDDEN) <= set(policy.forbidden_uses)
        assert 0 <= policy.min_worst_group_accuracy <= policy.min_accuracy < 1
        assert policy.max_leakage > 0


def test_weights_of_a_benchmark_leave_for_research_alone(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="setting: home, but weights of a benchmark leave for research alone"):
        read_policy(written(tmp_path / "policy.yaml", kind="pretrained", setting="home"))
