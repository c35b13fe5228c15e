"""ONNX export of a model for devices without torch: frame by frame where the head has a state, else in whole clips.

The step of an ``lstm`` takes one frame and the state after the previous frames, and gives logits and the new state: a
camera can be followed at the cost of one frame each. ``gru``, ``mean``, ``last``, ``set``, ``running_set`` and
``running_lstm`` have a state too; that of the last two holds the features of 64 frames. The others need all frames at
once and take a window of T frames.

A frame without a face does not change the state. Logits before the first frame with a face are meaningless.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_id.extras import require_extra
from fer_id.models.heads import (
    GRU,
    LSTM,
    WINDOW,
    Head,
    Last,
    Mean,
    Recurrent,
    RunningLSTM,
    RunningSet,
    Set,
    baseline,
    spread,
)
from fer_id.models.network import ClipClassifier
from fer_id.types import CROP, LANDMARKS

OPSET = 20
TOLERANCE = 1e-4  # largest accepted difference of a logit from torch's
STEP, CLIP = "step", "clip"
Clip = tuple[Tensor, Tensor, Tensor]  # frames (1, T, 3, 64, 64), valid (1, T), landmarks (1, T, 68, 2)


@dataclass(frozen=True)
class Exported:
    """A model as ONNX."""

    content: bytes
    kind: str  # STEP, one frame at a time, or CLIP
    frames: int  # T of a whole-clip model; 1 of a step
    # name and size of each state tensor; a step takes each as ``<name>``, (1, size), zeros at first, and returns it as
    # ``next_<name>``
    state: dict[str, int]
    landmarks: bool  # True where the model takes landmarks too

    @property
    def inputs(self) -> dict[str, list[int]]:
        """Shape of each input, in order."""
        front = [1] if self.kind == STEP else [1, self.frames]
        shapes = {"frame": [*front, 3, CROP, CROP], "valid": front}
        if self.landmarks:
            shapes["landmarks"] = [*front, LANDMARKS, 2]
        return shapes | {name: [1, size] for name, size in self.state.items()}

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return ["logits", *(f"next_{name}" for name in self.state)]


class _Step(nn.Module):
    """One frame (1, 3, 64, 64), valid (1,), landmarks (1, 68, 2) if used, and state -> logits and new state."""

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
    """Module for whole clips: frames (1, T, 3, 64, 64), valid (1, T), landmarks (1, T, 68, 2) if used -> logits. Every
    frame is encoded, since the graph cannot depend on which frames are valid."""

    def __init__(self, model: ClipClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, valid: Tensor, landmarks: Tensor | None = None) -> Tensor:
        return self.model.classify(self.model.pool(self.model.encode(frames, None, landmarks), valid))


def _state(head: Head) -> dict[str, int] | None:
    """Return name and size of a head's state tensors; None where the head needs all frames at once."""
    if isinstance(head, RunningLSTM):
        return {"frames": 1, "window": WINDOW * head.rnn.input_size, "h": head.dim, "c": head.dim}
    if isinstance(head, LSTM):
        return {"h": head.dim, "c": head.dim}
    if isinstance(head, GRU):
        return {"h": head.dim}
    if isinstance(head, Mean):
        return {"sum": head.dim, "count": 1}
    if isinstance(head, RunningSet):
        sizes = dict.fromkeys(("sum", "squares", "highest", "lowest"), head.dim // 4)
        return {"frames": 1, "window": WINDOW * head.dim // 4, "count": 1, **sizes}
    if isinstance(head, Set):
        return {"count": 1, **dict.fromkeys(("sum", "squares", "highest", "lowest"), head.dim // 4)}
    return {"last": head.dim} if isinstance(head, Last) else None


def _advance(head: Head, features: Tensor, valid: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the pooled clip so far (1, H) and the new state, from one frame's features (1, D) and valid (1, 1)."""
    before: tuple[Tensor, ...] = ()
    if isinstance(head, RunningLSTM | RunningSet):
        features, before = _minus_baseline(features, valid, *state[:2])
        state = state[2:]
        if isinstance(head, RunningSet):  # the second frame replaces the first one, which has no baseline
            state = [torch.where(valid & (before[0] == 2), 0.0, part) for part in state]
    if isinstance(head, Mean):
        total = torch.where(valid, state[0] + features, state[0])
        count = torch.where(valid, state[1] + 1, state[1])
        return total / count.clamp(min=1), (total, count)
    if isinstance(head, Set):
        more = _add_to_set(features, *state)
        known = tuple(torch.where(valid, part, old) for part, old in zip(more, state, strict=True))
        count, total, squares, highest, lowest = known
        frames = count.clamp(min=1)
        return torch.cat([total / frames, highest, lowest, spread(squares, frames)], dim=-1), (*before, *known)
    if isinstance(head, Last):
        last = torch.where(valid, features, state[0])
        return last, (last,)
    if not isinstance(head, Recurrent):
        raise TypeError(f"{type(head).__name__} carries no state")
    old = tuple(part.unsqueeze(0) for part in state)
    after = head.rnn(features.unsqueeze(1), old if isinstance(head, LSTM) else old[0])[1]
    after = after if isinstance(head, LSTM) else (after,)
    new = tuple(torch.where(valid, part.squeeze(0), old) for part, old in zip(after, state, strict=True))
    return new[0], (*before, *new)


def _minus_baseline(
    features: Tensor, valid: Tensor, frames: Tensor, window: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return one frame's features (1, D) minus the median of the window with it, and the new number of valid frames
    (1, 1) and window (1, W D), oldest frame first."""
    frames = torch.where(valid, frames + 1, frames)
    window = torch.where(valid, torch.cat([window[:, features.shape[1] :], features], dim=1), window)
    present = torch.arange(WINDOW, 0, -1, device=frames.device) <= frames
    return features - baseline(window.view(len(window), WINDOW, -1), present), (frames, window)


def _add_to_set(
    features: Tensor, count: Tensor, total: Tensor, squares: Tensor, highest: Tensor, lowest: Tensor
) -> tuple[Tensor, ...]:
    """Return the state of a ``set`` head after one more valid frame; ``squares`` are the summed squares of deviations
    from the mean so far (Welford, 1962), whose difference of large numbers is none."""
    first, now = count == 0, total + features
    before, mean = total / count.clamp(min=1), now / (count + 1)
    squares = torch.where(first, 0.0, squares + (features - before) * (features - mean))
    highest = torch.where(first, features, torch.maximum(highest, features))
    return count + 1, now, squares, highest, torch.where(first, features, torch.minimum(lowest, features))


def export_onnx(model: ClipClassifier, frames: int) -> Exported:
    """Export a model on the CPU in float32, which is put into evaluation mode, to ONNX. ``frames`` is T of a window,
    for heads that need all frames at once. Raise MissingExtraError where what the export needs is not installed."""
    require_extra("export", "the ONNX export")
    model.eval()
    state = _state(model.head)
    exported = Exported(
        content=b"",
        kind=CLIP if state is None else STEP,
        frames=frames if state is None else 1,
        state=state or {},
        landmarks=model.landmarks is not None,
    )
    example = {name: torch.ones(shape) for name, shape in exported.inputs.items()}
    example["valid"] = example["valid"].bool()
    wrapped = (_Whole(model) if state is None else _Step(model)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about the storage of LSTM weights
        program = torch.onnx.export(
            wrapped,
            tuple(example.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(exported.inputs),
            output_names=exported.outputs,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    return replace(exported, content=program.model_proto.SerializeToString())


def marked(content: bytes, marks: Mapping[str, str]) -> bytes:
    """Return an ONNX file with added metadata, which stay inside the file."""
    import onnx

    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, dict(marks))
    return bytes(model.SerializeToString())


class OnnxModel:
    """Inference session of an exported model, on one thread of the CPU."""

    def __init__(self, exported: Exported) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.exported = exported
        self._session = ort.InferenceSession(exported.content, options, providers=["CPUExecutionProvider"])

    def logits(self, clip: Clip) -> NDArray[np.float32]:
        """Return the logits (K,) after the last frame of a clip."""
        if self.exported.kind == CLIP:
            missing = self.exported.frames - clip[0].shape[1]  # filled with frames without a face
            if missing < 0:
                raise ValueError(f"a clip of {clip[0].shape[1]} frames for a model of {self.exported.frames}")
            parts = [torch.cat([part, part.new_zeros(1, missing, *part.shape[2:])], dim=1) for part in clip]
            return np.asarray(self.run(parts, {})["logits"][0])
        outputs, state = dict[str, NDArray[Any]](), self.start()
        for step in range(clip[0].shape[1]):
            outputs = self.run([part[:, step] for part in clip], state)
            state = {name: outputs[f"next_{name}"] for name in state}
        return np.asarray(outputs["logits"][0])

    def start(self) -> dict[str, NDArray[np.float32]]:
        """Return the state before the first frame."""
        return {name: np.zeros((1, size), np.float32) for name, size in self.exported.state.items()}

    def run(self, tensors: Sequence[Tensor], state: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """Run the session once and return its outputs by name; ``tensors`` come in the order of the inputs."""
        inputs = {
            name: tensor.numpy()
            for name, tensor in zip(self.exported.inputs, tensors, strict=False)
            if name not in state
        }
        return dict(zip(self.exported.outputs, self._session.run(None, inputs | state), strict=True))


class Parity(TypedDict):
    """Difference between the logits of an ONNX model and of torch over clips: the largest, None without a clip."""

    max_difference: float | None
    clips: int
    frames_without_face: int
    tolerance: float
    of: NotRequired[str]


class Latency(TypedDict):
    """Milliseconds per call, of ``calls`` calls; ``per``: what one call computes, a frame of a step or else a clip."""

    median: float
    p95: float
    calls: int
    per: str


def parity(model: ClipClassifier, onnx: OnnxModel, clips: Iterable[Clip]) -> Parity:
    """Compare an ONNX model with torch over whole clips but those without a face, whose logits are meaningless."""
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


def latency(onnx: OnnxModel, calls: int = 200, warm_up: int = 10) -> Latency:
    """Measure the milliseconds per call over noise."""
    clip: Sequence[Tensor] = next(noise_clips(1, onnx.exported.frames, seed=0))
    per = f"clip of {onnx.exported.frames} frames"
    if onnx.exported.kind == STEP:
        clip, per = [part[:, 0] for part in clip], "frame"
    state, took = onnx.start(), []
    for _ in range(warm_up + calls):
        began = time.perf_counter()
        onnx.run(clip, state)
        took.append(1000 * (time.perf_counter() - began))
    measured = np.array(took[warm_up:])
    return {"median": float(np.median(measured)), "p95": float(np.quantile(measured, 0.95)), "calls": calls, "per": per}


def noise_clips(count: int, frames: int, seed: int) -> Iterator[Clip]:
    """Yield clips of noise with a random third of frames without a face, for parity checks without real clips."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        pixels = torch.rand(1, frames, 3, CROP, CROP, generator=generator)
        points = torch.rand(1, frames, LANDMARKS, 2, generator=generator) * CROP
        yield pixels, torch.rand(1, frames, generator=generator) > 1 / 3, points
