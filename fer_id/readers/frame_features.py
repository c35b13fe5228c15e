"""Features of every frame of a store by one trained encoder, cached in a folder:

    values.npy    float16 (N, T, D), memory-mapped; zero for a frame without a face
    valid.npy     bool (N, T)
    record.json   the SHA-256 of the weights, the fingerprint of the store, and the SHA-256 of the clips' names

An encoder is trained once; every question about time is then asked of its features. They are refused where the weights
or the store are others than recorded. Encoding and reading keep memory flat in the number of clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from fer_id.errors import RunError
from fer_id.evaluation.config import Rows
from fer_id.evaluation.scores import Floats
from fer_id.files import atomic_folder
from fer_id.models.network import ClipClassifier
from fer_id.runs.records import Part, read_record
from fer_id.shapes import Text
from fer_id.types import ClipBatch

AT_ONCE = 64
"""Frames that a processor encodes at once: the activations of more leave its cache."""


class Origin(Part):
    """Origin of cached features, weights and clips: ``record.json``."""

    weights: Text
    """SHA-256 of the encoder's checkpoint."""
    store: Text
    clips: Text
    """SHA-256 of the clips' names, in their order."""

    @classmethod
    def of(cls, weights: str, store: str, clip_ids: Sequence[str]) -> Self:
        """Return the origin of the features of these clips."""
        digest = hashlib.sha256("\n".join(clip_ids).encode()).hexdigest()
        return cls(weights=weights, store=store, clips=digest)


@dataclass(frozen=True)
class FrameFeatures:
    """Frame features of N clips of T frames, in the order of their store's table."""

    values: NDArray[np.float16]  # (N, T, D)
    valid: NDArray[np.bool_]  # (N, T)
    folder: Path

    @classmethod
    def write(
        cls, folder: Path, model: ClipClassifier, batches: Iterable[ClipBatch], shape: tuple[int, int], origin: Origin
    ) -> FrameFeatures:
        """Encode clips, all of ``shape`` (N, T), batch by batch, as at test time, into a folder that appears whole.

        The model is in evaluation mode; ``batches`` has frames (B, T, 3, 64, 64) in [0, 1]. Raise RunError where a
        feature is not finite in float16.
        """
        clips, frames = shape
        device = next(model.parameters()).device
        each = max(1, AT_ONCE // frames) if device.type == "cpu" else clips
        dim = model.encoder.dim + (0 if model.landmarks is None else model.landmarks.dim)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as draft, torch.inference_mode():
            memmap = np.lib.format.open_memmap
            values = memmap(draft / "values.npy", "w+", np.float16, (clips, frames, dim))
            valid = memmap(draft / "valid.npy", "w+", np.bool_, (clips, frames))
            start = 0
            for batch in batches:
                inputs = (torch.split(batch[key].to(device), each) for key in ("frames", "valid", "landmarks"))
                features = torch.cat([model.encode(*part) for part in zip(*inputs, strict=True)]).half().cpu().numpy()
                if not np.isfinite(features).all():
                    raise RunError(f"{folder}: features of {batch['clip_id'][0]} and others are not finite in float16")
                part = slice(start, start + len(features))
                values[part], valid[part] = features, batch["valid"].numpy()
                start = part.stop
            values.flush()
            valid.flush()
            origin.write(draft / "record.json")
        return cls.open(folder, origin)

    @classmethod
    def open(cls, folder: Path, origin: Origin) -> FrameFeatures:
        """Open cached features; raise RunError where they are damaged, or not of these weights, this store and these
        clips."""
        again = f"remove the folder, and the same command encodes the clips again: rm -r {folder}"
        recorded = read_record(Origin, folder / "record.json", again)
        words = {"weights": "other weights", "store": "another store", "clips": "other clips"}
        if other := [words[key] for key in words if recorded[key] != origin[key]]:
            raise RunError(f"{folder}: cached features of {' and '.join(other)} than those given; {again}")
        try:
            values, valid = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("values", "valid"))
        except (OSError, ValueError) as problem:
            raise RunError(f"{folder}: cannot be read ({problem}); {again}") from None
        if values.shape[:2] != valid.shape or values.dtype != np.float16 or valid.dtype != np.bool_:
            raise RunError(f"{folder}: values {values.shape} do not fit valid {valid.shape}; {again}")
        return cls(values, valid, folder)

    def reduced(self, rows: Rows, dim: int, block: int = 256) -> NDArray[np.float32]:
        """Return all clips' features on their first ``dim`` principal components, float32 (N, T, dim), zero for a frame
        without a face; see :meth:`components`."""
        mean, axes = self.components(rows, dim, block)
        result = np.empty((*self.valid.shape, axes.shape[1]), np.float32)
        for part in _blocks(np.arange(len(self.valid)), block):
            result[part] = ((self.values[part] - mean) @ axes) * self.valid[part][..., None]
        return result

    def components(self, rows: Rows, dim: int, block: int = 256) -> tuple[Floats, Floats]:
        """Return mean (D,) and axes (D, dim) of the valid frames of ``rows``, the training clips: a frame's components
        are ``(x - mean) @ axes``, divided by one number for all (the root of their mean variance). With at most ``dim``
        features all stay."""
        size = self.values.shape[2]
        count, total, square = 0, np.zeros(size), np.zeros((size, size))
        for part in _blocks(rows, block):
            x = self.values[part][self.valid[part]].astype(np.float64)
            count, total, square = count + len(x), total + x.sum(0), square + x.T @ x
        mean = total / max(count, 1)
        variance, axes = np.linalg.eigh(square / max(count, 1) - np.outer(mean, mean))
        axes, variance = axes[:, ::-1][:, :dim], variance[::-1][:dim]
        axes *= np.sign(
            axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])]
        )  # eigenvectors have no sign of their own
        return mean, axes / np.sqrt(max(variance.mean(), 1e-12))


def _blocks(rows: Rows, size: int) -> list[Rows]:
    """Return the rows in their order, in blocks of at most ``size``."""
    return np.array_split(rows, max(1, -(-len(rows) // size)))
