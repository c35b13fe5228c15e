"""ClipStore: the one folder format that every dataset becomes. Frames are memory-mapped and never read whole.

    clips.parquet, card.json, frames/<shard>.npy, landmarks/<shard>.npy, valid/<shard>.npy

A shard is a subject (so that one child can be erased) or, for a benchmark without subjects, a split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.card import StoreCard
from fer_id.errors import Problems, StoreError
from fer_id.files import atomic_folder, write_json
from fer_id.governance.consent import ConsentError, check_snapshot, withdrawals
from fer_id.governance.keys import Key, keys_home
from fer_id.labels import LabelSpace, get_space
from fer_id.types import CROP, LANDMARKS, StoredClip

CLIP_COLUMNS = (
    *("clip_id", "subject_id", "label", "soft_label", "start", "length", "n_valid"),
    *("video_id", "t0_s", "fps", "source", "split", "intensity"),
)
"""Columns of ``clips.parquet``; the group columns named by the card follow."""

PARTS: dict[str, tuple[type, tuple[int, ...]]] = {
    "frames": (np.uint8, (CROP, CROP, 3)),
    "landmarks": (np.float32, (LANDMARKS, 2)),
    "valid": (np.bool_, ()),
}
"""Each array of a shard: its dtype and the shape of one frame's entry."""

