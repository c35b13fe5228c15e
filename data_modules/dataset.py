"""Datasets, samplers and collation of clips; order and augmentation depend on seed, epoch and clip id only."""

from __future__ import annotations

import os
import signal
import threading
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from multiprocessing.queues import Queue
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset, DistributedSampler, Sampler
from torch.utils.data._utils import signal_handling

from fer_id.errors import first_line
from fer_id.labels import LabelSpace
from fer_id.preprocessing.augmentation import AugmentConfig, ClipAugmenter
from fer_id.progress import say
from fer_id.store.reader import ClipStore
from fer_id.types import AFFECT, CROP, LANDMARKS, ClipBatch, ClipItem, StoredClip

REPEATED = 1_000_000
"""Distance of the epochs of a row's repetitions within an epoch; more than a training has epochs."""

Labels = np.ndarray[Any, np.dtype[np.int64]]


class ClipDataset(Dataset[ClipItem]):
    """Clips of one split, indexed by ``(row, epoch)``, so that augmentation is a function of both.

    A clip of the pooled table ``clips`` is row ``row`` of store number ``store``. ``augment`` is None for validation
    and test. With ``one_frame`` an item is one valid frame, drawn anew each epoch, instead of the clip.
    """

    def __init__(
        self,
        stores: Sequence[ClipStore],
        clips: pd.DataFrame,
        labels: LabelSpace,
        *,
        augment: AugmentConfig | None,
        seed: int,
        one_frame: bool,
    ) -> None:
        self.stores, self.seed, self.one_frame = stores, seed, one_frame
        self.augmenter = None if augment is None else ClipAugmenter(augment, stores[0].card.crop)
        self.longest = 1 if one_frame or clips.empty else int(clips["length"].max())
        self._where = list(zip(clips["store"], clips["row"], strict=True))
        self._ids = list(zip(clips["clip_id"], clips["subject_id"], strict=True))
        self.label = np.array([labels.index(label) for label in clips["label"]], np.int64)
        self._soft = None if clips["soft_label"].isna().all() else clips["soft_label"].tolist()
        affect = clips.reindex(columns=list(AFFECT)).to_numpy(np.float32, na_value=np.nan)
        self._affect = None if np.isnan(affect).all() else affect.tolist()

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, key: tuple[int, int]) -> ClipItem:
        index, epoch = key
        store, row = self._where[index]
        clip_id, subject_id = self._ids[index]
        clip = self.stores[store].read(row)
        if self.one_frame:
            clip = _one_frame(clip, self.seed, epoch, clip_id)
        frames, landmarks = clip.frames, clip.landmarks
        if self.augmenter is not None:
            frames, landmarks = self.augmenter(frames, landmarks, seed=self.seed, epoch=epoch, clip_id=clip_id)
        return {
            "frames": frames,
            "valid": clip.valid,
            "landmarks": landmarks,
            "label": int(self.label[index]),
            "soft_label": None if self._soft is None else self._soft[index],
            "affect": None if self._affect is None else self._affect[index],
            "clip_id": clip_id,
            "subject_id": subject_id,
        }


class DomainDataset(Dataset[ClipItem]):
    """Concatenation of parts, each with its domain, ``SOURCE`` or ``COHORT``, which its items have as ``domain``."""

    def __init__(self, parts: Sequence[tuple[ClipDataset, int]]) -> None:
        self.parts, self.lengths = parts, [len(clips) for clips, _ in parts]
        self.longest = max(clips.longest for clips, _ in parts)
        self._ends = list(accumulate(self.lengths))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: tuple[int, int]) -> ClipItem:
        index, epoch = key
        number = bisect_right(self._ends, index)
        clips, domain = self.parts[number]
        return {**clips[index - self._ends[number] + len(clips), epoch], "domain": domain}


