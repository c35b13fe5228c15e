"""Writing of CSV: one dialect, no cell that a spreadsheet would run as a formula, no control character."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_OPERATORS = frozenset("+*/^&=<>|!(")


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would take a cell for a formula; a negative number and a lone dash are none.

    >>> [is_formula(cell) for cell in ("=1+1", "@a", "-cmd", "-5", "-", "-2+3")]
    [True, True, True, False, False, True]
    """
    text = unicodedata.normalize("NFKC", text).strip()
    if not text.startswith("-"):
        return text.startswith(("=", "+", "@"))
    if text == "-" or _is_number(text):
        return False
    return not text[1].isdigit() or not _OPERATORS.isdisjoint(text)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def safe_cell(value: object) -> object:
    """Return a value for a cell: a formula gets an apostrophe, control characters are escaped."""
    if not isinstance(value, str):
        return value
    text = value
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    return f"'{text}" if is_formula(value) else text


def csv_text(
    columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, ends: str = "\n", header: bool = True
) -> str:
    """Return rows (column -> value) as CSV with lines ended by ``ends``; a column that a row lacks is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=ends)
    if header:
        writer.writerow(map(safe_cell, columns))
    writer.writerows([safe_cell(row.get(name, "")) for name in columns] for row in rows)
    return out.getvalue()


def table_csv(table: pd.DataFrame, float_format: str | None = None) -> str:
    """Return a table as CSV, without its index."""
    texts = [name for name in table if table[name].dtype.kind == "O"]
    safe = table.assign(**{str(name): table[name].astype(object).map(safe_cell) for name in texts})
    safe.columns = [safe_cell(name) for name in table]
    return safe.to_csv(index=False, float_format=float_format, lineterminator="\n")