_HEADER = 128  # bytes; room for the .npy header, written with the final length when the store is
_MAPS = 384  # memory maps kept open at once: each holds a file descriptor, and a process commonly has 1024
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class ClipStore:
    """A store opened for reading: ``ClipStore.open(path)``.

    Attributes:
        path: the folder.
        card: its :class:`StoreCard`.
        clips: one row per clip, :data:`CLIP_COLUMNS` and the group columns.
    """

    def __init__(self, path: Path, card: StoreCard, clips: pd.DataFrame) -> None:
        self.path, self.card, self.clips = path, card, clips
        self._open_parts: dict[tuple[str, str], NDArray[Any]] = {}
        self._index = list(zip(clips[card.shard_by], clips["start"], clips["length"], strict=True))

    @classmethod
    def open(cls, path: str | Path) -> ClipStore:
        """Opens and checks a store: table, shapes, dtypes, lengths and card. No frame is read.

        Raises:
            StoreError: naming the file and what was expected; all disagreements together. Or its time is over.
            ConsentError: somebody in it withdrew since, or a consent expired.
        """
        path = Path(path)
        if not (path / "card.json").is_file():
            raise StoreError(f"{path} is not a ClipStore (no card.json); `fer-id prepare` or `fer-id synth` makes one")
        card = StoreCard.read(path / "card.json")
        _check_permission(path, card)
        try:
            clips = pd.read_parquet(path / "clips.parquet")
        except (OSError, ValueError) as problem:
            raise StoreError(f"{path / 'clips.parquet'}: cannot be read ({problem}); prepare the store again") from None
        return cls._checked(path, card, _with_none(clips))

    @classmethod
    def _checked(cls, path: Path, card: StoreCard, clips: pd.DataFrame) -> ClipStore:
        problems = Problems(str(path))
        if missing := [column for column in (*CLIP_COLUMNS, *card.groups) if column not in clips]:
            problems.add(f"clips.parquet: columns missing: {', '.join(missing)}")
            problems.raise_if_any(StoreError)
        for problem in _table_problems(clips, card):
            problems.add(f"clips.parquet: {problem}")
        store = cls(path, card, clips)
        for shard, rows in clips.groupby(card.shard_by, sort=True):
            store._check_shard(str(shard), rows, problems)
        problems.raise_if_any(StoreError, "The store was changed or only partly copied; prepare it again.")
        return store

    def _check_shard(self, shard: str, rows: pd.DataFrame, problems: Problems) -> None:
        lengths = {}
        for part, (dtype, shape) in PARTS.items():
            try:
                array = self._part(part, shard)
            except StoreError as problem:
                problems.add(str(problem))
                continue
            if array.ndim:
                lengths[part] = len(array)
            if array.dtype != dtype or array.ndim != 1 + len(shape) or array.shape[1:] != shape:
                problems.add(
                    f"{part}/{shard}.npy: {array.dtype} {array.shape}, expected {np.dtype(dtype)} (N, "
                    + ", ".join(map(str, shape)) + ")"
                )  # fmt: skip
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
            for found in _frames_problems(rows, self._part("valid", shard)):
                problems.add(f"clips.parquet: shard {shard}: {found}")

    def allows(self, purpose: str) -> NDArray[np.bool_]:
        """Which clips (N,) may be used for ``training`` or ``evaluation``; all where the card speaks of no consent."""
        if not self.card.consent:
            return np.ones(len(self.clips), np.bool_)
        willing = {name for name, kept in self.card.consent.items() if purpose in kept["purposes"]}
        return self.clips["subject_id"].isin(willing).to_numpy()

    @property
    def labels(self) -> LabelSpace:
        """The label space of ``label``."""
        return get_space(self.card.label_space)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of the table and the card: what a run records to say which data it saw."""
        digest = hashlib.sha256()
        for name in ("clips.parquet", "card.json"):
            digest.update((self.path / name).read_bytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, row: int) -> StoredClip:
        """The clip of that row of :attr:`clips`, as views of the memory map."""
        shard, start, length = self._index[row]
        frames, landmarks, valid = (self._part(part, shard)[start : start + length] for part in PARTS)
        return StoredClip(frames, landmarks, valid)

    def _part(self, part: str, shard: str) -> NDArray[Any]:
        key = (part, shard)
        if key not in self._open_parts:
            while len(self._open_parts) >= _MAPS:
                del self._open_parts[next(iter(self._open_parts))]
            try:
                self._open_parts[key] = np.lib.format.open_memmap(self.path / part / f"{shard}.npy", mode="r")
            except FileNotFoundError:
                raise StoreError(f"{part}/{shard}.npy: missing") from None
            except (ValueError, OSError) as problem:
                raise StoreError(f"{part}/{shard}.npy: cannot be read ({problem})") from None
        return self._open_parts[key]

    def __getstate__(self) -> dict[str, Any]:
        """A worker process opens its own memory maps instead of receiving the frames."""
        return {**self.__dict__, "_open_parts": {}}


class ClipStoreWriter:
    """Writes a store clip by clip with flat memory; the folder appears whole when the ``with`` block ends well.

    Args:
        path: the store's folder.
        card: may still be filled in (``writer.card``) until the block ends.
        overwrite: replace an older store of that name.

    Attributes:
        draft: inside the block, the folder that becomes the store; for pictures that belong to it.

    Example:
        >>> with ClipStoreWriter(path, card) as writer:  # doctest: +SKIP
        ...     writer.add_clip({"clip_id": "a-0", "subject_id": "a", "label": "happy"}, frames)
    """

    def __init__(self, path: str | Path, card: StoreCard, *, overwrite: bool = False) -> None:
        self.path, self.card = Path(path), card
        self._rows: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self._lengths: dict[str, int] = {}
        self._stack = ExitStack()
        self._overwrite = overwrite

    def __enter__(self) -> Self:
        self.draft = self._stack.enter_context(
            atomic_folder(self.path, replaces="card.json" if self._overwrite else None)
        )
        for part in PARTS:
            (self.draft / part).mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as problem:
            self._stack.__exit__(type(problem), problem, problem.__traceback__)
            raise
        self._stack.__exit__(kind, error, trace)

    def add_clip(
        self,
        row: Mapping[str, Any],
        frames: NDArray[np.uint8],
        landmarks: NDArray[np.float32] | None = None,
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Appends one clip.

        Args:
            row: columns of the table; ``start``, ``length`` and ``n_valid`` are filled in here.
            frames: uint8 (T, 64, 64, 3), RGB.
            landmarks: float32 (T, 68, 2), crop pixels; None for none found.
            valid: bool (T,); None for all.

        Raises:
            StoreError: a shape, dtype, column, label, clip_id or shard name that does not fit, all of them listed.
        """
        length = len(frames)
        parts: dict[str, NDArray[Any]] = {
            "frames": frames,
            "landmarks": np.full((length, LANDMARKS, 2), np.nan, np.float32) if landmarks is None else landmarks,
            "valid": np.ones(length, np.bool_) if valid is None else valid,
        }
        self._check(row, parts, length)
        shard = str(row[self.card.shard_by])
        start = self._lengths.get(shard, 0)
        for part, array in parts.items():  # not kept open: a store may have more shards than a process open files
            path = self.draft / part / f"{shard}.npy"
            path.touch(mode=0o600)  # faces are for their owner only
            with path.open("ab") as file:
                if not start:
                    file.write(b"\0" * _HEADER)
                file.write(np.ascontiguousarray(array).data)
        self._lengths[shard] = start + length
        self._ids.add(row["clip_id"])
        n_valid = int(parts["valid"].sum())
        self._rows.append({**row, "start": start, "length": length, "n_valid": n_valid})

    def _check(self, row: Mapping[str, Any], parts: dict[str, NDArray[Any]], length: int) -> None:
        problems = Problems(f"clip {row.get('clip_id')!r}")
        if unknown := set(row) - {*CLIP_COLUMNS, *self.card.groups}:
            problems.add(f"unknown columns {sorted(unknown)}; group columns are named in the card")
        shard = row.get(self.card.shard_by)
        if not isinstance(shard, str) or not _SHARD_NAME.fullmatch(shard):
            problems.add(f"{self.card.shard_by} {shard!r} cannot name a file")
        for key in ("clip_id", "subject_id"):
            if not isinstance(row.get(key), str) or not row[key]:
                problems.add(f"{key} is {row.get(key)!r}, expected text")
        if row.get("clip_id") in self._ids:
            problems.add("clip_id stands in the store already")
        for problem in label_problems(row.get("label"), row.get("soft_label"), get_space(self.card.label_space)):
            problems.add(problem)
        for part, (dtype, shape) in PARTS.items():
            array = parts[part]
            if array.dtype != dtype or array.shape != (length, *shape) or not length:
                problems.add(f"{part}: {array.dtype} {array.shape}, expected {np.dtype(dtype)} {(length or 1, *shape)}")
        problems.raise_if_any(StoreError)

    def _finish(self) -> None:
        if not self._rows:
            raise StoreError(f"{self.path}: no clip was written; every sample was left out or the input is empty")
        for shard, length in self._lengths.items():
            for part, (dtype, shape) in PARTS.items():
                with (self.draft / part / f"{shard}.npy").open("r+b") as file:
                    file.write(_npy_header(np.dtype(dtype), (length, *shape)))
        table = pd.DataFrame(self._rows).reindex(columns=[*CLIP_COLUMNS, *self.card.groups])
        table.to_parquet(self.draft / "clips.parquet", index=False)
        write_json(self.draft / "card.json", asdict(self.card))
        ClipStore.open(self.draft)