class Balance(NamedTuple):
    """Class-balanced sampling: each class is drawn in proportion to (number of its clips)^(1 - ``strength``)."""

    label: Labels  # (N,) class of each clip, negative for a clip without one, which is drawn once an epoch
    strength: float  # from 0, as many as there are, to 1, all classes equally

    def draw(self, rng: np.random.Generator) -> Labels:
        """Draw N rows: of each class its share, rounded, every clip once before any clip is repeated."""
        labelled = self.label >= 0
        classes, counts = np.unique(self.label[labelled], return_counts=True)
        shares = counts ** (1 - self.strength)
        ends = np.rint(np.cumsum(shares) / shares.sum() * labelled.sum()).astype(np.int64)
        drawn = [np.flatnonzero(~labelled)]
        for name, count in zip(classes, np.diff(ends, prepend=0), strict=True):
            rows = np.flatnonzero(self.label == name)
            passes = [rng.permutation(rows) for _ in range(-(-int(count) // len(rows)))]
            drawn.append(np.concatenate([rows[:0], *passes])[:count])
        return np.concatenate(drawn)


class EpochSampler(Sampler[tuple[int, int]]):
    """``(row, epoch)`` in an order that depends on seed and epoch only, not on earlier epochs or on processes.

    With ``balance`` an epoch has as many items, but some rows repeatedly and others not at all. The epoch of a row's
    k-th repetition is ``epoch + k * REPEATED``, which no training reaches, so that its augmentation is another.
    """

    def __init__(self, length: int, *, seed: int, shuffle: bool, balance: Balance | None = None) -> None:
        self.length, self.seed, self.shuffle, self.balance, self.epoch = length, seed, shuffle, balance, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order, rng = np.arange(self.length), np.random.default_rng([self.seed, self.epoch])
        if self.balance is not None:
            order = self.balance.draw(rng)
        if self.shuffle:
            rng.shuffle(order)
        drawn, items = Counter[int](), []
        for row in order.tolist():
            items.append((row, self.epoch + REPEATED * drawn[row]))
            drawn[row] += 1
        return iter(items)


class SharedSampler(EpochSampler, DistributedSampler[tuple[int, int]]):
    """Share of the process ``rank`` in each batch of a training on several devices.

    Together the processes see the batches (of ``batch_size`` clips) of a single process, no clip twice; the last
    partial batch is left out. Lightning puts a sampler of its own, which would share the share, in the place of any
    sampler that is no ``DistributedSampler``.
    """

    def __init__(
        self, length: int, batch_size: int, *, rank: int, processes: int, seed: int, balance: Balance | None = None
    ) -> None:
        super().__init__(length, seed=seed, shuffle=True, balance=balance)
        self.batch_size, self.rank, self.share = batch_size, rank, batch_size // processes

    def __len__(self) -> int:
        return self.length // self.batch_size * self.share

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = list(super().__iter__())
        starts = range(0, self.length - self.batch_size + 1, self.batch_size)
        ours = [start + self.rank * self.share for start in starts]
        return iter([row for start in ours for row in order[start : start + self.share]])


class DomainSampler(EpochSampler):
    """Batches with equally many clips of each part, for domain alignment.

    An epoch is one pass over the first part, without its remainder. The other parts are repeated as often as needed, in
    a new order each time. ``lengths`` are the clips in each part; a batch has ``batch_size`` of each, at most the
    length of the first part.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int) -> None:
        super().__init__(sum(lengths), seed=seed, shuffle=True)
        self.lengths, self.block = list(lengths), min(batch_size, lengths[0])
        self.batch = self.block * len(self.lengths)  # clips in a batch, all parts together

    def __len__(self) -> int:
        return self.lengths[0] // self.block * self.batch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        needed = self.lengths[0] // self.block * self.block
        starts = [0, *accumulate(self.lengths)]
        drawn = [start + self._order(part, needed) for part, start in enumerate(starts[:-1])]
        rows = np.stack([order.reshape(-1, self.block) for order in drawn], axis=1)
        return iter([(int(row), self.epoch) for row in rows.ravel()])

    def _order(self, part: int, needed: int) -> np.ndarray[Any, Any]:
        rng, length = np.random.default_rng([self.seed, self.epoch, part]), self.lengths[part]
        passes = [rng.permutation(length) for _ in range(-(-needed // length))]
        return np.concatenate(passes)[:needed]


class Collate:
    """Collate function: pads the items to the longest clip, with frames that are not valid.

    In a batch with soft labels (of ``classes`` shares) a clip without one gets a one-hot label, or without any label
    equal shares. In a batch with valence and arousal, those of a clip without them are NaN.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def __call__(self, items: list[ClipItem]) -> ClipBatch:
        length = max(len(item["valid"]) for item in items)
        batch: ClipBatch = {
            "frames": _stacked([item["frames"] for item in items], length, 0),
            "valid": _stacked([item["valid"] for item in items], length, False),
            "landmarks": _stacked([item["landmarks"] for item in items], length, np.nan),
            "label": torch.tensor([item["label"] for item in items]),
            "clip_id": [item["clip_id"] for item in items],
            "subject_id": [item["subject_id"] for item in items],
        }
        if any(item["soft_label"] is not None for item in items):
            batch["soft_label"] = torch.tensor(np.array([self._soft(item) for item in items], np.float32))
        affects = [item.get("affect") for item in items]
        if any(affect is not None for affect in affects):
            none = [np.nan] * len(AFFECT)
            batch["affect"] = torch.tensor([none if affect is None else affect for affect in affects])
        if "domain" in items[0]:
            batch["domain"] = torch.tensor([item["domain"] for item in items])
        return batch

    def _soft(self, item: ClipItem) -> Sequence[float] | np.ndarray[Any, Any]:
        if item["soft_label"] is not None:
            return item["soft_label"]
        return np.full(self.classes, 1 / self.classes) if item["label"] < 0 else np.eye(self.classes)[item["label"]]


def _stacked(arrays: list[np.ndarray[Any, Any]], length: int, fill: float) -> torch.Tensor:
    """Return the arrays (T, ...) as a tensor (B, length, ...), with ``fill`` in the missing frames."""
    stacked = np.full((len(arrays), length, *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(stacked)


def _one_frame(clip: StoredClip, seed: int, epoch: int, clip_id: str) -> StoredClip:
    """Return one valid frame (any frame where none is valid), drawn by (seed, epoch, clip)."""
    choices = np.flatnonzero(clip.valid) if clip.valid.any() else np.arange(len(clip.valid))
    t = int(np.random.default_rng([seed, epoch, zlib.crc32(clip_id.encode())]).choice(choices))
    frame = slice(t, t + 1)
    return StoredClip(clip.frames[frame], clip.landmarks[frame], clip.valid[frame])


def watch_workers() -> None:
    """Let torch notice a loading process that is lost at once, instead of after the patience of the loader.

    torch sets its handler of SIGCHLD once in a process, and Lightning, when a training ends, puts back the one that was
    there before that training: later loaders would have none.
    """
    handlers = (signal.SIG_DFL, signal.SIG_IGN, None)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGCHLD) in handlers:
        signal_handling._SIGCHLD_handler_set = False
        signal_handling._set_SIGCHLD_handler()


def begin_worker(_: int) -> None:
    """Set up a loader process: one thread, no OpenCV pool of its own, exit where it cannot hand over a batch."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # A thread of the queue allocates the shared memory of a batch. By default it prints an error, drops the batch and
    # goes on, and the training waits for that batch for ever; the end of a process is noticed within seconds.
    Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]


def _end_worker(error: Exception, item: object) -> None:
    say(f"a process that loads batches ends: {first_line(error)}")
    os._exit(1)


def batch_bytes(clips: int, frames: int, side: int = CROP) -> int:
    """Return the bytes of a batch of ``clips`` clips of ``frames`` frames, of that side in pixels, in shared memory."""
    return clips * (frames * (side * side * 3 + LANDMARKS * 2 * 4 + 1) + 8)
