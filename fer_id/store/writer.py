"""Writer of a ClipStore, clip by clip; an interrupted one leaves no folder behind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.errors import Problems, StoreError
from fer_id.files import atomic_folder, naming, write_json
from fer_id.labels import get_space
from fer_id.store.card import StoreCard
from fer_id.store.format import CLIP_COLUMNS, PARTS, affect_problems, label_problems, part_shapes
from fer_id.store.reader import ClipStore
from fer_id.types import AFFECT, LANDMARKS

_HEADER = 128  # bytes reserved for the .npy header, which is written once the final length is known
SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Name of a shard: the subject or split that its files are named after."""


class ClipStoreWriter:
    """Writer of a store, clip by clip in constant memory; the folder appears whole when the ``with`` block succeeds.

    An existing store is replaced only with ``overwrite``. Until the block ends its ``card`` may be changed, and the
    folder ``draft``, which becomes the store, takes additional files such as pictures.

    >>> with ClipStoreWriter(path, card) as writer:  # doctest: +SKIP
    ...     writer.add_clip({"clip_id": "a-0", "subject_id": "a", "label": "happy"}, frames)
    """

    def __init__(self, path: str | Path, card: StoreCard, *, overwrite: bool = False) -> None:
        self.path, self.card = Path(path), card
        self._rows, self._ids, self._lengths = list[dict[str, object]](), set[str](), dict[str, int]()
        self._stack = ExitStack()
        self._overwrite = overwrite

    def __enter__(self) -> Self:
        self.draft = self._stack.enter_context(
            atomic_folder(self.path, replaces="card.json" if self._overwrite else None)
        )
        self._stack.push(self._finish)
        for part in PARTS:
            (self.draft / part).mkdir()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add_clip(
        self,
        row: Mapping[str, Any],
        frames: NDArray[np.uint8],
        landmarks: NDArray[np.float32] | None = None,
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Append one clip of frames uint8 (T, S, S, 3), RGB, of the card's side S (64 unless it names another).

        ``row`` holds columns of the table; ``start``, ``length`` and ``n_valid`` are computed here. Landmarks are
        float32 (T, 68, 2) in crop pixels, missing (NaN) in every frame where None; ``valid`` is bool (T,), all True
        where None. Raise StoreError with every wrong shape, dtype, column, label, clip_id or shard name.
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
        for part, array in parts.items():  # not left open: a store may have more shards than a process may open files
            path = self.draft / part / f"{shard}.npy"
            with naming(self.path / part / path.name):
                if not start:
                    path.touch(mode=0o600)  # faces are readable by their owner only
                    path.write_bytes(b"\0" * _HEADER)
                with path.open("ab") as file:
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
        if not isinstance(shard, str) or not SHARD_NAME.fullmatch(shard):
            problems.add(f"{self.card.shard_by} {shard!r} cannot name a file")
        for key in ("clip_id", "subject_id"):
            if not isinstance(row.get(key), str) or not row[key]:
                problems.add(f"{key} is {row.get(key)!r}, expected text")
        if row.get("clip_id") in self._ids:
            problems.add("clip_id stands in the store already")
        problems.found += label_problems(row.get("label"), row.get("soft_label"), get_space(self.card.label_space))
        problems.found += affect_problems(row)
        for part, (dtype, shape) in part_shapes(self.card).items():
            array = parts[part]
            if array.dtype != dtype or array.shape != (length, *shape) or not length:
                problems.add(f"{part}: {array.dtype} {array.shape}, expected {np.dtype(dtype)} {(length or 1, *shape)}")
        problems.raise_if_any(StoreError)

    def _finish(self, error: type[BaseException] | None, *_: object) -> None:
        """Complete the draft, unless the block has raised."""
        if error is not None:
            return
        if not self._rows:
            raise StoreError(f"{self.path}: no clip was written; every sample was left out or the input is empty")
        for shard, length in self._lengths.items():
            for part, (dtype, shape) in part_shapes(self.card).items():
                with (self.draft / part / f"{shard}.npy").open("r+b") as file:
                    file.write(_npy_header(np.dtype(dtype), (length, *shape)))
        table = pd.DataFrame(self._rows).reindex(columns=[*CLIP_COLUMNS, *self.card.groups])
        table = table.astype(dict.fromkeys(AFFECT, np.float64))
        if not table[list(AFFECT)].notna().to_numpy().any():
            table = table.drop(columns=list(AFFECT))
        table.to_parquet(self.draft / "clips.parquet", index=False)
        write_json(self.draft / "card.json", asdict(self.card))
        ClipStore.open(self.draft)


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return a version 1.0 ``.npy`` header, padded to a fixed size so that the final length can be written last."""
    described = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    body = described.ljust(_HEADER - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + body.encode("latin1")
