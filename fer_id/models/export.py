"""A model as ONNX, for devices without torch: frame by frame where its head can be carried on, else whole clips.

The step of an ``lstm`` takes one frame and the state after the frames before it, and gives logits and the new state: a
camera can be followed at the cost of one frame each. ``gru``, ``mean`` and ``last`` carry theirs likewise. ``bilstm``,
``attention`` and ``transformer`` look at all frames at once and take a window of T frames.

A frame without a face leaves the state as it is. Logits before the first frame with a face mean nothing.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_id.models.heads import GRU, LSTM, Head, Last, Mean, Recurrent
from fer_id.models.network import ClipClassifier
from fer_id.types import CROP, LANDMARKS

OPSET = 20
TOLERANCE = 1e-4
"""Largest difference of a logit from torch's that is still the same model."""

STEP, CLIP = "step", "clip"

Clip = tuple[Tensor, Tensor, Tensor]
"""Frames (1, T, 3, 64, 64), valid (1, T), landmarks (1, T, 68, 2)."""


@dataclass(frozen=True)
class Exported:
    """A model as ONNX.

    Attributes:
        content: the file.
        kind: :data:`STEP`, one frame at a time, or :data:`CLIP`.
        frames: T of a whole-clip model; 1 of a step.
        state: name and size of what is carried from frame to frame; a step takes each as ``<name>``, (1, size), zeros
            at first, and gives it as ``next_<name>``.
        landmarks: whether it takes landmarks too.
    """

    content: bytes
    kind: str
    frames: int
    state: dict[str, int]
    landmarks: bool

    @property
    def inputs(self) -> dict[str, list[int]]:
        """Shape of each input, in order."""
        front = [1] if self.kind == STEP else [1, self.frames]
        named = {"frame": [*front, 3, CROP, CROP], "valid": front}
        if self.landmarks:
            named["landmarks"] = [*front, LANDMARKS, 2]
        return named | {name: [1, size] for name, size in self.state.items()}

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return ["logits", *(f"next_{name}" for name in self.state)]