def _check_permission(path: Path, card: StoreCard) -> None:
    """Refuses a store after its last day, and one with somebody whose consent has ended."""
    today = date.today()
    if card.expires_on and date.fromisoformat(card.expires_on) < today:
        raise StoreError(f"{path}: to be kept until {card.expires_on} and no longer; remove it, or prepare it anew")
    if card.consent:
        home = keys_home()
        if (home / "key").is_file() and (made_with := card.parameters.get("key_id")) != Key.load(home).id:
            raise ConsentError(
                f"{path}: made with another key ({made_with}) than the one in {home}, so withdrawals cannot be "
                "matched; let FER_ID_KEYS name the folder of its key"
            )
        check_snapshot(str(path), card.consent, withdrawals(home), today)


def label_problems(label: object, soft_label: object, space: LabelSpace) -> list[str]:
    """What is wrong with the label and the soft label of one clip; None and NaN mean that it has none."""
    found = []
    if isinstance(label, str) and label not in space.names:
        found.append(f"label {label!r} is not in {space.name}: {', '.join(space.names)}")
    if isinstance(soft_label, list | tuple | np.ndarray) and len(soft_label) != len(space):
        found.append(f"soft_label has {len(soft_label)} values, expected the {len(space)} of {space.name}")
    return found


def _table_problems(clips: pd.DataFrame, card: StoreCard) -> list[str]:
    """What is wrong with the table by itself; one line for each kind of problem."""
    found = []
    if not len(clips):
        found.append("no clip")
    for column in ("start", "length", "n_valid"):
        if clips[column].dtype.kind not in "iu":
            found.append(f"column {column} is {clips[column].dtype}, expected whole numbers without gaps")
    for column in dict.fromkeys(("clip_id", "subject_id", card.shard_by)):
        if clips[column].isna().any():
            found.append(f"column {column} is empty in {clips[column].isna().sum()} rows")
    if twice := clips["clip_id"][clips["clip_id"].duplicated()].tolist():
        found.append(f"clip_id not unique: {', '.join(map(str, twice[:5]))}")
    space = get_space(card.label_space)
    pairs = zip(clips["label"], clips["soft_label"], strict=True)
    return found + sorted({problem for pair in pairs for problem in label_problems(*pair, space)})


def _frames_problems(rows: pd.DataFrame, valid: NDArray[np.bool_]) -> list[str]:
    """What the clips of a shard say about its frames that is not so; its files have the length that they reach to."""
    rows = rows.sort_values("start")
    start, end = rows["start"].to_numpy(), (rows["start"] + rows["length"]).to_numpy()
    if start[0] or (start[1:] != end[:-1]).any():
        return ["clips overlap or leave frames out"]
    if wrong := rows["clip_id"][rows["n_valid"].to_numpy() != np.add.reduceat(valid, start, dtype=np.int64)].tolist():
        return [f"n_valid is not what valid/ holds for {', '.join(map(str, wrong[:5]))}"]
    return []


def _with_none(clips: pd.DataFrame) -> pd.DataFrame:
    """Missing text as None, which pandas may give back as NaN."""
    text = [name for name in clips if not pd.api.types.is_numeric_dtype(clips[name])]
    columns = {str(name): clips[name].astype(object).where(clips[name].notna(), None) for name in text}
    return clips.assign(**columns)


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """A version 1.0 ``.npy`` header padded to a fixed size, so that the length can be filled in at the end."""
    described = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    body = described.ljust(_HEADER - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + body.encode("latin1")
