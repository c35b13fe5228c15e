"""One error tree, and messages that list every problem of one input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.errors import (
    MOST_CHARACTERS,
    MOST_QUOTED,
    SHOWN,
    ConfigError,
    DataError,
    FerIdError,
    Problems,
    StoreError,
    brief,
    cut,
    quoted,
)


def message(problems: Problems, hint: str = "", error: type[FerIdError] = DataError) -> str:
    with pytest.raises(error) as caught:
        problems.raise_if_any(error, hint)
    return str(caught.value)


def test_nothing_found_raises_nothing() -> None:
    Problems("votes.csv").raise_if_any(DataError)


def test_all_problems_stand_in_one_message_with_place_and_hint() -> None:
    problems = Problems("votes.csv")
    problems.add("row 3: 'x' is no number")
    problems.add("row 9: column fear is missing")
    first, *listed, hint = message(problems, "Download it again.").splitlines()
    assert first == "votes.csv: 2 problems"
    assert listed == ["  - row 3: 'x' is no number", "  - row 9: column fear is missing"]
    assert hint == "Download it again."


def test_many_problems_are_counted_not_printed() -> None:
    problems = Problems("votes.csv")
    for row in range(SHOWN + 5):
        problems.add(f"row {row}")
    text = message(problems, error=StoreError)
    assert "25 problems" in text
    assert f"row {SHOWN - 1}" in text
    assert f"row {SHOWN}\n" not in text
    assert text.endswith("... and 5 more like this")


def test_sixty_trivial_problems_hide_no_other_kind_and_the_gravest_comes_first() -> None:
    problems = Problems("cohort")
    for row in range(60):
        problems.add(f"clips.csv, line {row + 2}, column label: 'joy{row}', expected one of happy, sad")
    problems.add("consent.csv, line 3, column status: 'yes', expected one of given, refused")
    problems.add("clips.csv, line 70, column video: '../x.mp4', expected a path inside the cohort", grave=True)
    first, gravest, *rest = message(problems).splitlines()
    assert first == "cohort: 62 problems"
    assert "'../x.mp4'" in gravest
    listed = sum("'joy" in line for line in rest)
    assert f"    ... and {60 - listed} more like this" in rest
    assert any("column status: 'yes'" in line for line in rest)


@given(st.lists(st.text(max_size=4000), min_size=1, max_size=60), st.text(max_size=300))
def test_no_message_is_longer_than_a_screen_and_none_loses_count(texts: list[str], hint: str) -> None:
    problems = Problems("input")
    for problem in texts:
        problems.add(problem)
    assert len(message(problems, hint)) <= MOST_CHARACTERS
    assert f"{len(texts)} problem" in message(problems, hint)


def test_the_middle_of_a_long_message_is_left_out() -> None:
    assert brief("short") == "short"
    long = brief("a" * 5000 + "the end")
    assert len(long) < 2000
    assert long.endswith("the end")


def test_what_is_quoted_is_cut_and_printable() -> None:
    assert quoted("x" * 100_000) == repr("x" * 57 + "...")
    assert cut("a\x1b[31mb\n") == r"a\x1b[31mb\n"
    assert len(cut("\0" * 100_000)) == MOST_QUOTED


def test_one_handler_catches_everything_that_the_user_can_mend() -> None:
    assert issubclass(ConfigError, FerIdError)
    assert not issubclass(FerIdError, ValueError | OSError)
