"""Bundles: every change is detected, the signer is identified, and the model is loaded as it was packed."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from fer_id.errors import CheckpointError, FerIdError
from fer_id.models.build import build_model
from fer_id.models.config import ModelConfig
from fer_id.models.network import ClipClassifier
from fer_id.release.bundle import (
    CONTENT,
    CONTRACT,
    MANIFEST,
    OWN,
    SIGNATURE,
    TRUSTED,
    UNKNOWN,
    WEIGHTS,
    BundleError,
    Contract,
    Unfit,
    load_bundle,
    verify_bundle,
    write_bundle,
)
from fer_id.release.signing import SignatureError, Signer
from fer_id.shapes import misfits

CONFIG = ModelConfig(widths=[4, 4, 8, 8], convs=[1, 1, 1, 1], hidden=8)
NAMES = ["happy", "sad", "angry", "fear", "neutral"]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the releaser's key."""
    monkeypatch.setenv("FER_ID_KEYS", str(tmp_path / "keys"))
    return tmp_path / "keys"


@pytest.fixture(scope="module")
def model() -> ClipClassifier:
    """Randomly initialised model, fixed seed."""
    torch.manual_seed(3)
    return build_model(CONFIG, len(NAMES)).eval()


def content_of(classifier: ClipClassifier, **changes: Any) -> dict[str, bytes]:
    """Return the content of a bundle's files, with changes to the contract."""
    contract = {
        "kind": "release",
        "provenance": "real",
        "labels": {"space": "target5", "names": NAMES},
        "model": asdict(CONFIG),
        "temperature": 1.5,
        "review": {"threshold": None},
        "not_for_use_with": [asdict(Unfit("severity", "severe", "insufficient evidence"))],
    }
    files = {name: f"{name}\n".encode() for name in CONTENT}
    return files | {WEIGHTS: save(classifier.state_dict()), CONTRACT: json.dumps(contract | changes).encode()}


@pytest.fixture
def bundle(tmp_path: Path, keys: Path, model: ClipClassifier) -> Path:
    """Bundle signed by this machine's own key."""
    signer = Signer.load(keys, create=True)
    write_bundle(tmp_path / "bundle", content_of(model), signer, kind="release", name="site/final")
    return tmp_path / "bundle"


def test_a_bundle_is_loaded_as_it_was_written(bundle: Path, model: ClipClassifier) -> None:
    released = load_bundle(bundle)
    frames, valid = torch.rand(2, 4, 3, 64, 64), torch.tensor([[True, False, True, True], [False] * 4])
    with torch.inference_mode():
        assert torch.equal(released.model(frames, valid), model(frames, valid))
    assert not released.model.training
    assert (released.temperature, released.threshold, released.provenance) == (1.5, None, "real")
    assert released.labels.names == tuple(NAMES)
    assert [str(group) for group in released.not_for_use_with] == ["severity severe: insufficient evidence"]
    assert not released.demonstration


@pytest.mark.parametrize("name", [*CONTENT, MANIFEST, SIGNATURE])
@pytest.mark.parametrize("harm", ["a byte more", "removed", "a link"])
def test_any_changed_file_is_named(bundle: Path, name: str, harm: str) -> None:
    file = bundle / name
    if harm == "a byte more":
        file.write_bytes(file.read_bytes() + b"}" * (name in (MANIFEST, SIGNATURE)) + b" ")
    elif harm == "a link" and name in CONTENT:
        shutil.move(file, bundle.parent / name)
        file.symlink_to(bundle.parent / name)
    else:
        file.unlink()
    with pytest.raises((BundleError, SignatureError), match=r"changed|missing|damaged|no manifest|no signature"):
        load_bundle(bundle)


def test_all_changed_files_are_named_in_one_message(bundle: Path) -> None:
    (bundle / "README.md").write_text("better")
    (bundle / "model.onnx").unlink()
    (bundle / "run_me.py").write_text("")
    with pytest.raises(BundleError) as raised:
        verify_bundle(bundle)
    for line in ("README.md: changed", "model.onnx: missing", "run_me.py: was added"):
        assert line in str(raised.value)


@pytest.mark.parametrize("inside", ["extra", ".hidden"])
def test_an_added_folder_is_refused(bundle: Path, inside: str) -> None:
    (bundle / inside).mkdir()
    with pytest.raises(BundleError, match="was added"):
        verify_bundle(bundle)


def test_a_manifest_made_to_fit_needs_a_new_signature(bundle: Path) -> None:
    """The signature detects a change of a file together with its checksum."""
    import hashlib

    (bundle / "LIMITS").write_text("none")
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"]["LIMITS"] = hashlib.sha256(b"none").hexdigest()
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(SignatureError, match="changed since it was signed"):
        verify_bundle(bundle)


