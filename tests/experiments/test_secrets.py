"""W&B gets no place, person, command or face: offline trainings, and a search through all bytes of their W&B files.

Secrets are planted in the environment, the command line, paths, the host's name, the names of children and their
pictures. Controls plant them in the sent data, to show that the search detects them there.
"""

import base64
import gzip
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import wandb
from PIL import Image

from experiments.cli import DONE, main
from experiments.training import trainer
from fer_id.labels import TARGET
from fer_id.loggers import disclosure, results
from fer_id.loggers import wandb as private
from fer_id.loggers.wandb_session import close_session
from fer_id.preprocessing.alignment import EYES_64
from fer_id.runs.run_dir import RunDir
from fer_id.store.card import StoreCard
from fer_id.store.writer import ClipStoreWriter
from tests.experiments.messages import Tiny

FACE = (250, 10, 240)
"""Colour of all planted faces; no figure uses it."""

ROOT = Path(__file__).resolve().parents[2]


def cohort(folder: Path, provenance: str, *, subjects: int) -> Path:
    """Return a store of children with recognisable names, whose pictures have one colour."""
    geometry = {"eyes": [list(eye) for eye in EYES_64], "colour": "rgb"}
    card = StoreCard(provenance, "target5", "subject_id", "planted", geometry=geometry, groups=["site"])
    rng = np.random.default_rng(0)
    with ClipStoreWriter(folder, card) as writer:
        for subject in range(subjects):
            for index, label in enumerate(TARGET.names):
                frames = np.full((2, 64, 64, 3), FACE, np.uint8)
                frames[:, :8] = 40 * index  # something to tell the classes by
                landmarks = rng.uniform(8, 56, (2, 68, 2)).astype(np.float32)
                row = {"clip_id": f"planted-clip-{subject}-{index}", "subject_id": f"planted-child-{subject}"}
                writer.add_clip(row | {"label": label, "site": f"site{subject % 2}"}, frames, landmarks)
    return folder


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Secrets by kind, which W&B's files must not hold; planted in the environment of this process."""
    wandb.teardown()  # else the address of its process is put back into the environment when that is gone
    monkeypatch.setattr(socket, "gethostname", lambda: "planted-host")
    monkeypatch.setattr(platform, "node", lambda: "planted-host")
    monkeypatch.setattr(sys, "argv", ["fer-id", "train", "data.store=planted-argument"])
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "planted-user")
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):  # set by the mirror itself
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path / "planted-home"))
    monkeypatch.setenv("HOSPITAL_PASSWORD", "value-of-the-environment")
    (tmp_path / "planted-home").mkdir()
    planted = {
        "a planted word": "planted-",
        "a value of the environment": "value-of-the-environment",
        "the folder of everything": str(tmp_path),
        "the working directory": str(Path.cwd()),
        "the checkout": str(ROOT),
        "the interpreter": sys.executable,
        "the source of the program": "def make_wandb_logger",
        "a versioned requirement": "torch==",
    }
    if len(host := os.uname().nodename) > 5:  # a shorter one may stand anywhere
        planted["the host"] = host
    if commit := _commit():
        planted["the commit"] = commit
    yield planted
    close_session()


def _commit() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(ROOT), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None


def kept_by_wandb(root: Path) -> list[Path]:
    """Return all files in the W&B folders below ``root``, with their logs."""
    wandb.teardown()  # its own process goes on writing after finish() has returned
    return sorted(file for folder in root.rglob("wandb") for file in folder.rglob("*") if file.is_file())


def leaks(root: Path, secrets: dict[str, str]) -> set[str]:
    """Return the secrets in the files' names or bytes: plain, in base64, in a URL, or compressed."""
    files = kept_by_wandb(root)
    held = b"".join(file.name.encode() + b"\0" + inflated(file.read_bytes()) + b"\0" for file in files)
    leaked = {what for what, secret in secrets.items() if any(form in held for form in forms(secret.encode()))}
    return leaked | ({"a face"} if any(map(shows_a_face, files)) else set())


