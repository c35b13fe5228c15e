"""LightningDataModule over one or several ClipStores; the base of every dataset's own, which adds its facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from data_modules.config import NO_LICENCE, OWN_PROTOCOLS, DataConfig, SourceConfig
from data_modules.dataset import (
    Balance,
    ClipDataset,
    Collate,
    DomainDataset,
    DomainSampler,
    EpochSampler,
    SharedSampler,
    batch_bytes,
    begin_worker,
    watch_workers,
)
from data_modules.pooled_stores import PooledStores
from fer_id.errors import ConfigError, DataError
from fer_id.evaluation.config import ProtocolConfig, Rows
from fer_id.files import locked
from fer_id.inputs import byte_words
from fer_id.labels import map_labels
from fer_id.preprocessing.augmentation import AugmentConfig
from fer_id.progress import say
from fer_id.shared_memory import ADVICE, PLACE, shared_memory
from fer_id.store.card import StoreCard
from fer_id.store.reader import ClipStore
from fer_id.types import COHORT, SOURCE, ClipBatch, ClipItem

PREFETCHED = 2
"""Batches that each loader process has ready, torch's default."""

ANOTHER_PREPARES_S = 24 * 3600.0
"""Seconds that a process waits for another one that makes the store."""

PATIENCE_S = 120
"""Seconds that a training waits for a batch before it assumes that the loader processes hang."""