def test_a_bundle_of_another_key_is_not_the_trusted_one(bundle: Path, tmp_path: Path, model: ClipClassifier) -> None:
    trusted = verify_bundle(bundle).fingerprint
    shutil.rmtree(bundle)
    forger = Signer.load(tmp_path / "forger", create=True)
    write_bundle(bundle, content_of(model, temperature=9.0), forger, kind="release", name="site/final")
    with pytest.raises(BundleError, match="not by the key that you trust"):
        load_bundle(bundle, trusted)
    verified = verify_bundle(bundle)  # without a trusted key only integrity is verified
    assert (verified.trust, verified.fingerprint) == (UNKNOWN, forger.fingerprint)
    assert "not origin" in str(verified)


def test_a_signature_that_names_another_key_is_refused(bundle: Path, tmp_path: Path) -> None:
    """A forger's signature beside the releaser's public key is refused."""
    forger = Signer.load(tmp_path / "forger", create=True)
    signature = json.loads((bundle / SIGNATURE).read_text())
    signature["signature"] = forger.sign((bundle / MANIFEST).read_bytes())
    (bundle / SIGNATURE).write_text(json.dumps(signature))
    with pytest.raises(SignatureError):
        verify_bundle(bundle)


def test_the_signer_is_identified(bundle: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Signer.load(keys).fingerprint
    assert verify_bundle(bundle).trust == OWN
    assert verify_bundle(bundle, own).trust == TRUSTED
    assert verify_bundle(bundle, ":".join(own[i : i + 2] for i in range(0, 64, 2)).upper()).trust == TRUSTED
    monkeypatch.setenv("FER_ID_KEYS", str(keys / "elsewhere"))
    assert verify_bundle(bundle).trust == UNKNOWN
    with pytest.raises(BundleError, match="no fingerprint"):
        verify_bundle(bundle, "abc")


@pytest.mark.parametrize(
    "manifest", [{"version": 99}, {"version": 1, "files": ["LIMITS"]}, {"version": 1, "files": {"../key": "00"}}]
)
def test_a_strange_manifest_is_refused_though_signed(bundle: Path, keys: Path, manifest: dict[str, Any]) -> None:
    signer = Signer.load(keys)
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    signature = signer.sign((bundle / MANIFEST).read_bytes())
    (bundle / SIGNATURE).write_text(json.dumps({"public_key": signer.public, "signature": signature}))
    with pytest.raises(BundleError, match=r"version 99|does not name the files"):
        verify_bundle(bundle)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        verify_bundle(tmp_path / "nowhere")
    (bundle / MANIFEST).write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match="damaged"):
        verify_bundle(bundle)


def test_weights_of_another_model_are_refused_though_signed(tmp_path: Path, keys: Path, model: ClipClassifier) -> None:
    other = content_of(model, model=asdict(CONFIG) | {"hidden": 16})
    write_bundle(tmp_path / "other", other, Signer.load(keys, create=True), kind="release", name="x/y")
    with pytest.raises(CheckpointError, match="another model"):
        load_bundle(tmp_path / "other")


def test_nothing_is_replaced_and_nothing_half_written(bundle: Path, keys: Path, model: ClipClassifier) -> None:
    before = (bundle / MANIFEST).read_bytes()
    with pytest.raises(FerIdError, match="exists already"):
        write_bundle(bundle, content_of(model), Signer.load(keys), kind="release", name="x/y")
    assert (bundle / MANIFEST).read_bytes() == before
    with pytest.raises(ValueError, match="a bundle holds"):
        write_bundle(bundle.parent / "new", {WEIGHTS: b""}, Signer.load(keys), kind="release", name="x/y")
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle", "keys"]


def test_no_contract_of_another_shape_is_followed_though_signed(
    tmp_path: Path, keys: Path, model: ClipClassifier, spoilt: Callable[[object], Iterator[tuple[str, object]]]
) -> None:
    """The signature says nothing of the contract's form: its signer may write any content."""
    files, signer = content_of(model), Signer.load(keys, create=True)
    accepted = []
    for place, value in spoilt(json.loads(files[CONTRACT])):
        if not isinstance(value, dict) or misfits(Contract, value) or misfits(ModelConfig, value["model"]):
            continue
        accepted.append(place)
        path, content = tmp_path / f"b{len(accepted)}", json.dumps(value).encode()
        write_bundle(path, files | {CONTRACT: content}, signer, kind="release", name="x/y")
        with suppress(FerIdError):
            assert load_bundle(path).temperature > 0
    assert 0 < len(accepted) < 300
    for word in ("labels", "temperature", "review", "provenance"):
        assert not [place for place in accepted if place.startswith(f".{word} =")], word
