"""One error tree, and messages that list every problem of one input."""

import pytest

from fer_id.errors import SHOWN, ConfigError, DataError, FerIdError, Problems, StoreError


def test_nothing_found_raises_nothing() -> None:
    Problems("votes.csv").raise_if_any(DataError)


def test_all_problems_stand_in_one_message_with_place_and_hint() -> None:
    problems = Problems("votes.csv")
    problems.add("row 3: 'x' is no number")
    problems.add("row 9: column fear is missing")
    with pytest.raises(DataError) as caught:
        problems.raise_if_any(DataError, hint="Download it again.")
    first, *listed, hint = str(caught.value).splitlines()
    assert first == "votes.csv: 2 problems"
    assert listed == ["  - row 3: 'x' is no number", "  - row 9: column fear is missing"]
    assert hint == "Download it again."


def test_many_problems_are_counted_not_printed() -> None:
    problems = Problems("votes.csv")
    for row in range(SHOWN + 5):
        problems.add(f"row {row}")
    with pytest.raises(StoreError, match=r"25 problems") as caught:
        problems.raise_if_any(StoreError)
    assert f"row {SHOWN - 1}" in str(caught.value)
    assert f"row {SHOWN}\n" not in str(caught.value)
    assert str(caught.value).endswith("... and 5 more")


def test_one_handler_catches_everything_that_the_user_can_mend() -> None:
    assert issubclass(ConfigError, FerIdError)
    assert not issubclass(FerIdError, ValueError | OSError)
