"""Sentences, counts and label conflicts from the leakage audit of a store.

The source is ``card.audit`` of a benchmark (``data_modules.benchmark``), of a drawn cohort, or of several stores by
name. Unknown keys have no sentence, but appear among the counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

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


@dataclass(frozen=True)
class Conflict:
    """Images of one photograph with several labels.

    Attributes:
        same: how the images are the same, in words.
        ids: label -> names of the images that carry it.
    """

    same: str
    ids: dict[str, list[str]]


@dataclass(frozen=True)
class Findings:
    """Findings of an audit for a page.

    Attributes:
        sentences: the findings; empty where the audit has no known key.
        counts: (name, count) of everything, from :func:`audit_rows`.
        conflicts: the first :data:`MOST_CONFLICTS` conflicts.
        n_conflicts: number of all conflicts.
        images: True where the audit searched for repeated images.
    """

    sentences: list[str] = field(default_factory=list)
    counts: list[tuple[str, JsonValue]] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    n_conflicts: int = 0
    images: bool = False


def read_audit(store: Store) -> Findings:
    """Return the findings of the audit of one store, or of several by name."""
    sentences_of = {name: _sentences(audit) for name, audit in store.audits.items()}
    published = [audit.published for audit in store.audits.values() if audit.published]
    conflicts = [conflict for images in published for conflict in images.conflicts]
    if store.pooled:
        sentences = [f"{name}: {' '.join(lines) or 'no audit that is known.'}" for name, lines in sentences_of.items()]
        sentences.append("Images that these stores have in common were not looked for.")
    else:
        sentences = sentences_of[""]
    return Findings(
        sentences=sentences,
        counts=audit_rows(store.audit or {}),
        conflicts=[_conflict(conflict) for conflict in conflicts[:MOST_CONFLICTS]],
        n_conflicts=len(conflicts),
        images=bool(published),
    )


def reasons_words(counts: Mapping[str, int]) -> str:
    """Format ``{"no face": 3, "unreadable": 1}`` as ``no face (3), unreadable (1)``."""
    return ", ".join(f"{reason.replace('_', ' ')} ({count:,})" for reason, count in counts.items())


def audit_rows(audit: Mapping[str, JsonValue]) -> list[tuple[str, JsonValue]]:
    """Flatten the audit to (name, count); a list counts as its length."""
    return list(_rows(audit, ()))


def _rows(value: JsonValue | Mapping[str, JsonValue], path: tuple[str, ...]) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _rows(item, (*path, _NAMES.get(str(key), str(key).replace("_", " "))))
    else:
        yield ", ".join(path), len(value) if isinstance(value, list) else value


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
        for split, size in sizes.items():
            if split not in trainings:
                key = f"{split} in {training}"
                yield _overlap(training, split, size, same.across.get(key, 0), near.across.get(key, 0))
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


def _overlap(training: str, split: str, size: int, same: int, near: int) -> str:
    if not same and not near:
        return f"As published, {training} holds no image of {split}, neither byte for byte nor nearly."
    return (
        f"As published, {training} holds {_or_none(same)} of the {counted(size, 'image')} of {split} "
        f"byte for byte, and a near-identical one (re-encoded, re-cropped or re-lit) of {_or_none(near)}."
    )


def _or_none(number: int) -> str:
    return f"{number:,}" if number else "none"


def _conflict(conflict: LabelConflict) -> Conflict:
    ids: dict[str, list[str]] = {}
    for image in conflict.images:
        ids.setdefault(image.label or "unlabelled", []).append(image.id)
    return Conflict(_KINDS.get(conflict.kind, conflict.kind), ids)
