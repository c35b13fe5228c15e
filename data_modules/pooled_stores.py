"""The stores of a data module: opened, checked, pooled into one table, divided into folds and described for a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import TypedDict

import numpy as np
import pandas as pd

from data_modules.config import DataConfig
from data_modules.pool import holds_images, made_of, pool, require_distinct
from data_modules.sources import judged_stills, without_sources
from fer_id.errors import DataError, FerIdError, LeakageError, Problems, StoreError
from fer_id.evaluation.confidence.crossfit import cross_fit
from fer_id.evaluation.config import SPLITS, Fold, ProtocolConfig, Rows
from fer_id.evaluation.protocol import OF_THE_TESTED, make_folds
from fer_id.labels import LabelSpace, get_space
from fer_id.runs.job import Geometry, Store
from fer_id.runs.records import Provenance
from fer_id.store.card import StoreCard
from fer_id.store.reader import ClipStore


class DataFacts(TypedDict):
    """Entries of ``job.json`` about the data."""

    fold: str | None
    mode: str
    dataset: str
    store: Store
    subjects: dict[str, list[str] | None]
    children: dict[str, int]
    clips: dict[str, int]
    dropped: dict[str, int]


class PooledStores:
    """Stores, label space, clips and folds, opened where they are first used.

    ``protocol`` and ``seed`` divide the clips into folds; ``fold`` is the name of the fold to use, None for the first.

    Attributes:
        affect: True for a model of valence and arousal, which learns from unlabelled clips that have them too; to be
            set before the folds are used.
    """

    affect = False

    def __init__(self, config: DataConfig, protocol: ProtocolConfig, *, seed: int, fold: str | None) -> None:
        self.config, self.protocol, self.seed = config, protocol, seed
        self._fold_name = fold

    def open(self) -> list[ClipStore]:
        """Open the stores."""
        return open_stores(self.config.store)

    @cached_property
    def stores(self) -> list[ClipStore]:
        """The opened stores, in the order given."""
        return self.open()

    @cached_property
    def labels(self) -> LabelSpace:
        """The label space: the one chosen, else that of all stores."""
        return get_space(self.config.label_space) if self.config.label_space else common_space(self.stores)

    @cached_property
    def _pooled(self) -> tuple[pd.DataFrame, dict[str, int]]:
        labels = self.labels
        require_distinct(self.stores)
        return pool(self.stores, labels)

    @property
    def clips(self) -> pd.DataFrame:
        """One row per clip of all stores, see :func:`data_modules.pool.pool`."""
        return self._pooled[0]

    @property
    def dropped_labels(self) -> dict[str, int]:
        """Label of a store that the label space lacks -> number of its samples, which are left out."""
        return self._pooled[1]

    @property
    def images(self) -> bool:
        """True where ``subject_id`` names a group of near-identical images, as in a benchmark, not a person."""
        return all(map(holds_images, self.stores))

    @cached_property
    def folds(self) -> list[Fold]:
        """The folds of the protocol."""
        dedup = self.config.drop_duplicates
        folds = make_folds(
            self.clips, self.protocol, seed=self.seed, images=self.images, deduplicate=dedup, affect=self.affect
        )
        if self.config.excluding:
            if len(self.stores) > 1:
                raise DataError("data.excluding names the stills of one store, and several are pooled: give one")
            folds = without_sources(self.clips, folds, ClipStore.open(self.config.excluding), self.stores[0])
        return self._without_alike(folds)

    @cached_property
    def fold(self) -> Fold:
        """The fold whose batches the loaders return; another one, such as a part of it, may be assigned."""
        by_name = {fold.name: fold for fold in self.folds}
        if self._fold_name is None:
            return self.folds[0]
        if self._fold_name not in by_name:
            raise DataError(f"no fold named {self._fold_name}; the folds are {', '.join(by_name)}")
        return by_name[self._fold_name]

    def parts(self, fold: Fold) -> list[Fold]:
        """Return the cross-fitting folds of ``fold`` (``fer_id.evaluation.confidence.crossfit``); empty without.

        DataError: the stores hold pictures without subjects, or too few children. LeakageError: a part separates two
        subject names that may be one child.
        """
        if not self.protocol.cross_fit:
            return []
        if self.images:
            raise DataError(
                "protocol.cross_fit divides children, and these stores hold pictures without subjects: say "
                "protocol.cross_fit=0, their inner validation is large enough"
            )
        return self._without_alike(cross_fit(self.clips, fold, self.protocol, seed=self.seed))

    def _without_alike(self, folds: list[Fold]) -> list[Fold]:
        """Return the folds, checked by :func:`check_alike` unless duplicates are allowed."""
        if self.config.drop_duplicates:
            check_alike(self.stores, self.clips, folds)
        return folds

    @property
    def crop(self) -> int:
        """Side of the crops in pixels, which the stores share."""
        return self.stores[0].card.crop

    @property
    def provenance(self) -> Provenance:
        """The least real provenance among the stores: synthetic before simulated before real."""
        words = {store.card.provenance for store in self.stores}
        least_real: tuple[Provenance, ...] = ("synthetic", "simulated", "real")
        return next(word for word in least_real if word in words)

    @property
    def dataset_name(self) -> str:
        """Name of the dataset: the titles that the cards give it, else that of its data module."""
        titles = [store.card.settings.title for store in self.stores]
        return " + ".join(dict.fromkeys(filter(None, titles))) if all(titles) else self.config.name

    @property
    def has_children(self) -> bool:
        """True where any subject is a real person, also where another store is synthetic or simulated."""
        return bool(self._real_stores)

    def n_children(self, rows: Rows) -> int:
        """Return the number of distinct real (not drawn) subjects in ``rows``."""
        clips = self.clips.iloc[rows]
        return int(clips.loc[clips["store"].isin(self._real_stores), "subject_id"].nunique())

    @property
    def _real_stores(self) -> list[int]:
        """Numbers of the stores of real people."""
        stores = enumerate(self.stores)
        return [number for number, store in stores if store.card.provenance == "real" and not holds_images(store)]

    def card_of(self, clip_id: str) -> StoreCard:
        """Return the card of a clip's store."""
        place: int = self.clips.loc[self.clips["clip_id"] == clip_id, "store"].iloc[0]
        return self.stores[place].card

    @property
    def fingerprint(self) -> str:
        """Fingerprints of all stores, in their order: a run records them as the identity of its data."""
        return ", ".join(store.fingerprint for store in self.stores)

    @property
    def mesh_mappings(self) -> dict[str, list[str]]:
        """Path of each store -> the MediaPipe mesh mapping of its landmarks; an empty list without one."""
        return {str(store.path): list(filter(None, [store.card.mesh_mapping])) for store in self.stores}

    @property
    def groups(self) -> list[str]:
        """Names of the group columns."""
        return list(dict.fromkeys(group for store in self.stores for group in store.card.groups))

    def subjects(self, rows: Rows) -> list[str]:
        """Return the sorted pseudonyms in ``rows``; empty for a benchmark, whose subjects are groups of images."""
        return [] if self.images else sorted(set(self.clips["subject_id"].iloc[rows].astype(str)))

    def describe(self, folds: Sequence[Fold] | None = None) -> DataFacts:
        """Return the data's entries of ``job.json``: stores, and subjects, real children and clips of each split.

        Those of several ``folds`` are united; None: the current fold.
        """
        folds = folds or [self.fold]
        seen = (*SPLITS, *(["unlabelled"] if any(len(fold.unlabelled) for fold in folds) else []))
        rows = {split: np.unique(np.concatenate([getattr(fold, split) for fold in folds])) for split in seen}
        labels = {f"label {name} not in {self.labels.name}": n for name, n in self.dropped_labels.items()}
        return {
            "fold": folds[0].name if len(folds) == 1 else None,
            "mode": next((fold.mode for fold in folds if fold.mode != "inductive"), "inductive"),
            "dataset": self.dataset_name,
            "store": self._described(),
            "subjects": {split: self.subjects(of) for split, of in rows.items()},
            "children": {split: self.n_children(of) for split, of in rows.items()},
            "clips": {split: len(of) for split, of in rows.items()},
            "dropped": _dropped(folds) | labels,
        }

    def _described(self) -> Store:
        """Return ``store`` of ``job.json``."""
        stores, cards = self.stores, [store.card for store in self.stores]
        return Store(
            name=" + ".join(store.path.name for store in stores),
            fingerprint=self.fingerprint,
            made_of=made_of(stores),
            left_out=judged_stills(ClipStore.open(self.config.excluding)) if self.config.excluding else None,
            provenance=self.provenance,
            drawn=all(card.provenance == "synthetic" for card in cards),
            label_space=self.labels.name,
            shard_by=cards[0].shard_by,
            geometry=Geometry.model_validate(cards[0].geometry),
            mesh_mappings=sorted({card.mesh_mapping for card in cards if card.mesh_mapping}),
            fps=_same(self.clips["fps"].dropna().unique().tolist()),
            min_eye_distance=_same([card.settings.min_eye_distance for card in cards]),
            audit=cards[0].audit if len(stores) == 1 else {store.path.name: store.card.audit for store in stores},
        )


