"""FER+ labels: worked examples of the published rules, bad votes, and the counts on the real file."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_modules.ferplus import VOTED, Target, distribution, majority, read_uncertain, read_votes
from fer_id.errors import DataError
from fer_id.labels import FERPLUS8
from tests.refusals import refused

Rule = Callable[[list[int]], Target]
HEADER = "Usage,Image name," + ",".join(VOTED)
#        neutral happy surprise sad angry disgust fear contempt unknown NF


@pytest.mark.parametrize(
    ("rule", "votes", "label", "reason"),
    [
        (majority, [6, 0, 1, 1, 0, 0, 0, 0, 2, 0], "neutral", ""),  # 6 of 8: the single votes do not count
        (majority, [5, 0, 0, 5, 0, 0, 0, 0, 0, 0], None, "no majority"),  # exactly half is not more than half
        (majority, [4, 0, 0, 1, 3, 2, 0, 0, 0, 0], None, "no majority"),
        (majority, [0, 0, 0, 1, 0, 0, 1, 0, 8, 0], None, "majority unknown"),
        (majority, [0, 0, 0, 0, 0, 0, 0, 0, 0, 10], None, "majority NF"),
        (majority, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None, "no majority"),  # nothing is left without outliers
        (majority, [0, 0, 0, 0, 0, 0, 0, 10, 0, 0], "contempt", ""),
        (distribution, [2, 2, 2, 2, 2, 0, 0, 0, 0, 0], None, "no majority"),  # five tied classes are more than three
        (distribution, [2, 0, 0, 0, 0, 0, 0, 0, 5, 0], None, "majority unknown"),
        (distribution, [0, 0, 0, 0, 0, 0, 0, 0, 3, 5], None, "majority NF"),
        (distribution, [4, 0, 0, 0, 0, 0, 0, 0, 3, 3], None, "no majority"),  # unknown ends the selection at 4 of 10
    ],
)
def test_the_label_or_why_there_is_none(rule: Rule, votes: list[int], label: str | None, reason: str) -> None:
    target = rule(votes)
    assert (target.label, target.reason, target.shares is None) == (label, reason, label is None)


@pytest.mark.parametrize(
    ("votes", "shares"),
    [
        # Tied with unknown: taken, then the selection ends.
        ([6, 0, 0, 2, 0, 0, 0, 0, 2, 0], {"neutral": 6 / 8, "sad": 2 / 8}),
        ([6, 0, 0, 4, 0, 0, 0, 0, 0, 0], {"neutral": 0.6, "sad": 0.4}),
        ([5, 0, 0, 5, 0, 0, 0, 0, 0, 0], {"neutral": 0.5, "sad": 0.5}),
        ([8, 0, 0, 2, 0, 0, 0, 0, 0, 0], {"neutral": 1}),  # 8 of 10 are three quarters already
    ],
)
def test_distribution(votes: list[int], shares: dict[str, float]) -> None:
    assert distribution(votes).shares == pytest.approx([shares.get(name, 0) for name in FERPLUS8.names])


@given(st.lists(st.integers(0, 10), min_size=10, max_size=10))
def test_both_rules_give_shares_or_a_reason(votes: list[int]) -> None:
    before = list(votes)
    for rule in (majority, distribution):
        target = rule(votes)
        if target.label is None:
            assert target.reason
        else:
            assert target.shares is not None
            assert sum(target.shares) == pytest.approx(1)
            assert FERPLUS8.names[int(np.argmax(target.shares))] == target.label
            assert all(votes[i] > 1 for i, share in enumerate(target.shares) if share)  # no outlier gets a share
    assert votes == before


def test_a_majority_is_the_label_of_both_rules_or_left_out_by_one() -> None:
    rng = np.random.default_rng(0)
    for votes in rng.multinomial(10, rng.dirichlet(np.full(10, 0.3), 500)[0], 500):
        if (sure := majority(votes)).label is not None:
            assert distribution(votes).label == sure.label


def test_wrong_number_of_votes() -> None:
    with pytest.raises(DataError, match=r"expected \(10,\)"):
        majority([1, 2, 3])


def test_every_bad_vote_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    rows = ["Training,a.png,10,0,0,0,0,0,0,0,0,0", "Training,b.png,11,0,0,x,0,0,0,0,0,0", "Training,,5,5", ""]
    path.write_text("\n".join([HEADER, *rows]))
    bad = ("row 1 (line 3), column neutral", "row 1 (line 3), column sadness", "'x'", "row 2 (line 4): 4 cells")
    with refused(DataError, *bad):
        read_votes(path)


def test_flags_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "flags.csv"
    path.write_text("row,row_uncertain,label_ambiguous_dup\n17,1,0\n23,0,1\n")
    assert read_uncertain(path) == {17}
    path.write_text("row,row_uncertain,label_ambiguous_dup\nx,1,0\n23,2,1\n")
    with pytest.raises(DataError, match=r"2 problems[\s\S]*column row:[\s\S]*column row_uncertain:"):
        read_uncertain(path)


def test_real_votes(shared_data: Path) -> None:
    """Counts of the code published with FER+ on the same rows."""
    votes = read_votes(shared_data / "fer2013" / "fer2013new.csv")
    assert Counter(votes.usage) == {"Training": 28709, "PublicTest": 3589}
    training = votes.counts[:28709]
    sure = Counter(majority(row).label or majority(row).reason for row in training)
    assert sure == {
        **{"neutral": 8740, "happy": 7287, "surprise": 3149, "sad": 3014, "angry": 2100, "fear": 532},
        **{"disgust": 119, "contempt": 119, "no majority": 3423, "majority NF": 150, "majority unknown": 76},
    }
    shared = Counter(distribution(row).label or distribution(row).reason for row in training)
    assert shared == {
        **{"neutral": 10122, "happy": 7503, "surprise": 3524, "sad": 3430, "angry": 2407, "fear": 641},
        **{"disgust": 169, "contempt": 160, "no majority": 433, "majority NF": 150, "majority unknown": 170},
    }
