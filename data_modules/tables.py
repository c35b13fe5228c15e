"""CSV tables of any length, read row by row with flat memory; every fault of a table is reported together."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fer_id.errors import DataError, Problems

_LONGEST_LINE = 2**18  # characters; FER2013's rows have 9,000, so more than this is no table of ours


class Table:
    """A CSV file (UTF-8, a byte-order mark and gzip allowed) with these columns, in any order.

    Args:
        path: the file.
        columns: names expected in the header.
        extra: allow others beside them.

    Attributes:
        problems: what is wrong with it; readers add what they find in the cells, iteration raises it all at its end.

    Example:
        >>> table = Table(path, ("emotion", "pixels", "Usage"))  # doctest: +SKIP
        >>> for number, row in table.rows("Prepare it from the published file."):  # doctest: +SKIP
        ...     if not row["emotion"].isdigit():
        ...         table.add(number, "emotion", "expected a number from 0 to 6", row["emotion"])
    """

    def __init__(self, path: Path, columns: Sequence[str], *, extra: bool = False) -> None:
        self.path, self.columns, self.extra = path, tuple(columns), extra
        self.problems = Problems(str(path))

    def add(self, number: int, column: str, expected: str, found: str) -> None:
        """Notes a bad cell; ``number`` counts rows from 0, as clip ids and the flag file do."""
        shown = found if len(found) <= 40 else found[:37] + "..."
        self.problems.add(f"row {number} (line {number + 2}), column {column}: {expected}, found {shown!r}")

    def rows(self, hint: str = "") -> Iterator[tuple[int, dict[str, str]]]:
        """Number (from 0) and cells of every row that has the right number of cells.

        Raises:
            DataError: at once for a file that cannot be read or a wrong header; at the end for everything in
                ``problems``.
        """
        with self._opened() as file:
            reader = csv.reader(_short_lines(file, self.path))
            header = [name.strip() for name in next(reader, [])]
            self._check_header(header)
            empty: list[int] = []  # lines that editors leave at the end; before a row they would shift the numbers
            for number, cells in enumerate(reader):
                if not cells:
                    empty.append(number)
                    continue
                for before in empty:
                    self.problems.add(f"row {before} (line {before + 2}): 0 cells, expected {len(header)}")
                empty.clear()
                if len(cells) != len(header):
                    self.problems.add(f"row {number} (line {number + 2}): {len(cells)} cells, expected {len(header)}")
                    continue
                yield number, dict(zip(header, cells, strict=True))
        self.problems.raise_if_any(DataError, hint)

    def _check_header(self, header: list[str]) -> None:
        expected = ",".join(self.columns)
        if not any(header):
            raise DataError(f"{self.path}: empty; expected a header {expected} and rows")
        for name in self.columns:
            if name not in header:
                self.problems.add(f"header: column {name} is missing")
        for name in dict.fromkeys(header):
            if name not in self.columns and not (self.extra and name):
                self.problems.add(f"header: unexpected column {name!r}")
            elif header.count(name) > 1:
                self.problems.add(f"header: column {name} stands {header.count(name)} times")
        self.problems.raise_if_any(DataError, f"Expected the header {expected}.")

    @contextmanager
    def _opened(self) -> Iterator[IO[str]]:
        try:
            with self.path.open("rb") as raw:
                packed = raw.read(2) == b"\x1f\x8b"
                raw.seek(0)
                content = gzip.GzipFile(fileobj=raw) if packed else raw
                yield io.TextIOWrapper(content, encoding="utf-8-sig", newline="")
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file") from None
        except IsADirectoryError:
            raise DataError(f"{self.path}: a folder; expected a CSV file") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
            raise DataError(
                f"{self.path}: the gzip file is damaged or truncated ({problem}); copy or download it again"
            ) from None
        except UnicodeDecodeError as problem:
            raise DataError(f"{self.path}: not UTF-8 text ({problem}); expected a CSV file") from None
        except csv.Error as problem:
            raise DataError(f"{self.path}: not a CSV table ({problem})") from None


def _short_lines(file: IO[str], path: Path) -> Iterator[str]:
    """The lines of a file, none longer than a limit: a file without line ends must not be read whole into memory."""
    number = 1
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise DataError(
                f"{path}: line {number} is longer than {_LONGEST_LINE} characters; this is no table of images"
            )
        yield line
        number += 1
