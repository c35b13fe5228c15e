"""CSV tables of any length, read row by row in constant memory; all faults of a table are reported together.

A row is a line: no cell holds a line end, so that an unclosed quotation mark does not swallow the following rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fer_id.csv_text import csv_text, is_formula
from fer_id.errors import DataError, Problems, cut, quoted
from fer_id.files import atomic_write_bytes
from fer_id.inputs import FREE_GROWTH, MB, MOST_GROWTH, opened

MOST_TABLE = 4096 * MB
"""Bytes of a table, unpacked; AffectNet's largest has about 600 MB."""

MOST_ROWS = 2_000_000
MOST_COLUMNS = 200
MOST_EMPTY = 1000
"""Consecutive empty lines, as editors leave at the end."""

MOST_PROBLEMS = 1000
"""Problems of a table after which the rest of it is not read."""

LONGEST_LINE = 2**18
"""Characters; FER2013's rows have 9,000."""

_JOINERS = "\u200c\u200d"  # zero-width, within words of several scripts
_SPACES = "\u00a0\u2007\u202f\u3000"
_PRINTABLE = str.maketrans(dict.fromkeys(_JOINERS + _SPACES, " "))
_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_DECIMAL_COMMA = re.compile(r"(^|,)[0-9]+,[0-9]+(,|$)")
_SAVE = "save it as CSV UTF-8 with commas"
_OTHERS = {
    b"PK\x03\x04": "a workbook (.xlsx, .ods), no CSV table",
    b"\xd0\xcf\x11\xe0": "an old workbook (.xls), no CSV table",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
"""First bytes of other files that people hand over in place of a CSV table."""


class Table:
    """CSV file (UTF-8, a byte-order mark and gzip allowed) with given columns, in any order.

    ``extra`` allows further columns. Readers add the faults of cells to ``problems``, and the end of the iteration
    raises them all.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, extra: bool = False, most_rows: int = MOST_ROWS) -> None:
        self.path, self.columns, self.extra, self.most_rows = path, tuple(columns), extra, most_rows
        self.problems = Problems(str(path))
        self._quote_open = False

    def add(self, number: int, column: str, expected: str, cell: str) -> None:
        """Add a bad cell to the problems; ``number`` counts rows from 0, as clip ids and the flag file do."""
        kind = f"{column}: {expected}"
        self.problems.add(
            f"row {number} (line {number + 2}), column {column}: {expected}, found {quoted(cell)}", kind=kind
        )

    def rows(self, hint: str = "") -> Iterator[tuple[int, dict[str, str]]]:
        """Yield number (from 0) and cells of every row with the right number of cells.

        DataError: at once for an unreadable file or a wrong header; at the end for everything in ``problems``.
        """
        with self._lines() as lines:
            header = self._header(next(lines, ""))
            empty: list[int] = []  # lines that editors leave at the end; before a row they would shift the numbers
            for number, line in enumerate(lines):
                self._check_length(number, len(empty))
                if not line:
                    empty.append(number)
                    continue
                for before in empty:
                    self.problems.add(f"row {before} (line {before + 2}): an empty line between rows; remove it")
                empty.clear()
                cells = self._cells(line, number + 2, header)
                if cells is not None:
                    yield number, dict(zip(header, cells, strict=True))
                if len(self.problems) >= MOST_PROBLEMS:
                    self.problems.raise_if_any(DataError, f"The rest of the table was not read. {hint}".strip())
        self.problems.raise_if_any(DataError, hint)

    def _check_length(self, number: int, empty: int) -> None:
        if number >= self.most_rows:
            raise DataError(f"{self.path}: more than {self.most_rows:,} rows")
        if empty >= MOST_EMPTY:
            raise DataError(f"{self.path}: line {number + 2}: more than {MOST_EMPTY:,} empty lines; remove them")

    def _cells(self, line: str, number: int, header: Sequence[str]) -> list[str] | None:
        """Return the cells of a line; None for a faulty line, whose fault is added to the problems."""
        cells = self._split(line, number)
        if cells is None:
            return None
        if strange := [name for name, cell in zip(header, cells, strict=False) if not _is_printable(cell)]:
            cell = cells[header.index(strange[0])]
            self.problems.add(f"line {number}, column {strange[0]}: {_strange(cell)}", grave=True)
            return None
        if len(cells) != len(header):
            if not self._quote_open:  # otherwise already reported: this is the end of a cell that runs over lines
                self.problems.add(f"row {number - 2} (line {number}): {_wrong_number(line, cells, header)}")
            return None
        return cells

    def _split(self, line: str, number: int) -> list[str] | None:
        """Return the cells of a line; None for wrong quotation marks, which are added to the problems."""
        try:
            return next(csv.reader([line], strict=True))
        except csv.Error as problem:
            if "unexpected end" in str(problem):
                self._quote_open = True
                what = "a quotation mark is opened and not closed; no cell may run over a line end"
            elif "expected after" in str(problem):
                what = "a quotation mark ends before its cell does; write it twice where one is meant"
            else:
                what = f"not a CSV table ({problem})"
            self.problems.add(f"line {number}: {what}", grave=True)
            return None

    def _header(self, line: str) -> list[str]:
        """Return the names of the columns; DataError lists missing, unexpected, repeated and unprintable ones."""
        expected = ",".join(self.columns)
        if not line.strip(", \t"):
            raise DataError(f"{self.path}: empty; expected a header {cut(expected, 200)} and rows")
        if line.count("\0") * 3 > len(line):
            raise DataError(f"{self.path}: UTF-16 text; {_SAVE}")
        for separator, word in _SEPARATORS.items():
            names = {name.strip(' "') for name in line.split(separator)}
            if len(names & set(self.columns)) > len({name.strip(' "') for name in line.split(",")} & set(self.columns)):
                raise DataError(f"{self.path}: its cells are separated by {word}; {_SAVE}")
        header = [name.strip() for name in self._split(line, 1) or []]
        self.problems.raise_if_any(DataError)
        if len(header) > MOST_COLUMNS:
            raise DataError(f"{self.path}: {len(header):,} columns, expected at most {MOST_COLUMNS}")
        self._check_names(Counter(header))
        self.problems.raise_if_any(DataError, f"Expected the header {cut(expected, 200)}.")
        return header

    def _check_names(self, names: Counter[str]) -> None:
        for name in self.columns:
            if name not in names:
                other = next((header for header in names if header.casefold() == name.casefold()), None)
                self.problems.add(f"header: column {name} is missing{f'; {quoted(other)} is not it' if other else ''}")
        for name, count in names.items():
            if not _is_printable(name):
                self.problems.add(f"header: {_strange(name)}", grave=True)
            elif is_formula(name):
                self.problems.add(f"header: column {quoted(name)} is a spreadsheet formula; rename it", grave=True)
            elif not name:
                self.problems.add(f"header: {count} of {names.total()} columns without a name; remove or name them")
            elif name not in self.columns and not self.extra:
                self.problems.add(f"header: unexpected column {quoted(name)}")
            elif count > 1:
                self.problems.add(f"header: column {cut(name)} stands {count} times")

    @contextmanager
    def _lines(self) -> Iterator[Iterator[str]]:
        """Open the file and return its lines without line ends; bytes that are no UTF-8 become surrogates."""
        try:
            with opened(self.path, DataError, most=MOST_TABLE) as raw:
                start = raw.read(4)
                for mark, what in _OTHERS.items():
                    if start.startswith(mark):
                        raise DataError(f"{self.path}: {what}; {_SAVE}")
                size = raw.seek(0, io.SEEK_END)
                raw.seek(0)
                packed = start.startswith(b"\x1f\x8b")
                most = min(max(FREE_GROWTH, MOST_GROWTH * size), MOST_TABLE) if packed else MOST_TABLE
                content = gzip.GzipFile(fileobj=raw) if packed else raw
                text = io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="")
                yield _short_lines(text, self.path, most)
        except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
            raise DataError(
                f"{self.path}: the gzip file is damaged or truncated ({problem}); copy or download it again"
            ) from None
        except OSError as problem:
            raise DataError(f"{self.path}: cannot be read ({problem.strerror})") from None


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Append rows to a table, in the order of its columns; existing rows stay byte for byte. Creates a missing table.

    DataError: the file is no CSV table with these columns; then nothing is added.
    """
    old = (",".join(columns) + "\n").encode()
    if path.exists():
        table = Table(path, columns)
        for _ in table.rows():
            pass
        with opened(path, DataError, most=MOST_TABLE) as file:
            old = file.read()
    if old.startswith(b"\x1f\x8b"):
        raise DataError(f"{path}: packed; unpack it, so that a row can be added")
    ends = "\r\n" if b"\r\n" in old else "\n"
    header = next(csv.reader([old.decode("utf-8-sig").splitlines()[0]]))
    added = csv_text([name.strip() for name in header], rows, ends=ends, header=False)
    atomic_write_bytes(path, old.rstrip(b"\r\n") + ends.encode() + added.encode())


def _short_lines(file: IO[str], path: Path, most: int) -> Iterator[str]:
    """Yield the lines of a file without line ends; raises DataError for a line or total length over the limit."""
    number, total = 1, 0
    while line := file.readline(LONGEST_LINE):
        total += len(line)
        if len(line) == LONGEST_LINE:
            raise DataError(f"{path}: line {number} is longer than {LONGEST_LINE} characters; this is no table of ours")
        if total > most:
            raise DataError(f"{path}: unpacks to more than {most // MB:,} MB, {MOST_GROWTH} times its own size")
        yield line.rstrip("\r\n")
        number += 1


def _is_printable(text: str) -> bool:
    """Return True for printable text; tabs around it are not counted."""
    return text.isprintable() or text.strip(" \t").translate(_PRINTABLE).isprintable()


def _strange(text: str) -> str:
    """Return the fault of a cell that is not printable."""
    strange = next(char for char in text.strip(" \t") if not char.translate(_PRINTABLE).isprintable())
    if "\udc80" <= strange <= "\udcff":
        as_windows = text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
        return f"{quoted(as_windows)} is not UTF-8 (mostly it was saved by Windows, as code page 1252); {_SAVE}"
    return f"{quoted(text)} holds the character U+{ord(strange):04X}, expected printable text"


def _wrong_number(line: str, cells: Sequence[str], header: Sequence[str]) -> str:
    fault = f"{len(cells)} cells, expected {len(header)}"
    for separator, word in _SEPARATORS.items():
        if len(cells) < len(header) <= line.count(separator) + 1:
            return f"{fault}; its cells are separated by {word}: {_SAVE}"
    if len(cells) > len(header) and _DECIMAL_COMMA.search(line):
        return f"{fault}; a number with a decimal comma is two cells: write 2.5 for 2,5"
    return fault
