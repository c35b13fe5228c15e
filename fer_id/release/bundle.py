"""Bundle: a released model as a signed folder with its contract, metrics, policy and model card.

    weights.safetensors   model.onnx   contract.json   metrics.json   policy.yaml   README.md (the model card)   LIMITS
    manifest.json (SHA-256 of each of these)   signature.json (Ed25519 over the manifest)

``contract.json`` describes the input (crops, frames a second, colour), the output (labels, temperature, threshold of
review) and the groups with which the model must not be used. Loading verifies every file first.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, JsonValue

from fer_id.consent.keys import keys_home
from fer_id.errors import FerIdError, Problems
from fer_id.files import atomic_folder, atomic_write_bytes, read_json, write_json
from fer_id.inputs import MB, MOST_JSON, parse_json, read_bytes
from fer_id.labels import LabelSpace
from fer_id.release.signing import FINGERPRINT, Signer, check_signature, fingerprint, own_fingerprint
from fer_id.runs.records import Part, Provenance
from fer_id.shapes import Count, Number, Text, record

if TYPE_CHECKING:
    from fer_id.models.network import ClipClassifier

VERSION = 1
WEIGHTS, ONNX, CONTRACT, METRICS = "weights.safetensors", "model.onnx", "contract.json", "metrics.json"
POLICY, CARD, LIMITS = "policy.yaml", "README.md", "LIMITS"
CONTENT = (WEIGHTS, ONNX, CONTRACT, METRICS, POLICY, CARD, LIMITS)
MANIFEST, SIGNATURE = "manifest.json", "signature.json"

RELEASE, DEMONSTRATION = "release", "demonstration"
TRUSTED, OWN, UNKNOWN = "the key that was trusted", "this machine's own key", "unknown"

MOST_FILE = 8192 * MB


class Manifest(Part):
    """``manifest.json`` of a bundle."""

    version: Count
    kind: Literal["release", "demonstration"]
    name: Text
    files: dict[str, Text]


Size = Annotated[float, Field(strict=True, ge=0, le=4096)]
"""A number of a model's configuration; the upper bound keeps a forged contract from filling the memory."""


class Landmarks(Part):
    """Landmarks that a released model learned from."""

    model_sha256: Text | None = None
    mesh_mappings: list[Text] | None = None


class Input(Part):
    """Input of a released model: crops, T of a window, and frames a second."""

    geometry: dict[str, JsonValue] | None
    frames: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    fps: Annotated[float, Field(strict=True, gt=0, le=1000)] | None
    min_eye_distance: Number | None = None
    landmarks: Landmarks | None = None


class Labels(Part):
    """Classes of a released model."""

    space: Text
    names: Annotated[list[Text], Field(min_length=2)]


class Threshold(Part):
    """Least probability at which a released model answers without review."""

    threshold: Annotated[float, Field(strict=True, ge=0, le=1)] | None


