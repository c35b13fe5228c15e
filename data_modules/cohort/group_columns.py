"""Group columns of a cohort's store: selection from its tables, and a check for subjects' names in their cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from data_modules.cohort.manifest_cells import line_of
from fer_id.cohort_tables import CLIP_ROW_COLUMNS, SUBJECT_COLUMNS
from fer_id.errors import cut, quoted

_DOCUMENTED = {"subjects.csv": SUBJECT_COLUMNS[1:], "clips.csv": CLIP_ROW_COLUMNS[-1:]}
_WORD = re.compile(r"\w+")


class Named(NamedTuple):
    """A cell of a group column that holds the name of a subject.

    ``weak``: the name is a number or a single character, which may mean something else.
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


def left_out_sentences(left_out: dict[str, list[str]]) -> list[str]:
    """Return a sentence on the columns (by file) left out of the store, and how to keep them; none without any."""
    if not any(left_out.values()):
        return []
    listed = "; ".join(f"{', '.join(map(cut, names[:20]))} of {file}" for file, names in left_out.items() if names)
    names = ",".join(cut(name) for names in left_out.values() for name in names[:20])
    return [f'stays out of the store: {listed}. "data.groups=[{names}]" of fer-id prepare keeps it']


def names_in(table: pd.DataFrame, names: Iterable[str]) -> Iterator[Named]:
    """Yield the cells of group columns that hold a subject's name as whole words: of each column and name the first."""
    known: dict[tuple[str, ...], str] = {}
    for name in names:
        known.setdefault(tuple(_words(name)) or (name.casefold(),), name)
    lengths = sorted({len(words) for words in known})
    for column in table:
        seen = set[str]()
        for row, cell in table[column].dropna().drop_duplicates().items():
            words = _words(str(cell)) or [str(cell).casefold()]
            parts = (tuple(words[start : start + length]) for length in lengths for start in range(len(words)))
            for name in (known[part] for part in parts if part in known):
                if name not in seen:
                    seen.add(name)
                    yield Named(int(str(row)), str(column), name, len(name) == 1 or name.isdecimal())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def describe(cell: Named, file: str) -> str:
    """Return a sentence on a cell with a subject's name, without the cell's content."""
    whose = "the name of a subject" if not cell.weak else f"{quoted(cell.name)}, which is also the name of a subject"
    return f"{file}, {line_of(cell.row)}, column {cut(cell.column)}: holds {whose}"
