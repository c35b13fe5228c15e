"""Summary of a leakage audit: numbers of duplicates by kind and split, and label conflicts by id."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.evaluation.duplicates import Duplicates


def summarise(
    duplicates: Duplicates, ids: Sequence[str], splits: Sequence[str], labels: Sequence[str | None]
) -> dict[str, object]:
    """Count duplicates among N images by kind and split, and list every label conflict by id, for ``card.audit``.

    The splits may be any key across which no image may be shared, such as children; a label is None where unlabelled.
    Of each kind, ``within`` has by split ``repeats`` (images beyond the first of each), ``repeated`` (distinct images
    that occur there more than once) and ``repeated_under_two_labels``; ``across`` has ``a in b`` -> images of ``a``
    that have a twin in ``b``.
    """
    values, split = np.unique(np.asarray(splits, dtype=str), return_inverse=True)
    names: list[str] = values.tolist()
    labelled = pd.DataFrame({"split": split, "content": duplicates.content, "label": labels}).dropna()
    several = labelled.groupby(["split", "content"])["label"].nunique() > 1
    conflicts = several.groupby("split").sum()  # by split, the distinct images under more than one label in it
    copies = np.zeros((int(duplicates.content.max(initial=-1)) + 1, len(names)), np.int64)
    np.add.at(copies, (duplicates.content, split), 1)
    twins = np.zeros(copies.shape, np.bool_)
    for first, second in (duplicates.near.T, duplicates.near.T[::-1]):
        np.logical_or.at(twins, first, copies[second] > 0)
    sizes = np.bincount(duplicates.group) if len(duplicates.group) else np.zeros(1, np.int64)
    return {
        "images": {name: int((split == s).sum()) for s, name in enumerate(names)},
        "constant": {name: int(duplicates.constant[split == s].sum()) for s, name in enumerate(names)},
        "byte_identical": {
            "within": {
                name: {
                    "repeats": int(np.maximum(copies[:, s] - 1, 0).sum()),
                    "repeated": int((copies[:, s] > 1).sum()),
                    "repeated_under_two_labels": int(conflicts.get(s, 0)),
                }
                for s, name in enumerate(names)
            },
            "across": _across(names, copies, copies > 0),
        },
        "near_identical": {
            "pairs": len(duplicates.near),
            "within": {name: {"images": int(copies[twins[:, s], s].sum())} for s, name in enumerate(names)},
            "across": _across(names, copies, twins),
        },
        "groups": {"of_two_or_more": int((sizes > 1).sum()), "largest": int(sizes.max())},
        "conflicts": label_conflicts(duplicates, ids, splits, labels),
    }


def _across(names: Sequence[str], copies: NDArray[np.int64], present: NDArray[np.bool_]) -> dict[str, int]:
    """Count images of split a whose content (or a twin of it) is in split b: ``a in b`` -> number, for all a != b."""
    pairs = permutations(enumerate(names), 2)
    return {f"{a} in {b}": int(copies[present[:, j], i].sum()) for (i, a), (j, b) in pairs}


def label_conflicts(
    duplicates: Duplicates, ids: Sequence[str], splits: Sequence[str], labels: Sequence[str | None]
) -> list[dict[str, object]]:
    """List the groups whose images carry more than one label, in order of first appearance.

    The ``kind`` of a group is ``byte_identical`` where two equal images disagree, else ``near_identical``.
    """
    order = np.argsort(duplicates.group, kind="stable")
    starts = np.flatnonzero(np.diff(duplicates.group[order], prepend=-1))
    conflicts: list[dict[str, object]] = []
    for members in np.split(order, starts[1:]) if len(order) else []:
        if len({labels[m] for m in members} - {None}) < 2:
            continue
        seen = {(duplicates.content[m], labels[m]) for m in members if labels[m] is not None}
        kind = "byte_identical" if len({content for content, _ in seen}) < len(seen) else "near_identical"
        images = [{"id": ids[m], "split": splits[m], "label": labels[m]} for m in members]
        conflicts.append({"kind": kind, "images": images})
    return conflicts
