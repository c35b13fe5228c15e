"""Group columns of a cohort's store: selection from its tables, and a check for subjects' names in their cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from fer_id.cohort_tables import CLIP_ROW_COLUMNS, SUBJECT_COLUMNS
from fer_id.errors import cut, quoted

_DOCUMENTED = {"subjects.csv": SUBJECT_COLUMNS[1:], "clips.csv": CLIP_ROW_COLUMNS[-1:]}
_WORD = re.compile(r"\w+")


class Named(NamedTuple):
    """A cell of a group column that holds a subject's name.

    Attributes:
        row: index of the row.
        column: name of the column.
        name: name of the subject.
        weak: True for a name that is a number or a single character, which may mean something else.
    """

    row: int
    column: str
    name: str
    weak: bool


def further_columns(table: pd.DataFrame, file: str) -> list[str]:
    """Return the undocumented columns of ``subjects.csv`` or ``clips.csv``."""
    known = {*SUBJECT_COLUMNS} if file == "subjects.csv" else {*CLIP_ROW_COLUMNS}
    return [str(name) for name in table if name not in known]


def group_columns(table: pd.DataFrame, file: str, chosen: Sequence[str]) -> list[str]:
    """Return the columns of a table that enter a store: the documented group columns, and those of ``data.groups``."""
    entering = {*_DOCUMENTED[file], *(name for name in further_columns(table, file) if name in chosen)}
    return [str(name) for name in table if name in entering]


def left_out_sentence(left_out: dict[str, list[str]]) -> str:
    """Return a sentence on the columns left out of the store, and how to keep them; empty without any.

    Args:
        left_out: columns by file.
    """
    if not any(left_out.values()):
        return ""
    listed = "; ".join(f"{', '.join(map(cut, names[:20]))} of {file}" for file, names in left_out.items() if names)
    names = ",".join(cut(name) for names in left_out.values() for name in names[:20])
    return f'stays out of the store: {listed}. "data.groups=[{names}]" of fer-id prepare keeps it'


def names_in(table: pd.DataFrame, names: Iterable[str]) -> Iterator[Named]:
    """Yield the cells that hold a subject's name as whole words, for each column and name the first.

    Args:
        table: the group columns.
        names: names of all subjects of the cohort.
    """
    known: dict[tuple[str, ...], str] = {}
    for name in names:
        known.setdefault(tuple(_words(name)) or (name.casefold(),), name)
    lengths = sorted({len(words) for words in known})
    for column in table:
        seen = set[str]()
        cells = table[column].dropna().drop_duplicates()
        for row, cell in zip(cells.index, cells, strict=True):
            for name in _names_of(str(cell), known, lengths):
                if name not in seen:
                    seen.add(name)
                    yield Named(int(row), str(column), name, len(name) == 1 or name.isdecimal())


def _names_of(cell: str, known: dict[tuple[str, ...], str], lengths: Sequence[int]) -> list[str]:
    words = _words(cell) or [cell.casefold()]
    parts = (tuple(words[start : start + length]) for length in lengths for start in range(len(words)))
    return [known[part] for part in dict.fromkeys(parts) if part in known]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def describe(cell: Named, file: str) -> str:
    """Return a sentence on a cell with a subject's name, without the cell's content."""
    whose = "the name of a subject" if not cell.weak else f"{quoted(cell.name)}, which is also the name of a subject"
    return f"{file}, line {cell.row + 2}, column {cut(cell.column)}: holds {whose}"
