"""Public view of subgroups: a linear-programme solver derives no hidden cell from the visible ones."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.groups.disclosure import public_view
from fer_id.evaluation.groups.subgroups import compute_subgroups
from fer_id.evaluation.groups.suppression import FEWEST_CLIPS, FEWEST_SUBJECTS, Cell, Table, hidden_groups
from fer_id.labels import TARGET

A, B = "xyz", "uv"  # values of two columns
PAIRS = [f"{i} x {j}" for i in A for j in B]
CELLS = [("a", i) for i in A] + [("b", j) for j in B] + [("a x b", pair) for pair in PAIRS]


def table_of(name: str, codes: list, values: list, margins: dict | None = None, clips: int = 4) -> Table:
    """Table of subjects with ``clips`` clips each and group ``codes``; None: in no group."""
    there = {value: codes.count(value) for value in values} | ({None: codes.count(None)} if None in codes else {})
    return Table(name, {v: Cell(clips * n, n) for v, n in there.items()}, margins or {}, splits_subjects=False)


def tables_of(first: list, second: list) -> list[Table]:
    """Tables of the columns ``a`` and ``b`` of subjects, and of the pair."""
    pair = [None if None in values else " x ".join(values) for values in zip(first, second, strict=True)]
    margins = {("a", i): [f"{i} x {j}" for j in B] for i in A} | {("b", j): [f"{i} x {j}" for i in A] for j in B}
    return [table_of("a", first, [*A]), table_of("b", second, [*B]), table_of("a x b", pair, PAIRS, margins)]


class Reader:
    """Reader who knows every visible count, the total, and the relations between the tables."""

    def __init__(self, first: list, second: list, hidden: set, clips: int = 4) -> None:
        self.atoms = list(itertools.product([*A, None], [*B, None]))  # of each, the number of subjects is unknown
        rows, right = [np.ones(len(self.atoms))], [len(first)]
        truth = np.array([sum(values == atom for values in zip(first, second, strict=True)) for atom in self.atoms])
        for name, value in CELLS:
            if (name, value) not in hidden:
                rows.append(self.row(name, value))
                right.append(rows[-1] @ truth)
        self.rows, self.right, self.truth = np.array(rows), np.array(right), truth

    def row(self, name: str, value: str) -> np.ndarray:
        spelled = {"a": lambda i, j: i, "b": lambda i, j: j, "a x b": lambda i, j: f"{i} x {j}" if i and j else None}
        return np.array([float(spelled[name](i, j) == value) for i, j in self.atoms])

    def knows(self, name: str, value: str) -> tuple[float, float]:
        """Return the fewest and most subjects of a cell that are consistent with the visible counts."""
        goal = self.row(name, value)
        least, most = (linprog(sign * goal, A_eq=self.rows, b_eq=self.right, method="highs") for sign in (1, -1))
        return least.fun, -most.fun


children = st.integers(10, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from(["x", "x", "y", "y", "z", None]), min_size=n, max_size=n),
        st.lists(st.sampled_from(["u", "u", "v", None]), min_size=n, max_size=n),
    )
)


@settings(max_examples=15, deadline=None)
@given(children)
def test_no_hidden_cell_is_determined_by_visible_cells(drawn):
    first, second = drawn
    hidden = hidden_groups(tables_of(first, second))
    reader = Reader(first, second, hidden)
    for name, value in CELLS:
        count = int(reader.row(name, value) @ reader.truth)
        low, high = reader.knows(name, value)
        assert low - 1e-6 <= count <= high + 1e-6
        if (name, value) in hidden:
            assert high - low > 0.5, (name, value, count)
        else:
            assert count >= FEWEST_SUBJECTS
            assert 4 * count >= FEWEST_CLIPS


@settings(max_examples=30, deadline=None)
@given(children)
def test_the_hidden_cells_of_a_sum_are_not_small_together(drawn):
    """The total less all visible groups is known to every reader, so it must have enough children, or none."""
    tables = tables_of(*drawn)
    hidden = hidden_groups(tables)
    for table in tables:
        left = [cell.subjects for value, cell in table.cells.items() if (table.name, value) in hidden]
        visible = len(table.cells) - len(left)
        assert not left or not visible or (len(left) > 1 and sum(left) >= FEWEST_SUBJECTS)


@pytest.mark.parametrize(
    ("codes", "values", "hidden"),
    [
        (["a"] * 9 + ["b"] * 7 + ["c"] * 2, "abc", {"c", "b"}),  # a single small group hides the next smallest too
        (["a"] * 9 + ["b"] * 7 + ["c", "d"], "abcd", {"b", "c", "d"}),  # as do groups that are small together
        (["a"] * 9 + ["b"] * 7 + [None] * 2, "ab", {None, "b"}),  # subjects without a value are a hidden group
    ],
)
def test_small_groups_hide_others(codes, values, hidden):
    assert hidden_groups([table_of("s", codes, list(values))]) == {("s", value) for value in hidden}


def test_groups_with_few_clips_are_hidden():
    cells = {"a": Cell(200, 20), "b": Cell(90, 9), "c": Cell(FEWEST_CLIPS - 1, 9)}
    assert hidden_groups([Table("s", cells, {}, splits_subjects=False)]) == {("s", "b"), ("s", "c")}


def test_the_same_few_children_in_two_contexts_are_few_together():
    cells = {"home": Cell(80, 20), "school": Cell(60, 20), "trip": Cell(12, 3), "bus": Cell(12, 3)}
    contexts = Table("context", cells, {}, splits_subjects=True)
    assert hidden_groups([contexts]) == {("context", "bus"), ("context", "trip"), ("context", "school")}


def test_a_setting_can_only_raise_the_fewest_subjects():
    codes = ["a"] * 9 + ["b"] * 4 + ["c"] * 8
    table = table_of("s", codes, list("abc"))
    assert hidden_groups([table], 1) == hidden_groups([table]) == {("s", "b"), ("s", "c")}
    assert hidden_groups([table_of("s", ["a"] * 9 + ["b"] * 9, list("ab"))], 10) == {("s", "a"), ("s", "b")}


@pytest.fixture
def cohort(random_table) -> pd.DataFrame:
    table = random_table(TARGET, clips=640, subjects=32, seed=5)
    child = table["subject_id"].str[1:].astype(int)
    severity = np.select([child < 14, child < 29], ["mild", "moderate"], "severe")
    return table.assign(severity=severity, gender=np.where(child % 2, "male", "female"))


def test_the_view_holds_no_small_group_no_subject_and_no_exact_count(cohort):
    subgroups, _ = compute_subgroups(cohort, TARGET, Breakdown(pairs=["severity:gender"]))
    view = public_view(subgroups)
    assert list(view["columns"]["gender"]["groups"]) == ["female", "male"]
    assert list(view["columns"]["severity"]["groups"]) == ["moderate"]  # mild would disclose severe
    assert view["columns"]["severity"]["hidden"] == 2
    text = json.dumps(view)
    assert "severe" not in text.replace("severity", "")
    for word in ('"n_subjects"', '"n_clips"', '"recall"', '"equalised_odds"', '"in_no_group"', "s00"):
        assert word not in text
    assert {group["at_least_subjects"] for group in view["columns"]["gender"]["groups"].values()} == {15}
    male = view["columns"]["gender"]["groups"]["male"]
    assert male["accuracy"] == subgroups["columns"]["gender"]["groups"]["male"]["accuracy"]
    assert set(male["intervals"]["accuracy"]) == {"low", "high", "level"}


def test_gaps_are_among_visible_groups(cohort):
    subgroups, _ = compute_subgroups(cohort, TARGET, Breakdown())
    view = public_view(subgroups)["columns"]
    gap = subgroups["columns"]["gender"]["gaps"]["accuracy"]
    assert view["gender"]["gaps"]["accuracy"] == gap.model_dump() | {"reason": None}
    hidden = view["severity"]["gaps"]["accuracy"]
    assert hidden["reason"] == "a group that was compared is not shown"
    assert {hidden[key] for key in hidden if key != "reason"} == {None}
    three = cohort.assign(severity=cohort["severity"].where(cohort["gender"] == "male", "other"))
    view = public_view(compute_subgroups(three, TARGET, Breakdown(columns=["severity"]))[0])["columns"]["severity"]
    assert view["gaps"]["accuracy"]["verdict"] is None
