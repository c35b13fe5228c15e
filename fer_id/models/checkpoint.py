"""Safe loading of model weights: files that would run code are refused before they are unpickled."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fer_id.errors import CheckpointError, Problems
from fer_id.files import atomic_write_bytes
from fer_id.inputs import check_zip
from fer_id.progress import say

if TYPE_CHECKING:
    from fer_id.models.network import ClipClassifier

MODEL = "model."  # prefix of the model's weights in a training checkpoint, where a task holds it as ``self.model``
CONTAINERS = ("state_dict", "model")
"""Keys under which a file may hold its weights: that of Lightning and timm, and a common older one."""

REFUSED = re.compile(r"unsupported GLOBAL:? (?:GLOBAL )?([\w.]+)", re.IGNORECASE)
"""Message of torch's weights-only reader about a file with more than weights and plain containers."""

NARROW = (torch.float16, torch.bfloat16)  # formats that convert to float32 without loss
NOT_FINITE = "NaN or infinite values"
SPOILT = "Its training failed, or the file was changed since: give another checkpoint."
PLAIN = "Save its weights as plain tensors of float32, float16 or bfloat16."
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of a file of weights in torch's format before zip files."""


class DamagedError(CheckpointError):
    """A file of weights is truncated, has flipped bits, or is of another format."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return every weight of a file (safetensors, torch weights, training checkpoint) by name, on the CPU.

    Raise CheckpointError for no such file, a truncated or otherwise damaged one, no weights, or more than weights and
    plain containers (none of its code is run).
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
            f"{path}: {', '.join(strange[:3])} are no named tensors; expected a state_dict of weights, alone or under "
            f"{' or '.join(CONTAINERS)}"
        )
    return content


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Return the model's weights in a training checkpoint, without the task's prefix; of other files all weights."""
    tensors = read_tensors(path)
    model = {name.removeprefix(MODEL): value for name, value in tensors.items() if name.startswith(MODEL)}
    return model or tensors


def load_model(model: ClipClassifier, path: str | Path) -> None:
    """Load all weights of a model of the same config and classes. Raise CheckpointError as :func:`read_tensors`, or
    where the file is of another model; the model is then unchanged."""
    load_into(model, path)


def load_encoder(model: ClipClassifier, path: str | Path) -> None:
    """Load only the encoder's weights, of any model with it or of an encoder alone; raise as :func:`load_model`."""
    load_into(model.encoder, path, part="encoder")


def write_checkpoint(task: nn.Module, path: Path) -> None:
    """Write the weights of an untrained task in the format of a training checkpoint."""
    write_tensors({"state_dict": task.state_dict()}, path)


def write_tensors(content: Mapping[str, Any], path: Path) -> None:
    """Write tensors by name, or nested, to a file, whole or not at all; :func:`load_state` reads it."""
    data = io.BytesIO()
    torch.save(content, data)
    atomic_write_bytes(path, data.getvalue())


def load_into(module: nn.Module, path: str | Path, part: str = "") -> None:
    """Load a module from a file, or from the part of the file's model named ``part``; raise as :func:`load_model`."""
    state = load_state(path)
    prefix = f"{part}."
    state = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)} or state
    expected = module.state_dict()
    _require_same(expected, state, path, part)
    module.load_state_dict(usable(expected, state, path))


def usable(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Return the file's tensors that are expected, in the expected format: ``float16`` and ``bfloat16`` are widened.

    Raise CheckpointError, with the names of all such tensors, for NaN or infinite values, and for a format whose cast
    would change its meaning (integer, complex, quantised, sparse).
    """
    problems, reasons, widened = Problems(f"{path}: not usable as weights"), set[str](), set[str]()
    tensors = {name: value for name, value in sorted(state.items()) if name in expected}
    for name, value in tensors.items():
        problem = unusable(value, expected[name].dtype)
        if problem is not None:
            problems.add(f"{name}: {problem}")
            reasons.add(problem)
        elif value.dtype != expected[name].dtype:
            widened.add(_format(value.dtype))
            tensors[name] = value.to(expected[name].dtype)
    problems.raise_if_any(CheckpointError, SPOILT if NOT_FINITE in reasons else PLAIN)
    if widened:
        say(f"{path}: weights in {' and '.join(sorted(widened))} are widened to float32")
    return tensors


def unusable(value: Tensor, expected: torch.dtype) -> str | None:
    """Return the reason why a tensor cannot be loaded in the expected format; None where it can."""
    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        return "sparse, quantised or without values, expected a plain tensor"
    if value.dtype != expected and not (expected is torch.float32 and value.dtype in NARROW):
        return f"{_format(value.dtype)}, expected {_format(expected)}"
    return None if is_finite(value) else NOT_FINITE


def is_finite(value: Tensor) -> bool:
    """Return True unless a value is NaN or infinite."""
    if not value.numel() or not value.is_floating_point():
        return True
    return all(bool(torch.isfinite(bound)) for bound in torch.aminmax(value.detach()))


def _format(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def read_checkpoint(path: Path) -> Any:
    """Return the content of a file of weights, on the CPU: nothing but weights and plain containers.

    Raise DamagedError where the file is incomplete (checksums are compared, which torch does not do), and
    CheckpointError for no such file, or one with more than weights; none of its code is run.
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
    """Return an error with the reason why a file could not be read (code inside, or damage) and what to do."""
    code = REFUSED.search(str(error))
    if code is not None:
        return CheckpointError(
            f"{path}: holds more than weights and plain containers (it names {code[1]}); nothing of it was run. "
            "Save the state_dict alone, or use the checkpoint of a training run."
        )
    if path.suffix == ".safetensors" and zipfile.is_zipfile(path):
        return CheckpointError(f"{path}: is what torch.save writes, not safetensors; give the file the ending .pt")
    if (kind := _foreign(path)) is not None:
        return CheckpointError(
            f"{path}: is {kind}, no file of weights; nothing of it was run. Expected safetensors, or a state_dict or a "
            "training checkpoint as torch.save writes it."
        )
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    reason = line[:200] if line and "weights_only" not in line else type(error).__name__
    return DamagedError(
        f"{path}: cannot be read as weights ({reason}); it is truncated, damaged or of another format. "
        "Copy it again, or give another checkpoint."
    )


def _foreign(path: Path) -> str | None:
    """Return the kind of a file that may run code when it is unpacked; None for other files."""
    if tarfile.is_tarfile(path):
        return "a tar archive"
    with path.open("rb") as file:
        beginning = file.read(len(_LEGACY))
    return "a pickle" if beginning[:1] == b"\x80" and beginning != _LEGACY[: len(beginning)] else None


def _require_same(expected: dict[str, Tensor], state: dict[str, Tensor], path: str | Path, part: str) -> None:
    wrong = [
        f"{name}: shape {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & state.keys()
        if expected[name].shape != state[name].shape
    ]
    wrong += [f"{name}: missing" for name in expected.keys() - state.keys()]
    wrong += [f"{name}: not part of this model" for name in state.keys() - expected.keys()]
    problems = Problems(f"{path}: weights of another model", sorted(wrong))
    settings = "model.encoder, its widths, convs and space_to_depth"
    same = f"encoder ({settings})" if part == "encoder" else "encoder, head, sizes and classes"
    problems.raise_if_any(CheckpointError, f"Give weights of the same {same}.")