class FerDataModule(PooledStores, pl.LightningDataModule):
    """Train, inner validation and test batches of one fold.

    The stores are opened in ``setup``, or where ``labels`` or another attribute of ``PooledStores`` is used first:
    a model needs its label space before ``trainer.fit``.

    Args:
        store: folder of a ClipStore, or several that are pooled; or a ``DataConfig``, with reading options.
        protocol: division into folds, or its name: ``official``, ``holdout``, ``kfold`` or ``loso``; None: official, or
            where no split is published that of ``OWN_PROTOCOLS``.
        augment: augmentation of training clips; None for none.
        batch_size: clips per batch.
        seed: seed of sample order, augmentation and the division into folds.
        fold: name of the fold; the first by default.
        source: raw data, of which ``prepare_data`` makes a missing store; or the dataset's ``settings``, which name it.

    Attributes:
        dataset: name of the dataset, as ``data=`` chooses it.
        settings: dataclass of the settings of :meth:`prepare`.
        label_space: name of the label space of the stores; empty where it depends on the settings.
        splits: published name of a split -> ``train``, ``validation`` or ``test``; empty: none is published.
        counts: published name of a split -> number of samples that its authors state.
        licence: licence of the raw data, for model cards.
        layout: files and folders of the raw data, for error messages.
        made_by: the command that makes the stores, where it is not ``fer-id prepare``.
        config: stores and reading options.
        stores, clips, labels, folds, fold, ...: see :class:`data_modules.pooled_stores.PooledStores`.
    """

    dataset: ClassVar[str] = ""
    settings: ClassVar[type[SourceConfig]] = SourceConfig
    label_space: ClassVar[str] = ""
    splits: ClassVar[Mapping[str, str]] = {}
    counts: ClassVar[Mapping[str, int]] = {}
    licence: ClassVar[str] = NO_LICENCE
    layout: ClassVar[str] = ""
    made_by: ClassVar[str] = ""

    def __init__(
        self,
        store: DataConfig | str | Path | Sequence[str | Path],
        protocol: ProtocolConfig | str | None = None,
        *,
        augment: AugmentConfig | None = None,
        batch_size: int = 32,
        seed: int = 0,
        fold: str | None = None,
        source: SourceConfig | str | Path | None = None,
    ) -> None:
        pl.LightningDataModule.__init__(self)
        if not isinstance(store, DataConfig):
            folders = [store] if isinstance(store, str | Path) else store
            store = DataConfig(name=self.dataset, store=[str(folder) for folder in folders])
        if not store.store:
            raise DataError("data.store is empty; say data.store=FOLDER, made by `fer-id prepare` or `fer-id synth`")
        self.augment, self.batch_size, self.raw = augment, batch_size, source
        protocol = protocol or OWN_PROTOCOLS.get(self.dataset, "official")
        protocol = ProtocolConfig(protocol) if isinstance(protocol, str) else protocol
        PooledStores.__init__(self, store, protocol, seed=seed, fold=fold)
        self._first_epoch = 0
        self._source: ClipDataset | None = None
        self._memory_warning: str | None = None

    @classmethod
    def read(cls, source: Path, left_out: Counter[str]) -> Iterator[Any]:
        """Yield the records of ``source``, in a fixed order, and a DataError (place, value, what was expected) in place
        of one that is faulty: all faults are reported together. Raise a DataError for raw data that cannot be read.

        Count in ``left_out`` what is not yielded, by reason: ``left_out["no face"] += 1``.
        """
        raise NotImplementedError(f"{cls.__qualname__} has no method read")

    @classmethod
    def prepare(cls, config: Any, out: Path, *, overwrite: bool = False) -> StoreCard:
        """Convert the raw data ``config.source`` to a ClipStore, which appears whole or not at all.

        ``config`` is of the class ``settings``.

        Raises:
            ConfigError: settings that do not fit, or another command makes the stores.
            DataError: faulty raw data, all faults together.
        """
        made = f"not prepared but made by {cls.made_by}" if cls.made_by else f"without {cls.__qualname__}.prepare"
        raise ConfigError(f"dataset {cls.dataset or cls.__qualname__} is {made}")

    def prepare_data(self) -> None:
        """Make the store of ``source`` where it does not exist; Lightning calls this in one process of each machine."""
        if self.raw is None or all(Path(store).exists() for store in self.config.store):
            return
        if len(self.config.store) > 1:
            raise ConfigError("source= is the raw data of one store, and several are given: prepare them one by one")
        out = Path(self.config.store[0])
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(out.parent, DataError, patience_s=ANOTHER_PREPARES_S):
            if not out.exists():
                raw = self.raw
                config = raw if isinstance(raw, SourceConfig) else self.settings(name=self.dataset, source=str(raw))
                self.prepare(config, out)

    def open(self) -> list[ClipStore]:
        """Open the stores, after making a missing one of ``source``."""
        self.prepare_data()
        return super().open()

    def setup(self, stage: str | None = None) -> None:
        """Open the stores and divide them into folds.

        Raises:
            StoreError: a store that cannot be opened, or stores that do not mix.
            DataError: no common label space, or the protocol cannot divide the clips.
            LeakageError: a fold separates two subject names that may be one child.
        """
        _ = self.fold

    def align_with(self, source: FerDataModule) -> None:
        """Add as many training clips of ``source`` to each training batch, marked by ``domain``.

        Where the protocol is transductive, as many unlabelled clips of the test subjects are added too. DataError:
        ``source`` has no training clip of a class of this label space.
        """
        clips = source.clips.iloc[source.fold.train]
        names, _ = map_labels(clips["label"].tolist(), self.labels)
        clips = clips.assign(label=pd.Series(names, index=clips.index, dtype=object))
        if source.labels != self.labels:
            clips["soft_label"] = None  # its columns belong to another space
        clips = clips[clips["label"].notna()]
        if clips.empty:
            raise DataError(f"{source.stores[0].path}: no training clip of {', '.join(self.labels.names)}")
        self._source = self._dataset(clips, train=True, of=source)

    def training_clips(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield frames (B, T, 3, S, S) in [0, 1] and valid (B, T) of every training clip once, labelled or not,
        without augmentation."""
        for batch in self.plain_batches(np.concatenate([self.fold.train, self.fold.unlabelled])):
            yield batch["frames"], batch["valid"]

    def plain_batches(self, rows: Rows) -> Iterator[ClipBatch]:
        """Yield batches of whole clips in the order of ``rows``, without augmentation, frames in [0, 1]."""
        for batch in self._loader(rows, train=False):
            yield self.on_after_batch_transfer(batch, 0)

    def require_shared_memory(self) -> None:
        """Raise ConfigError where a training batch exceeds the shared memory; warn where the prefetched ones do."""
        self.train_dataloader()
        if self._memory_warning:
            say(self._memory_warning)

    def train_dataloader(self) -> DataLoader[ClipItem]:
        """Return the loader of the training clips: augmented, shuffled, without the last partial batch."""
        loader = self._loader(self.fold.train, train=True) if self._source is None else self._aligned(self._source)
        if isinstance(loader.sampler, EpochSampler):
            loader.sampler.set_epoch(self._first_epoch)
        return loader

    def state_dict(self) -> dict[str, int]:
        """Return the next epoch, for the checkpoint.

        When resuming, Lightning makes the loader, whose workers read ahead, before it sets the sampler's epoch.
        """
        if self.trainer is None:
            return {"epoch": 0}
        progress: Any = self.trainer.fit_loop.epoch_progress.current  # typed as a base class without `processed`
        return {"epoch": progress.processed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restore the epoch of the checkpoint."""
        self._first_epoch = int(state_dict["epoch"])

    def val_dataloader(self) -> DataLoader[ClipItem]:
        """Return the loader of the inner validation clips, in order."""
        return self._loader(self.fold.validation, train=False)

    def test_dataloader(self) -> DataLoader[ClipItem]:
        """Return the loader of the test clips, in order."""
        return self._loader(self.fold.test, train=False)

    def predict_dataloader(self) -> list[DataLoader[ClipItem]]:
        """Return the loaders of inner validation and test."""
        return [self.val_dataloader(), self.test_dataloader()]

    def _loader(self, rows: Rows, *, train: bool) -> DataLoader[ClipItem]:
        dataset, length = self._dataset(self.clips.iloc[rows], train=train, of=self), len(rows)
        processes = self.trainer.world_size if train and self.trainer is not None else 1
        balance = Balance(dataset.label, self.config.balanced) if train and self.config.balanced else None
        if self.trainer is None or processes == 1:
            sampler = EpochSampler(length, seed=self.seed, shuffle=train, balance=balance)
            return self._batches(dataset, sampler, self.batch_size, train=train)
        if length < self.batch_size:
            raise DataError(
                f"{processes} devices share batches of {self.batch_size} clips, and there are {length} to learn from: "
                "say trainer.devices=1, or a smaller batch_size"
            )
        rank = self.trainer.global_rank
        shared = SharedSampler(length, self.batch_size, rank=rank, processes=processes, seed=self.seed, balance=balance)
        return self._batches(dataset, shared, shared.share, train=True)

    def _aligned(self, source: ClipDataset) -> DataLoader[ClipItem]:
        """Return a loader over the training clips, the unlabelled clips of the test subjects, and ``source``."""
        unlabelled: pd.DataFrame = self.clips.iloc[self.fold.unlabelled].assign(label=None, soft_label=None)
        tables = [table for table in (self.clips.iloc[self.fold.train], unlabelled) if len(table)]
        own = [(self._dataset(table, train=True, of=self), COHORT) for table in tables]
        dataset = DomainDataset([*own, (source, SOURCE)])
        sampler = DomainSampler(dataset.lengths, self.batch_size, seed=self.seed)
        return self._batches(dataset, sampler, sampler.batch, train=True)

    def _dataset(self, clips: pd.DataFrame, *, train: bool, of: FerDataModule) -> ClipDataset:
        """Return clips of ``of`` as training clips of this module, or to be judged."""
        augment, one_frame = self.augment if train else None, train and of.config.frames == "frame"
        return ClipDataset(of.stores, clips, self.labels, augment=augment, seed=self.seed, one_frame=one_frame)

    def _batches(
        self, dataset: ClipDataset | DomainDataset, sampler: EpochSampler, batch_size: int, *, train: bool
    ) -> DataLoader[ClipItem]:
        workers = self.config.num_workers
        if workers:
            watch_workers()
            size = batch_bytes(min(batch_size, len(sampler)), dataset.longest, self.crop)
            self._memory_warning = _require_shared_memory(size, workers)
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=train and len(sampler) > batch_size,
            num_workers=workers,
            collate_fn=Collate(len(self.labels)),
            persistent_workers=train and workers > 0,
            timeout=PATIENCE_S if workers else 0,
            worker_init_fn=begin_worker,
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(self, batch: ClipBatch, dataloader_idx: int) -> ClipBatch:
        """Convert the frames from bytes to floats in [0, 1] on the device, (B, T, 3, S, S), channels-last memory."""
        batch["frames"] = batch["frames"].permute(0, 1, 4, 2, 3).float().div_(255)
        return batch


def _require_shared_memory(size: int, workers: int) -> str | None:
    """Return a warning where the prefetched batches of ``size`` bytes exceed the shared memory; None where they fit.

    ConfigError: a single batch exceeds it.
    """
    memory = shared_memory()
    if memory is None:
        return None
    has = f"shared memory ({PLACE}) has {byte_words(memory.free)} free of {byte_words(memory.total)}"
    if memory.free < size:
        raise ConfigError(f"data.num_workers={workers}: {has}, and a batch takes {byte_words(size)}: {ADVICE}")
    needed = workers * PREFETCHED * size
    warning = f"{has}, and data.num_workers={workers} may need {byte_words(needed)}: where a process is lost, {ADVICE}"
    return warning if memory.free < needed else None
