"""FER+: the votes of ten annotators on each FER2013 image, and the labels derived from them as in its paper.

Source: Barsoum, Zhang, Canton Ferrer & Zhang, "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution", ICMI 2016; the rules are those of the code published with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.stills import Still
from data_modules.tables import Table
from fer_id.errors import DataError, Problems
from fer_id.labels import FER7, FERPLUS8

EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Vote columns, in the order of :data:`fer_id.labels.FERPLUS8`; ``unknown`` and ``NF`` (no face) follow."""

VOTED = (*EMOTIONS, "unknown", "NF")
MOST_VOTES = 10


class Votes(NamedTuple):
    """Contents of the votes file: FER2013's name of each row's split, and votes for :data:`VOTED`, int64 (N, 10)."""

    usage: list[str]
    counts: NDArray[np.int64]


class Target(NamedTuple):
    """Class of FERPLUS8 of an image and 8 shares that sum to one; where it is left out, None and the reason."""

    label: str | None
    shares: list[float] | None
    reason: str = ""


def read_votes(path: Path) -> Votes:
    """Read ``fer2013new.csv``; row n belongs to row n of FER2013's CSV; DataError lists every wrong cell."""
    table = Table(path, ("Usage", "Image name", *VOTED))
    usage, counts = [], []
    for number, row in table.rows("Expected fer2013new.csv as published with FER+."):
        votes = []
        for column in VOTED:
            text = row[column].strip()
            if not (text.isascii() and text.isdigit()) or int(text) > MOST_VOTES:
                table.add(number, column, f"expected a number of votes from 0 to {MOST_VOTES}", row[column])
            else:
                votes.append(int(text))
        usage.append(row["Usage"].strip())
        counts.append(votes)
    return Votes(usage, np.array(counts, np.int64).reshape(-1, len(VOTED)))


def majority(votes: Sequence[int] | NDArray[np.int64]) -> Target:
    """Return the class with more than half of the votes that count.

    A class with a single vote is an outlier and does not count; an image is left out where no class has more than half,
    or where that class is ``unknown`` or ``NF``. ``votes`` are 10 counts, in the order of :data:`VOTED`.
    """
    counted = _without_outliers(votes)
    best = int(counted.argmax())
    if counted[best] * 2 <= counted.sum():
        return Target(None, None, "no majority")
    if best >= len(EMOTIONS):
        return Target(None, None, f"majority {VOTED[best]}")
    return Target(FERPLUS8.names[best], [float(i == best) for i in range(len(EMOTIONS))])


def distribution(votes: Sequence[int] | NDArray[np.int64]) -> Target:
    """Return the shares of the leading classes (the paper's probability and cross-entropy modes).

    Without outliers, classes are taken in the order of their votes, ties together, until they hold three quarters of
    the votes or are three; ``unknown`` or ``NF`` ends the selection. The image is left out where the selected classes
    hold at most half of the votes, are more than three, or where ``unknown`` or ``NF`` has the most votes. ``votes``
    are 10 counts, in the order of :data:`VOTED`.
    """
    counted = _without_outliers(votes)
    total, taken = int(counted.sum()), np.zeros(len(VOTED), np.int64)
    levels = sorted({int(count) for count in counted if count}, reverse=True)
    for level in levels:
        if taken.sum() * 4 >= total * 3 or np.count_nonzero(taken) >= 3:
            break
        tied = np.flatnonzero(counted == level)
        emotions = tied[tied < len(EMOTIONS)]
        taken[emotions] = level
        if len(emotions) < len(tied):
            if not taken.any():
                return Target(None, None, f"majority {VOTED[tied[0]]}")
            break
    if taken.sum() * 2 <= total or np.count_nonzero(taken) > 3:
        return Target(None, None, "no majority")
    shares = taken[: len(EMOTIONS)] / taken.sum()
    return Target(FERPLUS8.names[int(shares.argmax())], shares.tolist())


def relabelled(
    images: Iterable[tuple[int, Still]],
    votes_file: Path,
    rule: Callable[[NDArray[np.int64]], Target],
    left_out: Counter[str],
    *,
    uncertain: set[int],
) -> Iterator[Still]:
    """Yield FER2013's images with the labels of their votes; those left out are counted by reason.

    ``images`` are all rows, in order, with their numbers (from 0); ``rule`` is :func:`majority` or
    :func:`distribution`; ``uncertain`` rows are left out, since their votes may belong to another image.
    DataError: a bad file, or votes and images that do not belong together row by row.
    """
    for number, still, counts in _paired(images, votes_file):
        if number in uncertain:
            left_out["row flagged uncertain"] += 1
        elif (target := rule(counts)).label is None:
            left_out[target.reason] += 1
        else:
            yield still._replace(label=target.label, soft_label=target.shares)


def with_votes(images: Iterable[tuple[int, Still]], votes_file: Path, split: str) -> Iterator[Still]:
    """Yield FER2013's images with their own labels; those of a published ``split`` also with the shares of the votes
    for the seven classes, of the votes that any of these got (none: no shares).

    No image is left out, so that scores compare with those of a training on the labels alone, and the votes on images
    of other splits are not used. DataError as :func:`relabelled`.
    """
    columns = [EMOTIONS.index(name) for name in EMOTIONS if name != "contempt"]
    order = [FER7.index(FERPLUS8.names[column]) for column in columns]
    for _, still, counts in _paired(images, votes_file):
        given = counts[columns]
        if still.split != split or not given.sum():
            yield still
            continue
        shares = np.zeros(len(FER7))
        shares[order] = given / given.sum()
        yield still._replace(soft_label=shares.tolist())


def _paired(images: Iterable[tuple[int, Still]], votes_file: Path) -> Iterator[tuple[int, Still, NDArray[np.int64]]]:
    """Yield number, image and votes (10,) of each row; at the end DataError where votes and images do not belong
    together row by row."""
    votes = read_votes(votes_file)
    problems, count = Problems(str(votes_file)), 0
    for number, still in images:
        count = number + 1
        if count > len(votes.usage):
            continue  # reported below
        if votes.usage[number] != still.split:
            problems.add(f"row {number}: Usage {votes.usage[number]!r}, but the image's is {still.split!r}")
        else:
            yield number, still, votes.counts[number]
    if count > len(votes.usage) or set(votes.usage[count:]) - {"PrivateTest"}:
        problems.add(f"{len(votes.usage)} rows of votes, but {count} images")
    problems.raise_if_any(DataError, "Row n of the votes belongs to row n of the images: use two files of one release.")


def _without_outliers(votes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    counted = np.array(votes, np.int64)
    if counted.shape != (len(VOTED),):
        raise DataError(f"votes have shape {counted.shape}, expected ({len(VOTED)},): {', '.join(VOTED)}")
    counted[counted <= 1] = 0
    return counted


def read_uncertain(path: Path) -> set[int]:
    """Return the rows (from 0) whose ``row_uncertain`` is 1."""
    table, rows = Table(path, ("row", "row_uncertain", "label_ambiguous_dup")), set[int]()
    for number, row in table.rows():
        if not row["row"].isdigit():
            table.add(number, "row", "expected a row number", row["row"])
        elif row["row_uncertain"] not in ("0", "1"):
            table.add(number, "row_uncertain", "expected 0 or 1", row["row_uncertain"])
        elif row["row_uncertain"] == "1":
            rows.add(int(row["row"]))
    return rows
