"""Summary of a leakage audit: numbers of duplicates by kind and split, and label conflicts by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_id.evaluation.duplicates import Duplicates


def summarise(
    duplicates: Duplicates, ids: Sequence[str], splits: Sequence[str], labels: Sequence[str | None]
) -> dict[str, Any]:
    """Count duplicates by kind and split, and list every label conflict by id, for ``card.audit``.

    Args:
        duplicates: the groups of N images.
        ids: N names.
        splits: N splits (or children: any key across which no image may be shared).
        labels: N labels, None where unlabelled.

    Returns:
        a plain dictionary: ``images`` and ``constant`` per split; per kind (``byte_identical``, ``near_identical``)
        ``within`` (split -> ``repeats``: images beyond the first of each; ``repeated``: distinct images that occur
        there more than once; ``repeated_under_two_labels``) and ``across`` (``a in b`` -> images of ``a`` that have a
        twin in ``b``); ``groups`` and the size of the largest; ``conflicts``: one entry per group under two labels.
    """
    names, split = np.unique(np.asarray(splits, dtype=str), return_inverse=True)
    conflicts = _conflicting_contents(duplicates, split, labels)
    copies = np.zeros((int(duplicates.content.max(initial=-1)) + 1, len(names)), np.int64)
    np.add.at(copies, (duplicates.content, split), 1)
    twins = np.zeros(copies.shape, np.bool_)
    for first, second in (duplicates.near.T, duplicates.near.T[::-1]):
        np.logical_or.at(twins, first, copies[second] > 0)
    sizes = np.bincount(duplicates.group) if len(duplicates.group) else np.zeros(1, np.int64)
    return {
        "images": {str(name): int((split == s).sum()) for s, name in enumerate(names)},
        "constant": {str(name): int(duplicates.constant[split == s].sum()) for s, name in enumerate(names)},
        "byte_identical": {
            "within": {
                str(name): {
                    "repeats": int(np.maximum(copies[:, s] - 1, 0).sum()),
                    "repeated": int((copies[:, s] > 1).sum()),
                    "repeated_under_two_labels": conflicts.get(s, 0),
                }
                for s, name in enumerate(names)
            },
            "across": _across(names, copies, copies > 0),
        },
        "near_identical": {
            "pairs": len(duplicates.near),
            "within": {str(name): {"images": int(copies[twins[:, s], s].sum())} for s, name in enumerate(names)},
            "across": _across(names, copies, twins),
        },
        "groups": {"of_two_or_more": int((sizes > 1).sum()), "largest": int(sizes.max())},
        "conflicts": label_conflicts(duplicates, ids, splits, labels),
    }


def _across(names: NDArray[np.str_], copies: NDArray[np.int64], present: NDArray[np.bool_]) -> dict[str, int]:
    """Count images of split a whose content (or a twin of it) is in split b: ``a in b`` -> number, for all a != b."""
    return {
        f"{a} in {b}": int(copies[present[:, j], i].sum())
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i != j
    }


def _conflicting_contents(
    duplicates: Duplicates, split: NDArray[np.int64], labels: Sequence[str | None]
) -> dict[int, int]:
    """Count, per split number, the distinct images that occur in the split under more than one label."""
    seen = {(s, c, label) for s, c, label in zip(split, duplicates.content, labels, strict=True) if label is not None}
    of_image = Counter((int(s), int(c)) for s, c, _ in seen)
    return Counter(s for (s, _), count in of_image.items() if count > 1)


def label_conflicts(
    duplicates: Duplicates, ids: Sequence[str], splits: Sequence[str], labels: Sequence[str | None]
) -> list[dict[str, Any]]:
    """List the groups whose images carry more than one label, in order of first appearance.

    Returns:
        per group ``kind`` (``byte_identical`` where two equal images disagree, else ``near_identical``) and ``images``,
        a list of ``{"id", "split", "label"}``.
    """
    order = np.argsort(duplicates.group, kind="stable")
    starts = np.flatnonzero(np.diff(duplicates.group[order], prepend=-1))
    conflicts = []
    for members in np.split(order, starts[1:]) if len(order) else []:
        if len({labels[m] for m in members} - {None}) < 2:
            continue
        seen = {(duplicates.content[m], labels[m]) for m in members if labels[m] is not None}
        identical = len({content for content, _ in seen}) < len(seen)
        conflicts.append(
            {
                "kind": "byte_identical" if identical else "near_identical",
                "images": [{"id": ids[m], "split": splits[m], "label": labels[m]} for m in members],
            }
        )
    return conflicts
