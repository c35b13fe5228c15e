"""Safe reading of Parquet tables: regular files only, with their size checked before they are read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fer_id.errors import FerIdError, cut
from fer_id.inputs import MB, opened

MOST_PARQUET = 2048 * MB
MOST_CELLS = 500_000_000
"""Largest number of rows times columns in the file's metadata: a few bytes may encode a billion equal rows."""


def read_parquet(path: Path, error: type[FerIdError], hint: str, *, threads: bool = True) -> pd.DataFrame:
    """Return the table of a Parquet file; raise ``error`` and ``hint``, a remedy, for no regular file, too large, or
    damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with opened(path, error, most=MOST_PARQUET) as file:
            facts = pq.ParquetFile(file).metadata
            if facts.num_rows * facts.num_columns > MOST_CELLS:
                raise error(f"{path}: {facts.num_rows:,} rows of {facts.num_columns:,} columns, more than is read")
            file.seek(0)
            return pd.read_parquet(file, use_threads=threads)
    except (OSError, ValueError, KeyError, OverflowError, MemoryError, pa.ArrowException) as problem:
        raise error(f"{path}: cannot be read ({cut(problem, 200)}); {hint}") from None
    except error as problem:
        raise error(f"{problem}; {hint}") from None
