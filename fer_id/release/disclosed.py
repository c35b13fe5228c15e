"""Disclosure control of a run's metrics: no single child's numbers, no pseudonym, no group of few children."""

from __future__ import annotations

from typing import Any

from fer_id.evaluation.groups.disclosure import public_view

BY_FOLD = {"calibration": "temperatures", "review": "thresholds", "conformal": "n_subjects_calibration"}
"""Values stored by fold; under leave-one-child-out a fold's name is a child's pseudonym."""

_OF_FEW = ("per_subject.", "subgroups.", *(f"{section}.{name}." for section, name in BY_FOLD.items()))


def disclosed(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return ``metrics.json`` without the numbers of single children; values by fold become a list in rising order.

    For real children the subgroups are those of the public view.
    """
    public = {name: value for name, value in metrics.items() if name not in ("per_subject", *BY_FOLD)}
    for section, name in BY_FOLD.items():
        if (content := metrics.get(section)) is not None:
            public[section] = content | {name: _values(content.get(name))}
    if metrics.get("subgroups") is not None:
        public["subgroups"] = disclosed_subgroups(metrics)
    reasons = metrics.get("reasons") or {}
    public["reasons"] = {name: why for name, why in reasons.items() if not name.startswith(_OF_FEW)}
    return public


def disclosed_subgroups(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """Return the public view of the entry ``subgroups``; None where the entry is missing."""
    subgroups: dict[str, Any] | None = metrics.get("subgroups")
    return public_view(subgroups) if subgroups and metrics.get("provenance") == "real" else subgroups


def _values(by_fold: Any) -> list[Any]:
    """Return the values in rising order without their folds' names, nulls last."""
    values = list((by_fold or {}).values())
    return sorted(value for value in values if value is not None) + [None] * values.count(None)
