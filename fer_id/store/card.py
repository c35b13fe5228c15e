"""``card.json``: provenance, label space, geometry, consent and expiry of a ClipStore."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fer_id.errors import FerIdError, Problems, StoreError
from fer_id.files import read_json
from fer_id.labels import SPACES
from fer_id.runs.job import Audit
from fer_id.shapes import Number, Text, misfits

PROVENANCES = ("real", "simulated", "synthetic")

LANDMARKS_FROM = ("mesh-1", "mesh-2", "drawn", "published", "none")
"""Origins of landmarks: MediaPipe's mesh through the first or second ``fer_id.preprocessing.landmarks.MESH_68``, the
drawing, or the dataset's publisher."""


_JSON_KINDS: dict[str, tuple[type, str]] = {
    "str": (str, "text"),
    "dict": (dict, "an object"),
    "list": (list, "a list"),
}


class Parameters(BaseModel):
    """Settings of a store's preparation that are read again."""

    fps: Number | None = None
    min_eye_distance: Number | None = None
    key_id: Text | None = None
    from_fingerprint: Text | None = None


class ConsentShape(BaseModel):
    """A subject's consent at the time of a store's preparation."""

    purposes: list[Text]


class Geometry(BaseModel):
    """Position (x, y) of the right and the left eye in every crop; None: as the dataset aligned its faces."""

    eyes: tuple[tuple[Number, Number], tuple[Number, Number]] | None = None


class CardShape(BaseModel):
    """Types of the values within ``card.json``."""

    geometry: Geometry = Geometry()
    parameters: Parameters = Parameters()
    versions: dict[str, Text | None] = {}
    audit: Audit = Audit()
    groups: list[Text] = []
    notes: list[Text] = []
    consent: dict[str, ConsentShape] = {}


@dataclass
class StoreCard:
    """Description of a store, ``card.json``.

    Attributes:
        provenance: ``real``, ``simulated`` (real faces, made-up motion) or ``synthetic`` (drawn).
        label_space: name of the label space of ``label`` and ``soft_label``.
        shard_by: ``subject_id`` or ``split``.
        source: dataset name.
        geometry: eye positions in crop pixels, colour or gray; stores of different geometry do not mix.
        parameters: all settings of the store's preparation.
        versions: of the libraries that computed the store's content.
        audit: results of the leakage audit, and every count of samples left out.
        groups: the group columns (age group, severity, ...).
        landmarks_from: one of :data:`LANDMARKS_FROM`; a simulated store has its source's.
        consent: of a cohort, pseudonym -> ``purposes`` and ``expires_on`` at the time of the preparation.
        expires_on: day (ISO) after which the store refuses to open; empty: never.
    """

    provenance: str
    label_space: str
    shard_by: str
    source: str
    geometry: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    landmarks_from: str = "none"
    consent: dict[str, Any] = field(default_factory=dict)
    expires_on: str = ""

    def shareable(self, subject: str) -> bool:
        """Return whether pictures of a subject may leave the machine: drawn faces, and consent to ``media_sharing``.

        A simulated clip inherits its source's permission, and benchmarks give none.
        """
        agreed = (self.consent.get(subject) or {}).get("purposes", ())
        return self.provenance == "synthetic" or (self.provenance == "real" and "media_sharing" in agreed)

    @property
    def mesh_mapping(self) -> str | None:
        """Version of ``MESH_68`` that the landmarks were computed with; None for every other origin, or no landmarks.

        Landmarks of two versions are not the same points of a face. Other origins mix with every version.
        """
        return self.landmarks_from if self.landmarks_from.startswith("mesh-") else None

    @classmethod
    def read(cls, path: Path) -> StoreCard:
        """Read and check ``card.json``; StoreError lists all problems."""
        raw = read_json(path, StoreError)
        known, problems = {f.name for f in fields(cls)}, Problems(str(path))
        for key in sorted({"provenance", "label_space", "shard_by", "source"} - set(raw)):
            problems.add(f"key {key} is missing")
        for key in sorted(set(raw) - known):
            problems.add(f"unknown key {key}; known: {', '.join(sorted(known))}")
        for f in fields(cls):
            kind, word = _JSON_KINDS[str(f.type).partition("[")[0]]
            if f.name in raw and not isinstance(raw[f.name], kind):
                problems.add(f"{f.name} is {raw[f.name]!r}, expected {word}")
        choices = {"provenance": PROVENANCES, "label_space": tuple(SPACES), "shard_by": ("subject_id", "split")}
        choices["landmarks_from"] = LANDMARKS_FROM
        for key, allowed in choices.items():
            if isinstance(raw.get(key), str) and raw[key] not in allowed:
                problems.add(f"{key} is {raw[key]!r}, expected one of {', '.join(allowed)}")
        for problem in _term_problems(raw):
            problems.add(problem)
        if not len(problems):
            problems.found = misfits(CardShape, raw)
        problems.raise_if_any(StoreError, "Prepare the store again with this version.")
        return cls(**{"landmarks_from": _earlier_landmarks(raw), **raw})


def _earlier_landmarks(raw: dict[str, Any]) -> str:
    """Infer the origin of the landmarks of a store written before cards had ``landmarks_from``."""
    if raw["source"] == "synth":
        return "drawn"
    setting = raw.get("parameters", {}).get("landmarks")  # of a benchmark
    return setting if setting in ("published", "none") else "mesh-1"


def _term_problems(raw: dict[str, Any]) -> list[str]:
    """Return the problems of a card's dates and consent entries."""
    days, consent = {"expires_on": raw.get("expires_on") or None}, raw.get("consent")
    problems = []
    for subject, terms in consent.items() if isinstance(consent, dict) else ():
        if not isinstance(terms, dict) or not {"purposes", "recorded_on", "expires_on"} <= set(terms):
            problems.append(f"consent of {subject} is {terms!r}, expected purposes, recorded_on and expires_on")
            continue
        days |= {f"consent of {subject}: {key}": terms[key] for key in ("recorded_on", "expires_on")}
    for key, day in days.items():
        try:
            date.fromisoformat(day or "2000-01-01")
        except (TypeError, ValueError):
            problems.append(f"{key} is {day!r}, expected a date such as 2026-01-31")
    return problems


def readable_cards(stores: Iterable[str]) -> list[StoreCard]:
    """Return the cards of the stores that are there and can be read."""
    cards = []
    for path in stores:
        with suppress(FerIdError):
            cards.append(StoreCard.read(Path(path) / "card.json"))
    return cards