def _dropped(folds: Sequence[Fold]) -> dict[str, int]:
    """Return the clips left out by reason; for several folds only clips of test subjects, and missing folds."""
    if len(folds) == 1:
        return folds[0].dropped
    added = Counter[str]()
    for fold in folds:
        added.update({reason: count for reason, count in fold.dropped.items() if reason in OF_THE_TESTED})
    missing = {reason: count for reason, count in folds[0].dropped.items() if reason.startswith("folds ")}
    return dict(added) | missing


def _same(values: Sequence[float | None]) -> float | None:
    """Return the common value; None where the values differ or are all None."""
    return values[0] if len(set(values)) == 1 else None


def open_stores(paths: Sequence[str]) -> list[ClipStore]:
    """Open the stores; StoreError names each that cannot be opened, or two of another geometry."""
    stores, refusals = list[ClipStore](), list[FerIdError]()
    for path in paths:
        try:
            stores.append(ClipStore.open(path))
        except FerIdError as problem:
            refusals.append(problem)
    if len(refusals) > 1:
        raise StoreError("\n".join(map(str, refusals)))
    if refusals:
        raise refusals[0]
    _check_geometry(stores)
    return stores


def common_space(stores: Sequence[ClipStore]) -> LabelSpace:
    """Return the label space of all stores; raise DataError where they have several."""
    if len(spaces := {store.card.label_space for store in stores}) > 1:
        listed = ", ".join(sorted(spaces))
        raise DataError(f"the stores have the label spaces {listed}; choose one with data.label_space=")
    return stores[0].labels


