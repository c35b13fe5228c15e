"""What of a run's numbers may leave the house: no child's own numbers, no pseudonym, no cell of a few children."""

from __future__ import annotations

from typing import Any

from fer_id.evaluation.groups.disclosure import public_view

BY_FOLD = {"calibration": "temperatures", "review": "thresholds", "conformal": "n_subjects_calibration"}
"""Values kept by fold; under leave-one-child-out a fold bears a child's pseudonym."""

_OF_FEW = ("per_subject.", "subgroups.", *(f"{section}.{name}." for section, name in BY_FOLD.items()))


def disclosed(metrics: dict[str, Any]) -> dict[str, Any]:
    """``metrics.json`` without what speaks of single children; what is kept by fold becomes a list in rising order.

    Of real children the subgroups are those of the public view.
    """
    shown = {name: value for name, value in metrics.items() if name not in ("per_subject", *BY_FOLD)}
    for section, name in BY_FOLD.items():
        if (content := metrics.get(section)) is not None:
            shown[section] = content | {name: _values(content.get(name))}
    if metrics.get("subgroups") is not None:
        shown["subgroups"] = disclosed_subgroups(metrics)
    reasons = metrics.get("reasons") or {}
    shown["reasons"] = {name: why for name, why in reasons.items() if not name.startswith(_OF_FEW)}
    return shown


def disclosed_subgroups(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """The entry ``subgroups`` as strangers may see it; None where there is none."""
    found: dict[str, Any] | None = metrics.get("subgroups")
    return public_view(found) if found and metrics.get("provenance") == "real" else found


def _values(by_fold: Any) -> list[Any]:
    """Values without the names of their folds; what is null comes last."""
    values = list((by_fold or {}).values())
    return sorted(value for value in values if value is not None) + [None] * values.count(None)
