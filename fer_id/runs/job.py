"""Typed record of a run's ``job.json``: :class:`Job` and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import JsonValue, model_validator

from fer_id.runs.records import Part, Provenance, null_as
from fer_id.shapes import Count, Number, Text, misfits
from fer_id.types import CROP

Texts = Annotated[list[Text], null_as([])]
Counts = Annotated[dict[str, Count], null_as({})]

LEARNED_FROM = ("train", "validation", "unlabelled", "source")
"""Lists of ``subjects`` in ``job.json`` whose members the model has seen; the other ones were only evaluated."""


class Cost(Part):
    """Computational cost of the model for one clip."""

    parameters: Count | None = None
    multiply_adds_per_clip: Count | None = None
    frames: Count | None = None


class Agreement(Part):
    """Agreement of the annotators of a store."""

    annotators: Count
    clips: Count
    alpha: Number | None
    reason: Text | None = None
    ceiling: Number | None = None
    ceiling_by_class: dict[str, Number | None] | None = None


class Image(Part):
    """An image of a label conflict."""

    id: Text
    label: Text | None = None


class LabelConflict(Part):
    """Equal or near-identical images under several labels."""

    kind: Text
    images: list[Image]


class Repeats(Part):
    """Duplicates within a split: byte-identical repeats, or images with a near-identical one."""

    repeats: Count = 0
    images: Count = 0


class DuplicateKind(Part):
    """Duplicates of one kind within the splits and across them."""

    within: dict[str, Repeats] = {}
    across: dict[str, Count] = {}


class ImageGroups(Part):
    """Groups of equal and near-identical images."""

    of_two_or_more: Count = 0
    largest: Count = 0


class Published(Part):
    """Duplicates in a benchmark as published, from :func:`fer_id.evaluation.duplicates_summary.summarise`."""

    images: dict[str, Count] = {}
    constant: dict[str, Count] = {}
    byte_identical: DuplicateKind = DuplicateKind()
    near_identical: DuplicateKind = DuplicateKind()
    groups: ImageGroups = ImageGroups()
    conflicts: list[LabelConflict] = []


class Audit(Part):
    """Results of the leakage audit of one store, and the counts of what was left out."""

    frames_without_face: Count | None = None
    left_out: dict[str, Count] | None = None
    alike: dict[str, Count] | None = None
    published: Published | None = None
    annotators: Agreement | None = None


class Geometry(Part):
    """Crop geometry: eye positions in crop pixels (None: as published), ``rgb`` or ``gray``, and the side in pixels."""

    eyes: list[list[Number]] | None = None
    colour: Text | None = None
    size: Count = CROP


class Store(Part):
    """The store, or several pooled ones, that a run was trained and tested on."""

    name: Text | None = None
    fingerprint: Text | None = None
    made_of: Texts = []
    left_out: Text | None = None  # fingerprint of the stills of ``data.excluding``, which the run did not learn from
    provenance: Provenance | None = None
    drawn: Annotated[bool, null_as(False)] = False
    label_space: Text | None = None
    shard_by: Text | None = None
    geometry: Geometry | None = None
    mesh_mappings: list[Text] | None = None
    fps: Number | None = None
    min_eye_distance: Number | None = None
    audit: dict[str, object] | None = None

    @model_validator(mode="after")
    def _has_audits(self) -> Self:
        if problems := [line for audit in self._audits.values() for line in misfits(Audit, audit)]:
            raise ValueError(f"a store's audit ({'; '.join(problems)})")
        return self

    @property
    def of_images(self) -> bool:
        """True where a subject is a group of near-identical pictures of a benchmark, not a person."""
        return self.shard_by == "split"

    @property
    def of_people(self) -> bool:
        """True where the subjects are real people."""
        return self.provenance == "real" and self.shard_by == "subject_id"

    @property
    def pooled(self) -> bool:
        """True where the audit holds one of several stores by name."""
        names = str(self.name).split(" + ")
        return len(names) > 1 and {*(self.audit or {})} == {*names}

    @property
    def audits(self) -> dict[str, Audit]:
        """Audit of each pooled store by name; of a single store under an empty name."""
        return {name: Audit.model_validate(audit) for name, audit in self._audits.items()}

    @property
    def _audits(self) -> dict[str, object]:
        audit = self.audit or {}
        return {name: part or {} for name, part in audit.items()} if self.pooled else {"": audit}

    @property
    def agreement(self) -> Agreement | None:
        """Agreement of the annotators of a single store, where several labelled its clips."""
        return None if self.pooled else self.audits[""].annotators


class Change(Part):
    """Values of a setting before and after a run was resumed."""

    before: JsonValue
    after: JsonValue


class Resumed(Part):
    """A resumption with other settings, after so many epochs."""

    epochs: Count
    settings: dict[str, Change]


class Job(Part):
    """``job.json``: facts about a training that its configuration does not hold.

    ``children``: number of real children of each split; None: unknown, as in older runs. ``mode``: what the training
    knew of the tested subjects, see ``protocol.mode``. ``parents``: runs whose weights it started from, as they were
    typed. ``weights_file``: SHA-256 of the file of published weights that it started from (``model.weights``); None
    where a parent's weights replaced those. ``selected``: of a search within folds, the winning trial of each fold. Of
    results on another store: ``weights``, the SHA-256 of the checkpoint that judged it, and ``notes``, sentences that
    belong to the results.
    """

    command: Text | None = None
    started: Text | None = None
    versions: Annotated[dict[str, Text], null_as({})] = {}
    git_commit: Text | None = None
    seed: Count | None = None
    model: Text | None = None
    fold: Text | None = None
    mode: Annotated[Text, null_as("inductive")] = "inductive"
    dataset: Text | None = None
    store: Annotated[Store, null_as({})] = Store()
    subjects: dict[str, list[Text] | None] = {}
    children: dict[str, Count] | None = None
    clips: Counts = {}
    dropped: Counts = {}
    parents: Texts = []
    weights_file: Text | None = None
    cost: Annotated[Cost, null_as({})] = Cost()
    precision: Text | None = None
    memory_format: Text | None = None
    machine: Text | None = None
    processes: Count | None = None
    selected: Annotated[dict[str, dict[str, JsonValue]], null_as({})] = {}
    resumed_with: Annotated[list[Resumed], null_as([])] = []
    weights: Text | None = None
    notes: Texts = []
    seconds: Number | None = None
    peak_memory_bytes: Count | Number | None = None

    def resumed(self, before: Job, changes: Mapping[str, tuple[JsonValue, JsonValue]], epochs: int) -> Job:
        """Return the job of a resumed training with every change of settings so far, those of ``before`` included.
        ``changes`` holds the values of each dotted key before and after; ``epochs`` were trained before them."""
        entries = before.resumed_with
        if changes:
            settings = {key: Change(before=old, after=new) for key, (old, new) in changes.items()}
            entries = [*entries, Resumed(epochs=epochs, settings=settings)]
        return self.model_copy(update={"resumed_with": entries}) if entries else self

    def subjects_of(self, *splits: str) -> frozenset[str]:
        """Return the pseudonyms of the subjects of some splits, together."""
        return frozenset(name for split in splits for name in self.subjects.get(split) or ())

    @property
    def learned_from(self) -> frozenset[str]:
        """Pseudonyms of the subjects that the model has seen."""
        return self.subjects_of(*LEARNED_FROM)

    @property
    def tested(self) -> frozenset[str]:
        """Pseudonyms of the test subjects."""
        return self.subjects_of("test")

    @property
    def everyone(self) -> frozenset[str]:
        """Pseudonyms of all subjects."""
        return self.subjects_of(*self.subjects)

    @property
    def untested(self) -> bool:
        """True for a run that judged no test clip, as ``protocol.test=false`` says."""
        return self.clips.get("test") == 0

    @property
    def drawn(self) -> bool:
        """True for a training on drawn children alone, whose landmarks come from no mesh."""
        return self.dataset == "synthetic"