def check_alike(stores: Sequence[ClipStore], clips: pd.DataFrame, folds: Sequence[Fold]) -> None:
    """Check that no fold trains on one name and tests on another name of what may be one child.

    LeakageError: two subjects with identical or near-identical pictures are separated.
    """
    pairs = {tuple(pair.split(" & ")): n for store in stores for pair, n in (store.card.findings.alike or {}).items()}
    subjects, problems = clips["subject_id"].astype(str), Problems("subjects that may be one child under two names")
    for (first, second), count in pairs.items():
        for fold in folds:
            tested = set(subjects.iloc[fold.test])
            others = np.setdiff1d(fold.train, fold.own)
            trained = set(subjects.iloc[np.concatenate([others, fold.validation])])
            if {first, second} & tested and {first, second} & trained:
                problems.add(f"{first} and {second} share {count} pictures; fold {fold.name} separates them")
                break
    problems.raise_if_any(
        LeakageError,
        "Look at their contact sheets. Give them one subject_id and prepare again, or, if they are two children, say "
        "data.drop_duplicates=false.",
    )


def _check_geometry(stores: Sequence[ClipStore]) -> None:
    """Check that all pooled stores have crops of one size and the eyes in the same place; colour may differ, as gray is
    stored as RGB."""
    first = stores[0].card.geometry.get("eyes")
    for store in stores[1:]:
        if (side := store.card.crop) != (other := stores[0].card.crop):
            raise StoreError(
                f"{store.path} has crops of {side}x{side} pixels, {stores[0].path} of {other}x{other}: prepare both "
                "with the same data.crop"
            )
        if (eyes := store.card.geometry.get("eyes")) != first:
            raise StoreError(
                f"{store.path} has its eyes at {eyes or 'published places'}, {stores[0].path} at "
                f"{first or 'published places'}: prepare both with the same alignment (data.landmarks=mediapipe)"
            )
