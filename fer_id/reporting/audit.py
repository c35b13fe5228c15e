"""Sentences, counts and label conflicts from the leakage audit of a store.

The source is ``card.audit`` of a benchmark (``data_modules.benchmark``), of a drawn cohort, or of several stores by
name. Unknown keys have no sentence, but appear among the counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fer_id.reporting.words import counted
from fer_id.runs.job import Agreement, Audit, LabelConflict, Published, Store

MOST_CONFLICTS = 50
"""Maximum number of label conflicts on a page; further ones are only counted."""

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
_SUMMARY = {"images", "constant", "byte_identical", "near_identical", "groups", "conflicts"}
_KINDS = {"byte_identical": "byte for byte", "near_identical": "nearly"}


class Conflict(NamedTuple):
    """Images of one photograph with several labels: how they are the same, in words, and label -> their names."""

    same: str
    ids: dict[str, list[str]]


class Findings(NamedTuple):
    """Findings of an audit for a page."""

    sentences: list[str]  # empty where the audit has no known key
    counts: list[tuple[str, object]]  # of everything, from audit_rows
    conflicts: list[Conflict]  # the first MOST_CONFLICTS
    n_conflicts: int  # all of them
    images: bool  # whether the audit searched for repeated images


def read_audit(store: Store) -> Findings:
    """Return the findings of the audit of one store, or of several by name."""
    by_store = {name: _sentences(audit) for name, audit in store.audits.items()}
    published = [audit.published for audit in store.audits.values() if audit.published]
    conflicts = [conflict for images in published for conflict in images.conflicts]
    sentences = by_store.get("", [])
    if store.pooled:
        sentences = [f"{name}: {' '.join(lines) or 'no audit that is known.'}" for name, lines in by_store.items()]
        sentences.append("Images that these stores have in common were not looked for.")
    listed = [_conflict(conflict) for conflict in conflicts[:MOST_CONFLICTS]]
    return Findings(sentences, audit_rows(store.audit or {}), listed, len(conflicts), bool(published))


def reasons_words(counts: Mapping[str, int]) -> str:
    """Format ``{"no face": 3, "unreadable": 1}`` as ``no face (3), unreadable (1)``."""
    return ", ".join(f"{reason.replace('_', ' ')} ({count:,})" for reason, count in counts.items())


def audit_rows(audit: Mapping[str, object]) -> list[tuple[str, object]]:
    """Flatten the audit to (name, count); a list counts as its length."""
    rows: list[tuple[str, object]] = []
    for key, value in audit.items():
        name = _NAMES.get(str(key), str(key).replace("_", " "))
        if isinstance(value, Mapping):
            rows += [(f"{name}, {inside}" if inside else name, count) for inside, count in audit_rows(value)]
        else:
            rows.append((name, len(value) if isinstance(value, list) else value))
    return rows


def _sentences(audit: Audit) -> list[str]:
    published = audit.published
    sentences = list(_of_images(published)) if published and published.model_fields_set >= _SUMMARY else []
    if audit.left_out:
        sentences.append(f"Left out when the store was made: {reasons_words(audit.left_out)}.")
    if audit.frames_without_face is not None:
        sentences.append(f"Frames of the store that show no face: {audit.frames_without_face:,}.")
    if audit.alike:
        shared = reasons_words(audit.alike)
        sentences.append(f"Subjects who share pictures, perhaps one child under two names: {shared}.")
    if audit.annotators:
        sentences.append(_of_annotators(audit.annotators))
    return sentences


def _of_annotators(votes: Agreement) -> str:
    """Return a sentence about :func:`fer_id.evaluation.agreement.agreement`."""
    who = f"{counted(votes.annotators, 'annotator')}, {counted(votes.clips, 'clip')} labelled by at least two"
    if votes.alpha is None:
        return f"{who}; their agreement is undefined: {votes.reason}."
    return (
        f"{who}: Krippendorff's alpha {votes.alpha:.2f}; one of them is right about what the majority of the others "
        f"says in {votes.ceiling:.0%}. No model can be expected to agree with people more than they do."
    )


def _of_images(published: Published) -> Iterator[str]:
    """Yield sentences about :func:`fer_id.evaluation.duplicates_summary.summarise` over the published splits."""
    sizes, same, near = published.images, published.byte_identical, published.near_identical
    trainings = [split for split in sizes if split.lower().startswith("train")]
    for training in trainings:
        for split in (split for split in sizes if split not in trainings):
            counts = [part.across.get(f"{split} in {training}", 0) for part in (same, near)]
            equal, alike = (f"{count:,}" if count else "none" for count in counts)
            yield (
                f"As published, {training} holds {equal} of the {counted(sizes[split], 'image')} of {split} "
                f"byte for byte, and a near-identical one (re-encoded, re-cropped or re-lit) of {alike}."
                if any(counts)
                else f"As published, {training} holds no image of {split}, neither byte for byte nor nearly."
            )
    for training in trainings:
        repeats, twins = same.within[training].repeats, near.within[training].images
        yield (
            f"Inside {training}: {counted(repeats, 'byte-identical repeat')} among {counted(sizes[training], 'image')}"
            f", and {counted(twins, 'image')} with a near-identical one."
        )
    groups = published.groups
    if groups.of_two_or_more:
        yield (
            f"Equal and near-identical images form {counted(groups.of_two_or_more, 'group')}, "
            f"the largest of {groups.largest:,}; "
            f"more than one label stands in {len(published.conflicts):,} of them."
        )
    plain = [f"{counted(count, 'image')} of {split}" for split, count in published.constant.items() if count]
    yield f"Of one single colour: {', '.join(plain) or 'none'}."


def _conflict(conflict: LabelConflict) -> Conflict:
    ids: dict[str, list[str]] = {}
    for image in conflict.images:
        ids.setdefault(image.label or "unlabelled", []).append(image.id)
    return Conflict(_KINDS.get(conflict.kind, conflict.kind), ids)
