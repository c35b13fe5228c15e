"""Which columns of a cohort's tables become group columns of its store, and that none of them names a child."""

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
        row: label of the row.
        column: of the table.
        name: the subject.
        weak: whether the name is a number or a single character, which may mean something else.
    """

    row: int
    column: str
    name: str
    weak: bool


def further_columns(table: pd.DataFrame, file: str) -> list[str]:
    """The columns of ``subjects.csv`` or ``clips.csv`` that the documentation does not know."""
    known = {*SUBJECT_COLUMNS} if file == "subjects.csv" else {*CLIP_ROW_COLUMNS}
    return [str(name) for name in table if name not in known]


def group_columns(table: pd.DataFrame, file: str, chosen: Sequence[str]) -> list[str]:
    """The columns of a table that enter a store: the documented ones, and those of ``data.groups``."""
    entering = {*_DOCUMENTED[file], *(name for name in further_columns(table, file) if name in chosen)}
    return [str(name) for name in table if name in entering]


def left_out_sentence(left_out: dict[str, list[str]]) -> str:
    """What stays out of the store, and what would keep it; empty where nothing does.

    Args:
        left_out: columns by file.
    """
    if not any(left_out.values()):
        return ""
    listed = "; ".join(f"{', '.join(map(cut, names[:20]))} of {file}" for file, names in left_out.items() if names)
    names = ",".join(cut(name) for names in left_out.values() for name in names[:20])
    return f"stays out of the store: {listed}. data.groups=[{names}] of fer-id prepare keeps it"


def names_in(table: pd.DataFrame, names: Iterable[str]) -> Iterator[Named]:
    """The cells of some columns that hold a subject's name as a whole word, of each column and name the first.

    Args:
        table: the group columns.
        names: of all subjects of the cohort.
    """
    known: dict[tuple[str, ...], str] = {}
    for name in names:
        known.setdefault(tuple(_words(name)) or (name.casefold(),), name)
    lengths = sorted({len(words) for words in known})
    for column in table:
        told = set[str]()
        cells = table[column].dropna().drop_duplicates()
        for row, cell in zip(cells.index, cells, strict=True):
            for name in _names_of(str(cell), known, lengths):
                if name not in told:
                    told.add(name)
                    yield Named(int(row), str(column), name, len(name) == 1 or name.isdecimal())


def _names_of(cell: str, known: dict[tuple[str, ...], str], lengths: Sequence[int]) -> list[str]:
    words = _words(cell) or [cell.casefold()]
    parts = (tuple(words[start : start + length]) for length in lengths for start in range(len(words)))
    return [known[part] for part in dict.fromkeys(parts) if part in known]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def describe(found: Named, file: str) -> str:
    """A sentence on such a cell, without its content."""
    whose = "the name of a subject" if not found.weak else f"{quoted(found.name)}, which is also the name of a subject"
    return f"{file}, line {found.row + 2}, column {cut(found.column)}: holds {whose}"