def forms(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield quote(secret, safe="").encode()
    for shift in range(3):  # base64 takes three bytes at a time, from wherever the text began
        yield base64.b64encode(bytes(shift) + secret)[4 if shift else 0 : -4]


def inflated(content: bytes) -> bytes:
    """Return the bytes, and the content of their gzip streams."""
    whole, start = content, content.find(b"\x1f\x8b\x08")
    while start >= 0:
        with suppress(zlib.error):
            whole += zlib.decompressobj(31).decompress(content[start:])
        start = content.find(b"\x1f\x8b\x08", start + 1)
    return whole


def shows_a_face(file: Path) -> bool:
    """Return True for a picture with as many pixels of the planted colour as a small face."""
    content = file.read_bytes()
    if not content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")):
        return bytes(FACE) * 8 in content  # raw pixels
    near = np.abs(np.asarray(Image.open(file).convert("RGB"), int) - FACE).max(axis=-1) < 30
    return int(near.sum()) > 100


TOLD = ("explain.clips=2", "explain.checks=0", "logging.wandb=offline", "trainer.max_epochs=2")


@pytest.fixture
def train(tmp_path: Path, tiny: Tiny) -> Callable[..., Path]:
    """Train on a planted cohort by the command line; return the folder of the runs."""

    def run(provenance: str, *more: str, subjects: int = 7) -> Path:
        store, runs = cohort(tmp_path / "planted-store", provenance, subjects=subjects), tmp_path / "planted-runs"
        assert main(tiny(store, runs, *TOLD, *more)) == DONE
        return runs

    return run


LOSO = ("protocol=loso", "protocol.only=[planted-child-1,planted-child-4]", "name=study/loso")


def test_of_real_children_nothing_private_is_sent(secrets: dict[str, str], train: Callable[..., Path]) -> None:
    runs = train("real", *LOSO)
    assert not leaks(runs, secrets)
    held = b"".join(file.read_bytes() for file in kept_by_wandb(runs))
    assert len(list(runs.rglob("*.wandb"))) == 3
    assert b"train/loss" in held
    assert b"study/loso/folds/01" in held
    assert b"nothing is told" in held
    assert b"test/accuracy" not in held  # of two children
    assert b"val/loss" not in held


def test_of_drawn_children_faces_and_scores_are_sent_and_no_places(
    secrets: dict[str, str], train: Callable[..., Path]
) -> None:
    runs = train("synthetic", "name=study/single")
    assert leaks(runs, secrets) == {"a face"}  # strips of drawn children may leave: the search sees them
    held = b"".join(file.read_bytes() for file in kept_by_wandb(runs))
    assert b"test/accuracy" in held
    assert b"val/macro_f1" in held


@pytest.mark.parametrize(("setting", "sent"), [("logging.faces=false", False), ("logging.faces=true", True)])
def test_a_real_face_leaves_by_consent_and_setting_and_is_noted(
    setting: str, sent: bool, secrets: dict[str, str], tmp_path: Path, tiny: Tiny
) -> None:
    store = cohort(tmp_path / "planted-store", "real", subjects=16)
    card = json.loads((store / "card.json").read_text())
    days = {"recorded_on": "2026-01-01", "expires_on": "2099-01-01"}
    purposes = ("training", "evaluation", "media_sharing")  # the last one of half of the children
    card["consent"] = {f"planted-child-{n}": {"purposes": purposes[: 2 + n % 2], **days} for n in range(16)}
    (store / "card.json").write_text(json.dumps(card))
    more = ("trainer.callbacks=[grad_cam_panel]", "protocol.validation_fraction=0.6", "trainer.max_epochs=1", setting)
    runs = tmp_path / "planted-runs"
    assert main(tiny(store, runs, *TOLD, "explain.clips=0", "name=study/single", *more)) == DONE
    assert leaks(runs, secrets) == ({"a face"} if sent else set())
    uploads = RunDir.open(runs / "study" / "single").uploads()
    assert bool(uploads) is sent
    assert {line["subject_id"] for line in uploads} <= {f"planted-child-{n}" for n in range(1, 16, 2)}


# --------------------------------------------------------------------------------------------------------- controls


def carelessly(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Remove one precaution."""
    if what == "settings":
        monkeypatch.setattr(private, "public", dict)
    elif what == "folds":
        monkeypatch.setattr(trainer, "_wandb_name", lambda path, data: "/".join(path))
    elif what == "faces":
        original = results.send_explanation
        monkeypatch.setattr(disclosure, "FEWEST_SUBJECTS", 0)

        def careless(run: Any, content: Any, figures: Any, gallery: list[Any], *, faces: bool) -> Any:
            return original(run, content, figures, _all(gallery), faces=True)

        monkeypatch.setattr(results, "send_explanation", careless)


def _all(gallery: list[Any]) -> list[Any]:
    return [strip._replace(shareable=True) for strip in gallery]


@pytest.mark.parametrize(
    ("what", "leaked"),
    [
        pytest.param("settings", {"a planted word", "the folder of everything"}, marks=pytest.mark.slow),
        pytest.param("folds", {"a planted word"}, marks=pytest.mark.slow),
        pytest.param("faces", {"a face"}, marks=pytest.mark.slow),
    ],
)
def test_the_search_detects_the_leaks_of_a_careless_mirror(
    what: str, leaked: set[str], secrets: dict[str, str], train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    carelessly(monkeypatch, what)
    assert leaks(train("real", *LOSO), secrets) == leaked


HIDDEN = {
    "as it is": lambda text: text,
    "base64": base64.b64encode,
    "base64, within a text": lambda text: base64.b64encode(b"xy" + text + b"z"),
    "url": lambda text: quote(text, safe="").encode(),
    "gzip": gzip.compress,
}


@pytest.mark.parametrize("how", HIDDEN)
def test_the_search_detects_encoded_secrets(how: str, tmp_path: Path) -> None:
    secret = "/home/planted/store"
    folder = tmp_path / "run" / "wandb"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"before" + HIDDEN[how](secret.encode()) + b"after")
    assert leaks(tmp_path, {"a path": secret, "another": "/home/other"}) == {"a path"}
