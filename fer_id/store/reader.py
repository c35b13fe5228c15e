"""ClipStore: the folder format that every dataset is prepared into. Frames are memory-mapped and never read whole.

    clips.parquet, card.json, frames/<shard>.npy, landmarks/<shard>.npy, valid/<shard>.npy

A shard is a subject (so that one child can be erased) or, for a benchmark without subjects, a split.
"""

from __future__ import annotations

import errno
import hashlib
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.consent.keys import Key, keys_home
from fer_id.consent.records import ConsentError, check_snapshot, withdrawals
from fer_id.errors import Problems, StoreError
from fer_id.inputs import is_file_name
from fer_id.labels import LabelSpace, get_space
from fer_id.parquet import read_parquet
from fer_id.store.card import StoreCard
from fer_id.store.format import CLIP_COLUMNS, PARTS, frames_problems, part_shapes, table_problems
from fer_id.types import AFFECT, StoredClip

_MAPS = 384  # memory maps kept open at once: each holds a file descriptor, and a process commonly has 1024


class ClipStore:
    """Store opened for reading: ``ClipStore.open(path)``. Its table ``clips`` has one row per clip,
    :data:`CLIP_COLUMNS` and the group columns."""

    def __init__(self, path: Path, card: StoreCard, clips: pd.DataFrame) -> None:
        self.path, self.card, self.clips = path, card, clips
        self._open_parts: dict[tuple[str, str], NDArray[Any]] = {}
        self._index = list(zip(clips[card.shard_by], clips["start"], clips["length"], strict=True))

    @classmethod
    def open(cls, path: str | Path) -> ClipStore:
        """Open and check a store: table, shapes, dtypes, lengths and card. No frame is read.

        Raise StoreError with all disagreements, each with its file and the expected value, or where the store has
        expired; ConsentError where a subject's consent was withdrawn or expired since the preparation.
        """
        path = Path(path)
        if not (path / "card.json").is_file():
            raise StoreError(f"{path} is not a ClipStore (no card.json); `fer-id prepare` or `fer-id synth` makes one")
        card = StoreCard.read(path / "card.json")
        _check_permission(path, card)
        clips = read_parquet(path / "clips.parquet", StoreError, "prepare the store again")
        texts = [str(name) for name in clips if not pd.api.types.is_numeric_dtype(clips[name])]
        # missing text, which pandas may read as NaN, is None
        clips = clips.assign(**{name: clips[name].astype(object).where(clips[name].notna(), None) for name in texts})
        return cls._checked(path, card, clips)

    @classmethod
    def _checked(cls, path: Path, card: StoreCard, clips: pd.DataFrame) -> ClipStore:
        problems = Problems(str(path))
        if not {*AFFECT} & {*clips}:
            place = int(clips.columns.isin(CLIP_COLUMNS).sum())
            for name in reversed(AFFECT):
                clips.insert(place, name, np.nan)
        if missing := [column for column in (*CLIP_COLUMNS, *card.groups) if column not in clips]:
            problems.add(f"clips.parquet: columns missing: {', '.join(missing)}")
            problems.raise_if_any(StoreError)
        problems.found += [f"clips.parquet: {problem}" for problem in table_problems(clips, card)]
        if any(not is_file_name(str(shard)) for shard in clips[card.shard_by].unique()):
            # listed by table_problems; a path with such a name is not opened
            problems.raise_if_any(StoreError)
        store = cls(path, card, clips)
        for shard, rows in clips.groupby(card.shard_by, sort=True):
            store._check_shard(str(shard), rows, problems)
        problems.raise_if_any(StoreError, "The store was changed or only partly copied; prepare it again.")
        return store

    def _check_shard(self, shard: str, rows: pd.DataFrame, problems: Problems) -> None:
        lengths = {}
        for part, (dtype, shape) in part_shapes(self.card).items():
            try:
                array = self._part(part, shard)
            except StoreError as problem:
                problems.add(str(problem))
                continue
            if array.ndim:
                lengths[part] = len(array)
            if array.dtype != dtype or array.ndim != 1 + len(shape) or array.shape[1:] != shape:
                entry = ", ".join(map(str, shape))
                problems.add(
                    f"{part}/{shard}.npy: {array.dtype} {array.shape}, expected {np.dtype(dtype)} (N, {entry})"
                )
        if rows["start"].dtype.kind in "iu" and rows["length"].dtype.kind in "iu":
            needed = int((rows["start"] + rows["length"]).max())
            if (rows["start"] < 0).any() or (rows["length"] < 1).any():
                problems.add(f"clips.parquet: shard {shard} has a negative start or an empty clip")
            for part, length in lengths.items():
                if length != needed:
                    problems.add(f"{part}/{shard}.npy: {length} frames, but clips.parquet reaches to {needed}")
        if len(set(lengths.values())) > 1:
            problems.add(f"shard {shard}: files of different length: {lengths}")
        if not len(problems):
            mismatches = frames_problems(rows, self._part("valid", shard))
            problems.found += [f"clips.parquet: shard {shard}: {mismatch}" for mismatch in mismatches]

    def allows(self, purpose: str) -> NDArray[np.bool_]:
        """Mask (N,) of the clips allowed for ``training`` or ``evaluation``; all if the card holds no consent."""
        if not self.card.consent:
            return np.ones(len(self.clips), np.bool_)
        admitted = {subject for subject, terms in self.card.consent.items() if purpose in terms["purposes"]}
        return self.clips["subject_id"].isin(admitted).to_numpy()

    @property
    def labels(self) -> LabelSpace:
        """Label space of ``label``."""
        return get_space(self.card.label_space)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the table and the card, which a run records to identify its data."""
        digest = hashlib.sha256()
        for name in ("clips.parquet", "card.json"):
            digest.update((self.path / name).read_bytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, row: int) -> StoredClip:
        """Return the clip of a row of :attr:`clips`, as views of the memory map."""
        shard, start, length = self._index[row]
        frames, landmarks, valid = (self._part(part, shard)[start : start + length] for part in PARTS)
        return StoredClip(frames, landmarks, valid)

    def _part(self, part: str, shard: str) -> NDArray[Any]:
        key = (part, shard)
        if key not in self._open_parts:
            while len(self._open_parts) >= _MAPS:
                del self._open_parts[next(iter(self._open_parts))]
            path = self.path / part / f"{shard}.npy"
            if not path.is_file():  # reading from a named pipe would block
                raise StoreError(f"{part}/{shard}.npy: missing")
            try:
                self._open_parts[key] = np.lib.format.open_memmap(path, mode="r")
            except (ValueError, OSError) as problem:
                if isinstance(problem, OSError) and problem.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                    raise  # out of file descriptors or memory: the store is not damaged
                raise StoreError(f"{part}/{shard}.npy: cannot be read ({problem})") from None
        return self._open_parts[key]

    def __getstate__(self) -> dict[str, object]:
        """Return the state without memory maps: a worker process opens its own instead of receiving the frames."""
        return {**self.__dict__, "_open_parts": {}}


def _check_permission(path: Path, card: StoreCard) -> None:
    """Raise StoreError where a store has expired, ConsentError where a subject's consent has ended."""
    today = date.today()
    if card.expires_on and date.fromisoformat(card.expires_on) < today:
        raise StoreError(f"{path}: to be kept until {card.expires_on} and no longer; remove it, or prepare it anew")
    if card.consent:
        home = keys_home()
        if (home / "key").is_file() and (made_with := card.settings.key_id) != Key.load(home).id:
            raise ConsentError(
                f"{path}: made with another key ({made_with}) than the one in {home}, so withdrawals cannot be "
                "matched; let FER_ID_KEYS name the folder of its key"
            )
        check_snapshot(str(path), card.consent, withdrawals(home), today)
