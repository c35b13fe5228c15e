"""The leakage audit of a store's card as rows of a table; unknown keys are shown as they are rather than dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_NAMES = {
    "images": "images",
    "constant": "images of one single colour",
    "byte_identical": "byte-identical",
    "near_identical": "near-identical",
    "within": "inside a split",
    "across": "across splits",
    "conflicts": "groups of equal images under two labels",
    "of_two_or_more": "of two or more images",
}


def audit_rows(audit: dict[str, Any]) -> list[tuple[str, Any]]:
    """Flattens the audit to (what was counted, how many); a list counts as its length."""
    return list(_rows(audit, ()))


def _rows(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _rows(item, (*path, _NAMES.get(str(key), str(key).replace("_", " "))))
    else:
        yield ", ".join(path), len(value) if isinstance(value, list) else value