class _Step(nn.Module):
    """One frame (1, 3, 64, 64), valid (1,), perhaps landmarks (1, 68, 2), and the state -> logits and new state."""

    def __init__(self, model: ClipClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor, valid: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        features = self.model.encoder(frame)
        if self.model.landmarks is not None:
            points, *rest = rest  # type: ignore[assignment]
            features = torch.cat([features, self.model.landmarks(points)], dim=-1)
        pooled, state = _advance(self.model.head, features, valid.unsqueeze(1), rest)
        return (self.model.classify(pooled), *state)


class _Whole(nn.Module):
    """Frames (1, T, 3, 64, 64), valid (1, T), perhaps landmarks (1, T, 68, 2) -> logits.

    Every frame is encoded: which are valid is not known when the graph is made.
    """

    def __init__(self, model: ClipClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, valid: Tensor, landmarks: Tensor | None = None) -> Tensor:
        return self.model.classify(self.model.pool(self.model.encode(frames, None, landmarks), valid))


def _state(head: Head) -> dict[str, int] | None:
    """Name and size of what a head carries from frame to frame; None where it needs all frames at once."""
    if isinstance(head, LSTM):
        return {"h": head.dim, "c": head.dim}
    if isinstance(head, GRU):
        return {"h": head.dim}
    if isinstance(head, Mean):
        return {"sum": head.dim, "count": 1}
    return {"last": head.dim} if isinstance(head, Last) else None


def _advance(head: Head, features: Tensor, valid: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Features (1, D) of one more frame, valid (1, 1) -> the pooled clip so far (1, H), and the new state."""
    if isinstance(head, Mean):
        total = torch.where(valid, state[0] + features, state[0])
        count = torch.where(valid, state[1] + 1, state[1])
        return total / count.clamp(min=1), (total, count)
    if isinstance(head, Last):
        last = torch.where(valid, features, state[0])
        return last, (last,)
    if not isinstance(head, Recurrent):
        raise TypeError(f"{type(head).__name__} carries no state")
    before = tuple(one.unsqueeze(0) for one in state)
    after = head.rnn(features.unsqueeze(1), before if isinstance(head, LSTM) else before[0])[1]
    after = after if isinstance(head, LSTM) else (after,)
    new = tuple(torch.where(valid, one.squeeze(0), old) for one, old in zip(after, state, strict=True))
    return new[0], new


def export_onnx(model: ClipClassifier, frames: int) -> Exported:
    """The ONNX of a model.

    Args:
        model: on the CPU, float32; put into evaluation mode.
        frames: T of a window, for heads that need all frames at once.
    """
    model.eval()
    state = _state(model.head)
    made = Exported(
        content=b"",
        kind=CLIP if state is None else STEP,
        frames=frames if state is None else 1,
        state=state or {},
        landmarks=model.landmarks is not None,
    )
    example = {name: torch.ones(shape) for name, shape in made.inputs.items()}
    example["valid"] = example["valid"].bool()
    wrapped = (_Whole(model) if state is None else _Step(model)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about how torch stores the weights of an LSTM
        program = torch.onnx.export(
            wrapped,
            tuple(example.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(made.inputs),
            output_names=made.outputs,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    return Exported(program.model_proto.SerializeToString(), made.kind, made.frames, made.state, made.landmarks)


def marked(content: bytes, marks: Mapping[str, str]) -> bytes:
    """An ONNX file with words of its own, which stay with it wherever it goes."""
    import onnx

    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, dict(marks))
    return bytes(model.SerializeToString())


class OnnxModel:
    """An exported model at work, on one thread of the CPU.

    Args:
        exported: of :func:`export_onnx`.
    """

    def __init__(self, exported: Exported) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.exported = exported
        self._session = ort.InferenceSession(exported.content, options, providers=["CPUExecutionProvider"])

    def logits(self, clip: Clip) -> NDArray[np.float32]:
        """Logits (K,) after the last frame of a clip."""
        if self.exported.kind == CLIP:
            return np.asarray(self.run(self._filled(clip), {})["logits"][0])
        found, state = dict[str, NDArray[Any]](), self.start()
        for one in _frames(clip):
            found = self.run(one, state)
            state = {name: found[f"next_{name}"] for name in state}
        return np.asarray(found["logits"][0])

    def start(self) -> dict[str, NDArray[np.float32]]:
        """The state before the first frame."""
        return {name: np.zeros((1, size), np.float32) for name, size in self.exported.state.items()}

    def run(self, seen: Sequence[Tensor], state: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """One call; ``seen`` is what the model looks at, in the order of its inputs."""
        given = {name: one.numpy() for name, one in zip(self.exported.inputs, seen, strict=False) if name not in state}
        return dict(zip(self.exported.outputs, self._session.run(None, given | state), strict=True))

    def _filled(self, clip: Clip) -> list[Tensor]:
        """A clip with frames without a face behind it, up to T."""
        missing = self.exported.frames - clip[0].shape[1]
        if missing < 0:
            raise ValueError(f"a clip of {clip[0].shape[1]} frames for a model of {self.exported.frames}")
        return [torch.cat([part, part.new_zeros(1, missing, *part.shape[2:])], dim=1) for part in self._seen(clip)]

    def _seen(self, clip: Sequence[Tensor]) -> Sequence[Tensor]:
        return clip if self.exported.landmarks else clip[:2]


def _frames(clip: Clip) -> Iterator[tuple[Tensor, ...]]:
    """The frames of a clip one by one."""
    for step in range(clip[0].shape[1]):
        yield tuple(part[:, step] for part in clip)


def parity(model: ClipClassifier, onnx: OnnxModel, clips: Iterable[Clip]) -> dict[str, Any]:
    """How far the ONNX model's logits are from torch's over whole clips.

    Returns:
        ``max_difference`` of a logit, ``clips`` and ``frames_without_face`` that it was measured on, ``tolerance``.
        Clips without one face are left out, since their logits mean nothing; ``max_difference`` is None without a clip.
    """
    differences, without = [], 0
    for frames, valid, landmarks in clips:
        if not valid.any():
            continue
        with torch.inference_mode():
            expected = model(frames, valid, landmarks)[0].numpy()
        differences.append(float(np.abs(expected - onnx.logits((frames, valid, landmarks))).max()))
        without += int((~valid).sum())
    return {
        "max_difference": max(differences, default=None),
        "clips": len(differences),
        "frames_without_face": without,
        "tolerance": TOLERANCE,
    }


def latency(onnx: OnnxModel, calls: int = 200, warm_up: int = 10) -> dict[str, Any]:
    """Milliseconds of one call (a frame of a step, else a whole clip): ``median``, ``p95``, ``calls``, ``per``."""
    clip = next(noise_clips(1, onnx.exported.frames, seed=0))
    if onnx.exported.kind == CLIP:
        seen: Sequence[Tensor] = clip
        per = f"clip of {onnx.exported.frames} frames"
    else:
        seen, per = next(_frames(clip)), "frame"
    state, took = onnx.start(), []
    for _ in range(warm_up + calls):
        began = time.perf_counter()
        onnx.run(seen, state)
        took.append(1000 * (time.perf_counter() - began))
    measured = np.array(took[warm_up:])
    return {"median": float(np.median(measured)), "p95": float(np.quantile(measured, 0.95)), "calls": calls, "per": per}


def noise_clips(count: int, frames: int, seed: int) -> Iterator[Clip]:
    """Clips of noise, every third frame without a face at random; for want of real ones."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        pixels = torch.rand(1, frames, 3, CROP, CROP, generator=generator)
        points = torch.rand(1, frames, LANDMARKS, 2, generator=generator) * CROP
        yield pixels, torch.rand(1, frames, generator=generator) > 1 / 3, points
