"""Release policy, read from YAML: the bounds that a model must meet, its setting and its forbidden uses.

No bound has a default: a policy without it is refused, since its author would believe that the bound holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from fer_id.errors import ConfigError, Problems
from fer_id.release.bundle import DEMONSTRATION, RELEASE
from fer_id.settings import converted, limits_text
from fer_id.settings import setting as bounded  # a field of a policy is called setting
from fer_id.yaml_text import read_yaml

PRETRAINED = "pretrained"
"""Kind of a policy for the weights of a benchmark: they leave as a run to start from, not as a bundle."""

SETTINGS = ("research", "therapy", "home", "education", "workplace")

RESTRICTED = ("education", "workplace")
"""Settings in which the AI Act (Regulation (EU) 2024/1689, Art. 5(1)(f)) forbids inferring emotions, except for medical
or safety reasons."""

FORBIDDEN = ("punishment", "exclusion", "grading", "surveillance", "diagnosis")
"""Uses that every policy must forbid, at least."""

CHECKS = {
    "randomisation": "random everything",
    "stability": "stability",
    "deletion": "deletion",
    "insertion": "insertion",
}
"""Name of each check of the attribution maps in a policy -> its name in ``explain.json``."""

WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", list[str]: "a list of texts"}


class PolicyError(ConfigError):
    """Unknown or missing keys of a policy, or impossible values."""


@dataclass(frozen=True)
class Policy:
    """Bounds of a release. Intervals are 95 % intervals over subjects.

    Attributes:
        kind: ``release``; ``demonstration`` for a model tested on drawn or simulated children only; ``pretrained`` for
            one of a benchmark's pictures, which others start from.
        setting: place of use.
        legal_basis: in words: the legal ground of the use in this setting, and who decided on it.
        exception: ground for use in a setting where the AI Act forbids inferring emotions.
        exception_record: who decided on the exception, when, in which document; empty without an exception.
        min_subjects: least number of test subjects; of a benchmark, groups of near-identical pictures.
        min_accuracy: least lower end of the interval of the accuracy; groups below it are named as unfit.
        min_worst_group_accuracy: least lower end of any group's interval; below it the release is refused.
        max_gap: largest difference in accuracy between two groups of a column.
        max_ece: largest expected calibration error of the calibrated probabilities.
        max_risk: largest error rate that the threshold of review may have been chosen for.
        max_leakage: largest upper end of the interval of the off-face attribution; 1 is no preference for the face.
        groups: columns whose groups must have been evaluated.
        required_checks: checks that the attribution maps must have passed.
        forbidden_uses: at least :data:`FORBIDDEN`.
    """

    kind: str = bounded("", choices=(RELEASE, DEMONSTRATION, PRETRAINED))
    setting: str = bounded("", choices=SETTINGS)
    legal_basis: str = ""
    exception: str = bounded("", choices=("none", "medical", "safety"))
    exception_record: str = ""
    min_subjects: int = bounded(0, min=2)
    min_accuracy: float = bounded(0.0, min=0, below=1)
    min_worst_group_accuracy: float = bounded(0.0, min=0, below=1)
    max_gap: float = bounded(0.0, min=0, max=1)
    max_ece: float = bounded(0.0, min=0, max=1)
    max_risk: float = bounded(0.0, above=0, below=1)
    max_leakage: float = bounded(0.0, above=0)
    groups: list[str] = bounded([])
    required_checks: list[str] = bounded([], choices=tuple(CHECKS))
    forbidden_uses: list[str] = bounded([])

    def as_yaml(self) -> str:
        """Return the policy as the YAML text that :func:`read_policy` reads."""
        return yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True, width=120)


def read_policy(path: Path) -> Policy:
    """Read a policy from a YAML file; raise PolicyError with all problems."""
    raw, _ = read_yaml(path, PolicyError, "min_subjects: 12")
    problems = Problems(str(path))
    for problem in policy_problems(raw):
        problems.add(problem)
    problems.raise_if_any(PolicyError, "A shipped policy to start from: experiments/configs/policy/research.yaml")
    return Policy(**raw)


def policy_problems(raw: Mapping[str, object]) -> list[str]:
    """Return all problems of a policy's content, one line each."""
    known, problems = {field.name: field for field in fields(Policy)}, list[str]()
    problems += [f"{key}: unknown; known: {', '.join(known)}" for key in raw if key not in known]
    problems += [f"{name}: missing" for name in known if name not in raw]
    hints, sound = get_type_hints(Policy), dict[str, Any]()
    for name in (name for name in known if name in raw):
        try:
            converted(raw[name], hints[name], known[name].metadata, strict=True)
            sound[name] = raw[name]
        except ValueError:
            expected = ", ".join(filter(None, (WORDS[hints[name]], limits_text(known[name].metadata))))
            problems.append(f"{name}: {raw[name]!r}, expected {expected}")
    return [*problems, *_contradictions(sound)]


def _contradictions(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of values that are valid one by one but not together, and of empty or incomplete ones."""
    if "legal_basis" in raw and not raw["legal_basis"].strip():
        yield "legal_basis: empty; say what allows using the model there, and who decided so"
    if raw.get("kind") == PRETRAINED and raw.get("setting", "research") != "research":
        yield f"setting: {raw['setting']}, but weights of a benchmark leave for research alone (kind: {PRETRAINED})"
    floor, bound = raw.get("min_worst_group_accuracy"), raw.get("min_accuracy")
    if floor is not None and bound is not None and floor > bound:
        yield f"min_worst_group_accuracy: {floor}, but a group is asked for no more than all ({bound})"
    if missing := [use for use in FORBIDDEN if use not in raw.get("forbidden_uses", FORBIDDEN)]:
        yield f"forbidden_uses: does not forbid {', '.join(missing)}; every policy must"
