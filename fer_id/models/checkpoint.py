"""Weights from files, and nothing but weights: a file that would run code is refused before it can."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fer_id.errors import CheckpointError, Problems
from fer_id.files import atomic_write_bytes
from fer_id.inputs import check_zip

if TYPE_CHECKING:
    from fer_id.models.network import ClipClassifier

MODEL = "model."
"""Prefix of the model's weights in a training checkpoint, where a task holds it as ``self.model``."""

CONTAINERS = ("state_dict", "model")
"""Keys under which a file may hold its weights: Lightning's and timm's, and a common older one."""


REFUSED = re.compile(r"unsupported GLOBAL:? (?:GLOBAL )?([\w.]+)", re.IGNORECASE)
"""How torch's weights-only reader says that a file names something other than weights and plain containers."""


class DamagedError(CheckpointError):
    """A file of weights is not whole: truncated, with flipped bits, or something else altogether."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Every weight of a file (safetensors, a torch file of weights, a training checkpoint) by its name, on the CPU.

    Raises:
        CheckpointError: no such file; truncated or otherwise damaged; more than weights and plain containers (nothing
            of it is run); no weights.
    """
    path = Path(path)
    content = read_checkpoint(path)
    if isinstance(content, dict):
        content = next((content[key] for key in CONTAINERS if isinstance(content.get(key), dict)), content)
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path}: holds no weights; expected a state_dict of named tensors")
    strange = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strange:
        raise CheckpointError(
            f"{path}: {', '.join(strange[:3])} are no named tensors; expected a state_dict of weights"
        )
    return content


def load_state(path: str | Path) -> dict[str, Tensor]:
    """The weights of the model in a training checkpoint, without the task's prefix; any other file of weights as it is.

    Raises:
        CheckpointError: as ``read_tensors``.
    """
    tensors = read_tensors(path)
    model = {name.removeprefix(MODEL): value for name, value in tensors.items() if name.startswith(MODEL)}
    return model or tensors


def load_model(model: ClipClassifier, path: str | Path) -> None:
    """Loads all weights of a model of the same config and classes.

    Raises:
        CheckpointError: as ``read_tensors``, or the file is of another model; the model is then unchanged.
    """
    load_into(model, path)


def load_encoder(model: ClipClassifier, path: str | Path) -> None:
    """Loads the encoder's weights alone: from a checkpoint of any model with the same encoder, or a file of an encoder.

    Raises:
        CheckpointError: as ``read_tensors``, or the file is of another encoder; the model is then unchanged.
    """
    load_into(model.encoder, path, part="encoder")


def write_checkpoint(task: nn.Module, path: Path) -> None:
    """Writes the weights of a task that was not trained, where and as training would have left them."""
    content = io.BytesIO()
    torch.save({"state_dict": task.state_dict()}, content)
    atomic_write_bytes(path, content.getvalue())


def load_into(module: nn.Module, path: str | Path, part: str = "") -> None:
    """Loads a module from a file, or from the ``part`` of the file's model that has this name, if it has one.

    Raises:
        CheckpointError: as ``load_model``.
    """
    state = load_state(path)
    prefix = f"{part}."
    state = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)} or state
    _require_same(module.state_dict(), state, path)
    module.load_state_dict(state)


def read_checkpoint(path: Path) -> Any:
    """What a file of weights holds, weights on the CPU; nothing but weights and plain containers.

    Raises:
        DamagedError: it is not whole; checksums are compared, which torch does not do.
        CheckpointError: no such file, or it holds more than weights; nothing of it is run.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file of weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if zipfile.is_zipfile(path):
            check_zip(path, CheckpointError)
            with zipfile.ZipFile(path) as parts:
                if (bad := parts.testzip()) is not None:
                    raise zipfile.BadZipFile(f"wrong checksum of {bad}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise _explained(path, error) from error


def _explained(path: Path, error: Exception) -> CheckpointError:
    """Why a file could not be read, and what to do: it wanted to run code, or it is damaged."""
    code = REFUSED.search(str(error))
    if code is not None:
        return CheckpointError(
            f"{path}: holds more than weights and plain containers (it names {code[1]}); nothing of it was run. "
            "Save the state_dict alone, or use the checkpoint of a training run."
        )
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return DamagedError(
        f"{path}: cannot be read as weights ({line[:200]}); it is truncated, damaged or of another format. "
        "Copy it again, or give another checkpoint."
    )


def _require_same(expected: dict[str, Tensor], given: dict[str, Tensor], path: str | Path) -> None:
    problems = Problems(f"{path}: weights of another model")
    for name in expected.keys() & given.keys():
        if expected[name].shape != given[name].shape:
            shapes = f"{tuple(given[name].shape)}, expected {tuple(expected[name].shape)}"
            problems.add(f"{name}: shape {shapes}")
    for name in expected.keys() - given.keys():
        problems.add(f"{name}: missing")
    for name in given.keys() - expected.keys():
        problems.add(f"{name}: not part of this model")
    problems.found.sort()
    problems.raise_if_any(CheckpointError, "Give a checkpoint of the same encoder, head, sizes and classes.")
