"""Disclosure control of a run's metrics: no single child's numbers, no pseudonym, no group of few children."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fer_id.evaluation.groups.disclosure import public_view
from fer_id.runs.metrics import Metrics

BY_FOLD = {"calibration": "temperatures", "review": "thresholds", "conformal": "n_subjects_calibration"}
"""Values stored by fold; under leave-one-child-out a fold's name is a child's pseudonym."""

_OF_FEW = ("per_subject.", "subgroups.", *(f"{section}.{name}." for section, name in BY_FOLD.items()))


def disclosed(metrics: Metrics) -> dict[str, Any]:
    """Return ``metrics.json`` without the numbers of single children; values by fold become a list in rising order.

    For real children the subgroups are those of the public view.
    """
    public = metrics.model_dump(exclude_unset=True, exclude={"per_subject"})
    for section, name in BY_FOLD.items():
        if public.get(section) is not None:
            public[section][name] = _values(public[section].get(name) or {})
    if metrics.subgroups is not None:
        public["subgroups"] = disclosed_subgroups(metrics)
    public["reasons"] = {name: why for name, why in metrics.reasons.items() if not name.startswith(_OF_FEW)}
    return public


def disclosed_subgroups(metrics: Metrics) -> dict[str, Any] | None:
    """Return the public view of the entry ``subgroups``; None where the entry is missing."""
    if metrics.subgroups is None:
        return None
    real = metrics.provenance == "real"
    return public_view(metrics.subgroups) if real else metrics.subgroups.model_dump(exclude_unset=True)


def _values(by_fold: Mapping[str, float | None]) -> list[float | None]:
    """Return the values in rising order without their folds' names, nulls last."""
    known = sorted(value for value in by_fold.values() if value is not None)
    return [*known, *[None] * (len(by_fold) - len(known))]