@dataclass(frozen=True)
class Unfit:
    """Group with which a model must not be used: ``severity`` (or ``severity x context`` of a pair), its value, and the
    measured shortfall or insufficient evidence."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    column: Text
    group: Text
    reason: Text

    def __str__(self) -> str:
        return f"{self.column} {self.group}: {self.reason}"


class Contract(Part):
    """``contract.json`` of a bundle: the keys that inference depends on."""

    kind: Literal["release", "demonstration"]
    labels: Labels
    model: dict[str, bool | Size | Text | list[Size] | None]
    input: Input | None = None
    temperature: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
    review: Threshold
    provenance: Provenance
    not_for_use_with: list[Unfit]


class BundleError(FerIdError):
    """Damaged or changed bundle, or a bundle signed by another key than the trusted one."""


@dataclass(frozen=True)
class Verified:
    """Result of a bundle's verification: the signing key, and kind and name of the released run. ``trust`` is
    :data:`TRUSTED`, :data:`OWN`, or :data:`UNKNOWN`: the signature then shows integrity, not origin."""

    fingerprint: str
    trust: str
    kind: str
    name: str

    def __str__(self) -> str:
        if self.trust != UNKNOWN:
            return f"unchanged, and signed by {self.trust} ({self.fingerprint})"
        return (
            f"unchanged under the key it brings along ({self.fingerprint}). That shows integrity, not origin: "
            "compare the fingerprint with the one that the releaser told you"
        )


@dataclass(frozen=True)
class Released:
    """Released model, ready for inference, with its ``contract.json`` and the result of :func:`verify_bundle`.

    ``model`` is on the CPU, in float32 and evaluation mode; ``model(frames, valid, landmarks)`` returns logits (B, K),
    in the order of ``labels``, which ``temperature`` divides before the softmax. Clips whose largest calibrated
    probability is below ``threshold``, in [0, 1], go to a person; None: all clips do. ``provenance`` is that of the
    test data. The groups ``not_for_use_with`` are below the policy's bound, or have insufficient evidence.
    """

    model: ClipClassifier
    labels: LabelSpace
    temperature: float
    threshold: float | None
    contract: Contract
    provenance: str
    not_for_use_with: tuple[Unfit, ...]
    verified: Verified

    @property
    def demonstration(self) -> bool:
        """True for a demonstration, which is no evidence about children."""
        return self.contract.kind == DEMONSTRATION


def write_bundle(path: Path, files: Mapping[str, bytes], signer: Signer, *, kind: str, name: str) -> None:
    """Write and sign a bundle, whole or not at all. ``files`` holds the content of each file of :data:`CONTENT`,
    ``kind`` is :data:`RELEASE` or :data:`DEMONSTRATION`, ``name`` is the run's. Raises FerIdError where ``path``
    exists: an existing bundle is not replaced."""
    if set(files) != set(CONTENT):
        raise ValueError(f"a bundle holds {CONTENT}, given were {sorted(files)}")
    manifest = {
        "version": VERSION,
        "kind": kind,
        "name": name,
        "signed_by": signer.fingerprint,
        "files": {file: hashlib.sha256(files[file]).hexdigest() for file in CONTENT},
    }
    with atomic_folder(path) as draft:
        for file, content in files.items():
            atomic_write_bytes(draft / file, content)
        write_json(draft / MANIFEST, manifest)
        signature = signer.sign((draft / MANIFEST).read_bytes())
        write_json(draft / SIGNATURE, {"algorithm": "ed25519", "public_key": signer.public, "signature": signature})


def verify_bundle(path: str | Path, trusted_key: str | None = None) -> Verified:
    """Check every file of a bundle against its signed manifest; raise BundleError or SignatureError where one was
    changed.

    ``trusted_key`` is the fingerprint of the releaser's key, obtained from the releaser (64 hexadecimal digits):
    another signer is a BundleError. None accepts any key, and ``trust`` of the result states whether it is this
    machine's own.
    """
    path = Path(path)
    content, signed = _object(path / MANIFEST), json.loads(_object(path / SIGNATURE))
    public = signed.get("public_key")
    check_signature(content, signed.get("signature"), public, str(path))
    signed_by = fingerprint(str(public))
    if trusted_key is not None and signed_by != _as_fingerprint(trusted_key):
        raise BundleError(f"{path}: signed by {signed_by}, not by the key that you trust ({trusted_key})")
    manifest = _checked_manifest(path, json.loads(content))
    own = own_fingerprint(keys_home())
    trust = TRUSTED if trusted_key is not None else OWN if signed_by == own else UNKNOWN
    return Verified(signed_by, trust, manifest.kind, manifest.name)


def load_bundle(path: str | Path, trusted_key: str | None = None) -> Released:
    """Load the model of a bundle after :func:`verify_bundle`; the weights are safetensors, no code is executed. Raises
    BundleError and SignatureError as that function, BundleError for an invalid contract, and CheckpointError where the
    weights do not fit the model of the contract."""
    from fer_id.models.build import build_model
    from fer_id.models.checkpoint import load_model
    from fer_id.models.config import ModelConfig

    path = Path(path)
    verified = verify_bundle(path, trusted_key)
    contract = record(Contract, read_json(path / CONTRACT, BundleError), str(path / CONTRACT), BundleError)
    labels = LabelSpace(contract.labels.space, tuple(contract.labels.names))
    model = build_model(record(ModelConfig, contract.model, str(path / CONTRACT), BundleError), len(labels))
    load_model(model, path / WEIGHTS)
    return Released(
        model=model.eval(),
        labels=labels,
        temperature=contract.temperature,
        threshold=contract.review.threshold,
        contract=contract,
        provenance=contract.provenance,
        not_for_use_with=tuple(contract.not_for_use_with),
        verified=verified,
    )


def _object(path: Path) -> bytes:
    """Return the bytes of a bundle's file after checking that it holds a JSON object."""
    if not path.exists():
        raise BundleError(f"{path.parent} is not a bundle (no {path.name}); `fer-id release` makes one")
    try:
        content = read_bytes(path, BundleError, most=MOST_JSON)
        if isinstance(parse_json(content, path, BundleError), dict):
            return content
    except BundleError as problem:
        raise BundleError(f"{problem}: damaged; get the bundle again from whoever released it") from None
    raise BundleError(f"{path}: damaged (no object); get the bundle again from whoever released it")


def _checked_manifest(path: Path, manifest: Mapping[str, object]) -> Manifest:
    """Return the signed manifest; raise BundleError unless the folder holds exactly its files, unchanged."""
    if manifest.get("version") != VERSION:
        raise BundleError(f"{path}: of version {manifest.get('version')}, this program reads {VERSION}; update it")
    files, problems = manifest.get("files"), Problems(str(path))
    if not isinstance(files, dict) or set(files) != set(CONTENT):
        raise BundleError(f"{path}: its manifest does not name the files of a bundle: {', '.join(CONTENT)}")
    known = record(Manifest, manifest, str(path / MANIFEST), BundleError)
    for extra in sorted({file.name for file in path.iterdir()} - {*known.files, MANIFEST, SIGNATURE}):
        problems.add(f"{extra}: was added, the manifest does not name it")
    for name, expected in known.files.items():
        file = path / name
        if not file.is_file() or file.is_symlink():
            problems.add(f"{name}: missing")
        elif hashlib.sha256(read_bytes(file, BundleError, most=MOST_FILE)).hexdigest() != expected:
            problems.add(f"{name}: changed since the bundle was signed")
    problems.raise_if_any(BundleError, "Do not use it; get it again from whoever released it.")
    return known


def _as_fingerprint(text: str) -> str:
    """Return a typed fingerprint without spaces and colons, in lower case; raise BundleError for any other text."""
    plain = re.sub(r"[\s:]", "", text).lower()
    if not FINGERPRINT.fullmatch(plain):
        raise BundleError(f"{text!r} is no fingerprint: expected 64 hexadecimal digits, as `fer-id release` prints")
    return plain
