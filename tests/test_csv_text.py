"""Tables that are written: no cell that a spreadsheet would run, and the same content back."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.csv_text import csv_text, is_formula, safe_cell, table_csv

FORMULAS = (
    *('=HYPERLINK("http:")', "=1+1", "+1", "@SUM(A1)", "-cmd|' /C calc'!A0", "-2+3+cmd|x", "-2e1+cmd|x"),
    *(" =1", "\t=1", "\uff1d1"),
)
VALUES = ("", "-", "-5", "-0.5", "-1e-4", "-1e+5", "05-08", "a=b", "a@b.c", "C++", "5-8", "-5 to 5", "\u2212=1")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert is_formula(text)
    assert str(safe_cell(text)).startswith("'")


@pytest.mark.parametrize("text", VALUES)
def test_other_texts_and_negative_numbers_stay(text: str) -> None:
    assert not is_formula(text)
    assert safe_cell(text) == text


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@given(st.lists(st.text(), min_size=1, max_size=4, unique=True), st.data())
def test_whatever_is_written_is_no_formula_and_has_no_line_end(columns: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.fixed_dictionaries({name: st.text() for name in columns}), max_size=3))
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    for text in (csv_text(columns, rows), table_csv(frame)):
        read = rows_of(text)
        assert all(not is_formula(cell) and cell.isprintable() for row in read for cell in row)
        assert text.count("\n") == len(rows) + 1


@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]).filter(str.isprintable)), min_size=2))
def test_plain_cells_come_back_as_they_were(cells: list[str]) -> None:
    names = [f"c{number}" for number in range(len(cells))]
    (_, read) = rows_of(csv_text(names, [dict(zip(names, cells, strict=True))]))
    assert read == [f"'{cell}" if is_formula(cell) else cell for cell in cells]


def test_numbers_and_absent_cells_are_written_as_pandas_writes_them() -> None:
    frame = pd.DataFrame({"a": [0.123456789, -1.0], "b": [1, 2], "c": ["x", None], "=d": [True, False]})
    assert table_csv(frame, "%.3g") == "a,b,c,'=d\n0.123,1,x,True\n-1,2,,False\n"
    assert csv_text(["a", "b"], [{"b": -1}], ends="\r\n", header=False) == ",-1\r\n"
