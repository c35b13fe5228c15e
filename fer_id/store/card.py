"""``card.json``: provenance, label space, geometry, consent and expiry of a ClipStore."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from fer_id.consent.records import Snapshot
from fer_id.errors import FerIdError, Problems, StoreError
from fer_id.files import read_json
from fer_id.labels import SPACES
from fer_id.preprocessing.alignment import CropGeometry
from fer_id.runs.job import Audit
from fer_id.runs.records import Part
from fer_id.shapes import Count, Number, Text, misfits, one_of, where
from fer_id.types import CROP

PROVENANCES = ("real", "simulated", "synthetic")

LANDMARKS_FROM = ("mesh-1", "mesh-2", "drawn", "published", "none")
"""Origins of landmarks: MediaPipe's mesh through the first or second ``fer_id.preprocessing.landmarks.MESH_68``, the
drawing, or the dataset's publisher."""

SHARDS = ("subject_id", "split")


def _is_day(text: str) -> bool:
    with suppress(ValueError):
        return bool(date.fromisoformat(text))
    return False


Day = Annotated[Text, where(_is_day, "a date such as 2026-01-31")]


SIMULATION = 2
"""Version of the method of ``fer-id simulate``. In stores of the first one the first frame told the class."""


class Parameters(BaseModel):
    """Settings of a store's preparation that are read again."""

    fps: Number | None = None
    min_eye_distance: Number | None = None
    key_id: Text | None = None
    from_fingerprint: Text | None = None
    simulation: int | None = None
    stills: dict[str, list[Text]] | None = None
    title: Text | None = None
    licence: Text | None = None


class Coverage(Part):
    """Frames in which a cohort's videos were sampled, in all and by outcome of each subject."""

    frames: Count = 0
    by_subject: dict[str, dict[str, Count]] = Field(default_factory=dict)


class Findings(Audit):
    """The leakage audit of a store, with the coverage of a cohort's videos."""

    coverage: Coverage = Coverage()


class _Consent(BaseModel):
    purposes: list[Text]
    recorded_on: Day
    expires_on: Day | None


class _Geometry(BaseModel):
    eyes: tuple[tuple[Number, Number], tuple[Number, Number]] | None = None
    colour: Text | None = None
    size: Annotated[int, Field(ge=16, le=CROP)] = CROP


class _Shape(BaseModel):
    """Types and choices of the values within ``card.json``."""

    provenance: Annotated[Text, one_of(PROVENANCES)]
    label_space: Annotated[Text, one_of(SPACES)]
    shard_by: Annotated[Text, one_of(SHARDS)]
    source: Text
    geometry: _Geometry = _Geometry()
    parameters: Parameters = Parameters()
    versions: dict[str, Text | None] = {}
    audit: Audit = Audit()
    groups: list[Text] = []
    notes: list[Text] = []
    landmarks_from: Annotated[Text, one_of(LANDMARKS_FROM)] = "none"
    consent: dict[str, _Consent] = {}
    expires_on: Day | Literal[""] = ""


@dataclass
class StoreCard:
    """Description of a store, ``card.json``."""

    provenance: str  # ``real``, ``simulated`` (real faces, made-up motion) or ``synthetic`` (drawn)
    label_space: str  # name of the label space of ``label`` and ``soft_label``
    shard_by: str  # ``subject_id`` or ``split``
    source: str  # dataset name
    geometry: CropGeometry = field(default_factory=CropGeometry)  # stores of different geometry do not mix
    parameters: dict[str, object] = field(default_factory=dict)  # all settings of the store's preparation
    versions: dict[str, str] = field(default_factory=dict)  # of the libraries that computed the store's content
    audit: dict[str, object] = field(default_factory=dict)  # of leakage, and counts of samples left out
    groups: list[str] = field(default_factory=list)  # the group columns (age group, severity, ...)
    notes: list[str] = field(default_factory=list)
    landmarks_from: str = "none"  # one of LANDMARKS_FROM; a simulated store has its source's
    consent: dict[str, Snapshot] = field(default_factory=dict)  # of a cohort, by pseudonym, when it was prepared
    expires_on: str = ""  # day (ISO) after which the store refuses to open; empty: never

    def shareable(self, subject: str) -> bool:
        """Return whether pictures of a subject may leave the machine: drawn faces, and consent to ``media_sharing``. A
        simulated clip inherits its source's permission, and benchmarks give none."""
        agreed = subject in self.consent and "media_sharing" in self.consent[subject]["purposes"]
        return self.provenance == "synthetic" or (self.provenance == "real" and agreed)

    @property
    def settings(self) -> Parameters:
        """Settings of the preparation that are read again."""
        return Parameters.model_validate(self.parameters)

    @property
    def crop(self) -> int:
        """Side of the crops in pixels."""
        return self.geometry.get("size", CROP)

    @property
    def findings(self) -> Findings:
        """The audit as a typed record."""
        return Findings.model_validate(self.audit)

    @property
    def mesh_mapping(self) -> str | None:
        """Version of ``MESH_68`` that the landmarks were computed with; None for every other origin, or no landmarks.
        Landmarks of two versions are not the same points of a face. Other origins mix with every version."""
        return self.landmarks_from if self.landmarks_from.startswith("mesh-") else None

    @classmethod
    def read(cls, path: Path) -> StoreCard:
        """Read and check ``card.json``; StoreError lists all problems."""
        raw, known = read_json(path, StoreError), sorted(f.name for f in fields(cls))
        unknown = [f"unknown key {key}; known: {', '.join(known)}" for key in sorted(set(raw) - set(known))]
        problems = Problems(str(path), [*misfits(_Shape, raw), *unknown])
        problems.raise_if_any(StoreError, "Prepare the store again with this version.")
        return cls(**{"landmarks_from": _earlier_landmarks(raw), **raw})


def _earlier_landmarks(raw: Mapping[str, Any]) -> str:
    """Infer the origin of the landmarks of a store written before cards had ``landmarks_from``."""
    if raw["source"] == "synth":
        return "drawn"
    setting = raw.get("parameters", {}).get("landmarks")  # of a benchmark
    return setting if setting in ("published", "none") else "mesh-1"


def readable_cards(stores: Iterable[str]) -> list[StoreCard]:
    """Return the cards of the stores that are there and can be read."""
    cards = []
    for path in stores:
        with suppress(FerIdError):
            cards.append(StoreCard.read(Path(path) / "card.json"))
    return cards
