"""From stores to batches: what every dataset's LightningDataModule shares."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from data_modules.config import DataConfig
from fer_id.errors import DataError, StoreError
from fer_id.evaluation.protocol import Fold, ProtocolConfig, Rows, make_folds
from fer_id.labels import LabelSpace, get_space, map_labels
from fer_id.preprocessing.augmentation import AugmentConfig, ClipAugmenter
from fer_id.store import ClipStore
from fer_id.types import ClipBatch, StoredClip


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips of one split. An item is asked for by ``(row, epoch)``, so that augmentation is a function of both.

    Args:
        stores: opened stores.
        clips: the pooled table; columns ``store`` and ``row`` say where a clip lies.
        labels: the label space.
        augment: None for validation and test.
        seed: of the augmentation.
        one_frame: give one valid frame, drawn anew each epoch, instead of the clip.
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
        self.augmenter = None if augment is None else ClipAugmenter(augment)
        self._where = list(zip(clips["store"], clips["row"], strict=True))
        self._ids = list(zip(clips["clip_id"], clips["subject_id"], strict=True))
        self._label = np.array([labels.index(label) for label in clips["label"]], np.int64)
        self._soft = None if clips["soft_label"].isna().all() else clips["soft_label"].tolist()

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        index, epoch = key
        store, row = self._where[index]
        clip_id, subject_id = self._ids[index]
        clip = self.stores[store].read(row)
        if self.one_frame:
            clip = _one_frame(clip, self.seed, epoch, clip_id)
        frames, landmarks = clip.frames, clip.landmarks
        if self.augmenter is not None:
            frames, landmarks = self.augmenter(frames, landmarks, seed=self.seed, epoch=epoch, clip_id=clip_id)
        soft = None if self._soft is None else self._soft[index]
        item = {"frames": frames, "valid": clip.valid, "landmarks": landmarks, "label": self._label[index]}
        return {**item, "soft_label": soft, "clip_id": clip_id, "subject_id": subject_id}


class EpochSampler(Sampler[tuple[int, int]]):
    """``(row, epoch)`` in an order that only seed and epoch decide, whatever ran before and in how many processes."""

    def __init__(self, length: int, *, seed: int, shuffle: bool) -> None:
        self.length, self.seed, self.shuffle, self.epoch = length, seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        return iter([(int(row), self.epoch) for row in order])


class FerDataModule(pl.LightningDataModule):
    """Train, inner validation and test batches of one fold.

    Args:
        config: which stores, and how they are read.
        protocol: how they are divided.
        augment: augmentation of training clips; None for none.
        batch_size: clips per batch.
        seed: of order and augmentation; the division into folds takes it too.
        fold: name of the fold; the first by default.

    Attributes:
        stores, clips, labels: the opened stores, the pooled table, the label space.
        images: whether ``subject_id`` names a group of near-identical images, as in a benchmark, not a person.
        dropped_labels: samples without a name in the label space, by name.
    """

    def __init__(
        self,
        config: DataConfig,
        protocol: ProtocolConfig,
        *,
        augment: AugmentConfig | None,
        batch_size: int,
        seed: int,
        fold: str | None = None,
    ) -> None:
        super().__init__()
        if not config.store:
            raise DataError("data.store is empty; say data.store=FOLDER, made by `fer-id prepare` or `fer-id synth`")
        self.config, self.augment, self.batch_size, self.seed = config, augment, batch_size, seed
        self.stores = [ClipStore.open(path) for path in config.store]
        _check_geometry(self.stores)
        self.labels = get_space(config.label_space) if config.label_space else _common_space(self.stores)
        self.clips, self.dropped_labels = _pool(self.stores, self.labels)
        self.images = all(store.card.shard_by == "split" for store in self.stores)
        self.folds = make_folds(self.clips, protocol, seed=seed, images=self.images, deduplicate=config.drop_duplicates)
        self.fold = self._named(fold)
        self._first_epoch = 0

    def _named(self, name: str | None) -> Fold:
        if name is None:
            return self.folds[0]
        for fold in self.folds:
            if fold.name == name:
                return fold
        raise DataError(f"no fold named {name}; the folds are {', '.join(fold.name for fold in self.folds)}")

    @property
    def provenance(self) -> str:
        """The least real word among the stores': synthetic, simulated, real."""
        words = {store.card.provenance for store in self.stores}
        return next(word for word in ("synthetic", "simulated", "real") if word in words)

    @property
    def groups(self) -> list[str]:
        """Names of the group columns."""
        return list(dict.fromkeys(group for store in self.stores for group in store.card.groups))

    def subjects(self, rows: Rows) -> list[str]:
        """Whose clips these are; empty for a benchmark, whose subjects are groups of images and nobody's pseudonym."""
        return [] if self.images else sorted(set(self.clips["subject_id"].iloc[rows].astype(str)))

    def class_counts(self) -> list[int]:
        """Training clips per class, in label order."""
        counts = self.clips["label"].iloc[self.fold.train].value_counts()
        return [int(counts.get(name, 0)) for name in self.labels.names]

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Augmented, shuffled; the last partial batch is left out."""
        loader = self._loader(self.fold.train, train=True)
        if isinstance(loader.sampler, EpochSampler):
            loader.sampler.set_epoch(self._first_epoch)
        return loader

    def state_dict(self) -> dict[str, Any]:
        """The epoch that comes next, for the checkpoint.

        When resuming, Lightning makes the loader, whose workers read ahead, before it tells the sampler the epoch.
        """
        return {"epoch": 0 if self.trainer is None else self.trainer.fit_loop.epoch_progress.current.processed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the epoch of the checkpoint."""
        self._first_epoch = int(state_dict["epoch"])

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Inner validation clips, in order."""
        return self._loader(self.fold.validation, train=False)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Test clips, in order."""
        return self._loader(self.fold.test, train=False)

    def predict_dataloader(self) -> list[DataLoader[dict[str, Any]]]:
        """Inner validation, then test."""
        return [self.val_dataloader(), self.test_dataloader()]

    def _loader(self, rows: Rows, *, train: bool) -> DataLoader[dict[str, Any]]:
        dataset = ClipDataset(
            self.stores,
            self.clips.iloc[rows],
            self.labels,
            augment=self.augment if train else None,
            seed=self.seed,
            one_frame=train and self.config.frames == "frame",
        )
        workers = self.config.num_workers
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=EpochSampler(len(dataset), seed=self.seed, shuffle=train),
            drop_last=train and len(dataset) > self.batch_size,
            num_workers=workers,
            collate_fn=Collate(len(self.labels)),
            persistent_workers=train and workers > 0,
            worker_init_fn=_quiet_worker,
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> ClipBatch:
        """Frames travel as bytes and become floats on the device, in channels-last memory."""
        batch["frames"] = batch["frames"].permute(0, 1, 4, 2, 3).float().div_(255)
        typed: ClipBatch = batch
        return typed


