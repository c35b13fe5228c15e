"""CSV tables, and the messages for damaged ones."""

import gzip
from pathlib import Path

import pytest

from data_modules.tables import Table
from fer_id.errors import DataError
from tests.refusals import refused

COLUMNS = ("a", "b")


def read(path: Path) -> list[tuple[int, dict[str, str]]]:
    return list(Table(path, COLUMNS).rows("Mend it."))


def write(folder: Path, content: bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n3,4\n",
        b"a,b\r\n1,2\r\n3,4",
        b"\xef\xbb\xbfa,b\n1,2\n3,4\n",
        b'"a"," b"\n"1",2\n3,"4"\n',
        gzip.compress(b"a,b\n1,2\n3,4\n", mtime=0),
    ],
    ids=["plain", "crlf", "byte-order mark", "quoted", "gzip"],
)
def test_rows(tmp_path: Path, content: bytes) -> None:
    assert read(write(tmp_path, content)) == [(0, {"a": "1", "b": "2"}), (1, {"a": "3", "b": "4"})]


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    assert read(write(tmp_path, b"b,a\n1,2\n")) == [(0, {"b": "1", "a": "2"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty; expected a header a,b"),
        (b"a\n1\n", "column b is missing"),
        (b"a,b,c\n1,2,3\n", "unexpected column 'c'"),
        (b"a,b,b\n1,2,3\n", "column b stands 2 times"),
        (b"A,b\n1,2\n", "header: column a is missing; 'A' is not it"),
        (b"a,b\nx,1,5\n", r"row 0 \(line 2\): 3 cells, expected 2; a number with a decimal comma is two cells"),
        (b"a,b,,\n1,2,,\n", "header: 2 of 4 columns without a name; remove or name them"),
        (b"a,b\n1\n1,2,3\n", r"(?s)2 problems.*row 0 \(line 2\): 1 cells.*row 1 \(line 3\): 3 cells.*Mend it."),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 9999, mtime=0)[:-20], "damaged or truncated"),
        (b"\x1f\x8bnonsense, no gzip at all", "damaged or truncated"),
        (b"a,b\n\xff\xfe,2\n", "not UTF-8"),
        (b"a,b\n" + b"1" * 300_000, "line 2 is longer than"),
        (b'a,b\n"' + b"1" * 140_000 + b'",2\n', "not a CSV table"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="a folder"):
        read(tmp_path)


def test_problems_added_by_a_reader_are_reported_with_the_others(tmp_path: Path) -> None:
    table = Table(write(tmp_path, b"a,b\n1,2\n3\n5,6\n"), COLUMNS)

    with refused(DataError, "3 problems", "row 2 (line 4), column a: expected a letter, found '5555", "..."):
        for number, row in table.rows():
            table.add(number, "a", "expected a letter", row["a"] * 70)


def test_empty_lines_may_stand_at_the_end_alone(tmp_path: Path) -> None:
    """An empty line in between would change the numbers of later rows, which link them to the votes of FER+."""
    assert [number for number, _ in read(write(tmp_path, b"a,b\n1,2\n3,4\n\n\n"))] == [0, 1]
    with pytest.raises(DataError, match=r"row 1 \(line 3\): an empty line between rows; remove it"):
        read(write(tmp_path, b"a,b\n1,2\n\n3,4\n"))
    assert read(write(tmp_path, b"a,b\n1,2\n,\n"))[1] == (1, {"a": "", "b": ""})
