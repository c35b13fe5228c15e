"""Pooling of several stores into one table: one label space, one name for the same child or picture."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fer_id.errors import Problems, StoreError
from fer_id.labels import LabelSpace, map_labels
from fer_id.store.reader import ClipStore


def holds_images(store: ClipStore) -> bool:
    """Return True where ``subject_id`` names a group of near-identical images, as in a benchmark, not a person."""
    return store.card.shard_by == "split"


def made_of(stores: Sequence[ClipStore]) -> list[str]:
    """Return the fingerprints of the image stores that simulated clips were made of."""
    prints = (store.card.settings.from_fingerprint for store in stores)
    return [fingerprint for fingerprint in prints if fingerprint]


def require_distinct(stores: Sequence[ClipStore]) -> None:
    """Check that no clip counts twice: no store is pooled with itself, a copy, or a store that shares its clips.

    The same *picture* in two benchmarks is allowed: :func:`pool` gives its copies one group.

    StoreError lists every such pair.
    """
    problems = Problems("data.store")
    for first, second in combinations(stores, 2):
        if first.path.resolve() == second.path.resolve():
            problems.add(f"{first.path} is given twice; give it once")
            continue
        images = holds_images(first) or holds_images(second)
        if images and first.fingerprint != second.fingerprint:
            continue
        if common := _common_clips(first, second):
            places = zip((first.clips, second.clips), common[0], strict=True)
            named = (clips[["clip_id", "subject_id"]].iloc[row].tolist() for clips, row in places)
            names = dict.fromkeys(f"{clip} of {subject}" for clip, subject in named)
            problems.add(
                f"{first.path} and {second.path} share {len(common)} clips ({' is '.join(names)}, ...); "
                "they would count twice: leave one of the stores out"
            )
    problems.raise_if_any(StoreError)


def _common_clips(first: ClipStore, second: ClipStore) -> list[tuple[int, int]]:
    """Return the rows of the clips with the same frames in two stores, whatever their ids."""
    rows = defaultdict[bytes, list[int]](list)
    for row, digest in _first_faces(first):
        rows[digest].append(row)
    pairs = [(row, other) for other, digest in _first_faces(second) for row in rows.get(digest, ())]
    return sorted(pair for pair in pairs if np.array_equal(first.read(pair[0]).frames, second.read(pair[1]).frames))


def _first_faces(store: ClipStore) -> Iterator[tuple[int, bytes]]:
    """Yield row and digest of the first frame with a face of every clip that has one."""
    for row in range(len(store)):
        clip = store.read(row)
        if clip.valid.any():
            yield row, blake2b(clip.frames[clip.valid.argmax()].tobytes(), digest_size=16).digest()


def pool(stores: Sequence[ClipStore], labels: LabelSpace) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return all clips, with ``store`` and ``row`` (their place), and the number of clips left out by label.

    Clips whose label has no name in ``labels`` are left out. ``for_training`` and ``for_evaluation`` are the purposes
    that consent allows. In several stores a clip id starts with the number of its store (``0:...``). A ``subject_id``
    of people stays: the same pseudonym in two stores is the same child. Groups of images of two stores become one
    where they hold the same picture, byte for byte; ``picture`` is its digest. Pictures that are only near-identical
    (cropped, re-encoded or aligned otherwise) are not detected across stores.
    """
    tables, dropped = [], Counter[str]()
    for number, store in enumerate(stores):
        table = store.clips.assign(store=number, row=np.arange(len(store)))
        table = table.assign(for_training=store.allows("training"), for_evaluation=store.allows("evaluation"))
        names, gone = map_labels(table["label"].tolist(), labels)
        mapped = pd.Series(names, index=table.index, dtype=object)  # a text column would turn None into NaN
        lost = mapped.isna() & table["label"].notna()
        table = table.assign(label=mapped, lost=lost)
        if store.labels != labels:
            table["soft_label"] = None  # its columns belong to another space
        if len(stores) > 1:
            keys = ["clip_id", "subject_id"] if holds_images(store) else ["clip_id"]
            table[keys] = f"{number}:" + table[keys].astype(str)
        tables.append(table)
        dropped.update(gone)
    clips = pd.concat(tables, ignore_index=True)
    if sum(map(holds_images, stores)) > 1:
        clips = _with_common_groups(clips, stores)  # before clips are left out: one of them may link two groups
    return clips[~clips["lost"]].drop(columns="lost").reset_index(drop=True), dict(dropped)


def _with_common_groups(clips: pd.DataFrame, stores: Sequence[ClipStore]) -> pd.DataFrame:
    """Add ``picture`` (digest of the frames; None for clips of people), and unite groups that share a picture."""
    images = clips["store"].map(dict(enumerate(map(holds_images, stores)))).to_numpy(bool)
    where = zip(clips.loc[images, "store"], clips.loc[images, "row"], strict=True)
    digests = [blake2b(stores[store].read(row).frames.tobytes(), digest_size=16).hexdigest() for store, row in where]
    picture, pictures = pd.factorize(np.array(digests, dtype=object))
    group, groups = pd.factorize(clips.loc[images, "subject_id"].to_numpy(object))
    size = len(groups) + len(pictures)
    graph = coo_matrix((np.ones(len(group)), (group, len(groups) + picture)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][: len(groups)]
    first = np.unique(component, return_index=True)[1]  # a united group has the name of its first group
    clips = clips.assign(picture=None)
    clips.loc[images, "picture"] = digests
    clips.loc[images, "subject_id"] = groups[first[component[group]]]
    return clips