class Collate:
    """Items into one batch of the length of the longest clip; what is added is not valid.

    Args:
        classes: K, for clips without soft labels of their own: one-hot, or even where they have no label either.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        length = max(len(item["valid"]) for item in items)
        batch: dict[str, Any] = {
            key: torch.from_numpy(np.stack([_padded(item[key], length, fill) for item in items]))
            for key, fill in (("frames", 0), ("valid", False), ("landmarks", np.nan))
        }
        batch["label"] = torch.tensor([int(item["label"]) for item in items])
        if any(item["soft_label"] is not None for item in items):
            batch["soft_label"] = torch.tensor(np.stack([self._soft(item) for item in items]))
        for key in ("clip_id", "subject_id"):
            batch[key] = [item[key] for item in items]
        return batch

    def _soft(self, item: dict[str, Any]) -> np.ndarray[Any, Any]:
        if item["soft_label"] is not None:
            return np.asarray(item["soft_label"], np.float32)
        if item["label"] < 0:
            return np.full(self.classes, 1 / self.classes, np.float32)
        one_hot: np.ndarray[Any, Any] = np.eye(self.classes, dtype=np.float32)[item["label"]]
        return one_hot


def _padded(array: np.ndarray[Any, Any], length: int, fill: float) -> np.ndarray[Any, Any]:
    missing = length - len(array)
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1), constant_values=fill) if missing else array


def _one_frame(clip: StoredClip, seed: int, epoch: int, clip_id: str) -> StoredClip:
    """One frame where a face was found (any frame where none was), drawn by (seed, epoch, clip)."""
    choices = np.flatnonzero(clip.valid) if clip.valid.any() else np.arange(len(clip.valid))
    t = int(np.random.default_rng([seed, epoch, zlib.crc32(clip_id.encode())]).choice(choices))
    one = slice(t, t + 1)
    return StoredClip(clip.frames[one], clip.landmarks[one], clip.valid[one])


def _pool(stores: Sequence[ClipStore], labels: LabelSpace) -> tuple[pd.DataFrame, dict[str, int]]:
    """One table over all stores, labels mapped; rows whose label the space does not know are left out and counted."""
    tables, dropped = [], dict[str, int]()
    for number, store in enumerate(stores):
        table = store.clips.assign(store=number, row=np.arange(len(store)))
        names, gone = map_labels(table["label"].tolist(), labels)
        mapped = pd.Series(names, index=table.index, dtype=object)  # a text column would turn None into NaN
        lost = mapped.isna() & table["label"].notna()
        table["label"] = mapped
        if store.labels != labels:
            table["soft_label"] = None  # its columns belong to another space
        if len(stores) > 1:
            for key in ("clip_id", "subject_id"):
                table[key] = f"{number}:" + table[key].astype(str)
        tables.append(table[~lost])
        for name, count in gone.items():
            dropped[name] = dropped.get(name, 0) + count
    return pd.concat(tables, ignore_index=True), dropped


def _common_space(stores: Sequence[ClipStore]) -> LabelSpace:
    if len(spaces := {store.card.label_space for store in stores}) > 1:
        raise DataError(f"the stores speak {', '.join(sorted(spaces))}; choose one with data.label_space=")
    return stores[0].labels


def _check_geometry(stores: Sequence[ClipStore]) -> None:
    """Eyes must lie in the same place in all pooled stores; colour may differ, since gray faces are stored as RGB."""
    first = stores[0].card.geometry.get("eyes")
    for store in stores[1:]:
        if (eyes := store.card.geometry.get("eyes")) != first:
            raise StoreError(
                f"{store.path} has its eyes at {eyes or 'published places'}, {stores[0].path} at "
                f"{first or 'published places'}: prepare both with the same alignment (data.landmarks=mediapipe)"
            )


def _quiet_worker(_: int) -> None:
    """A loader process leaves the cores to training: one thread, and no OpenCV pool of its own."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
