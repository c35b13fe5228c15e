"""Group columns of ``predictions.parquet``, and pairs of them, as group codes of the judged clips.

Every text column beyond the contract of predictions is a group column (age group, gender, severity, context, site ...).
A clip with a missing cell is in no group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fer_id.errors import DataError, Problems
from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.predictions import judged_rows
from fer_id.evaluation.scores import Ints
from fer_id.labels import LabelSpace

MOST_VALUES = 12
"""Most values of a group column; a column with more holds names or times rather than groups."""

NOT_ASKED = "not asked for"

_CONTRACT = ("clip_id", "subject_id", "fold", "split", "label", "predicted", "flagged", "set")


@dataclass(frozen=True)
class Grouping:
    """Division of the judged clips by a group column, or by a pair of columns."""

    name: str  # of the column, or ``a x b`` of a pair
    of: tuple[str, ...]  # the column, or the two columns of a pair
    values: tuple[str, ...]  # the groups, sorted, including those of validation clips alone
    codes: Ints  # (N,) index into ``values`` of every judged clip; -1 where it is in no group


def group_columns(predictions: pd.DataFrame, labels: LabelSpace) -> list[str]:
    """Return the names of the group columns in their order: text columns beyond the contract."""
    contract = {*_CONTRACT, *(f"{kind}_{name}" for kind in ("logit", "p", "q") for name in labels.names)}
    beyond = [column for column in predictions if column not in contract]
    return [str(column) for column in beyond if not pd.api.types.is_numeric_dtype(predictions[column])]


def make_groupings(
    predictions: pd.DataFrame, labels: LabelSpace, breakdown: Breakdown
) -> tuple[list[Grouping], dict[str, str]]:
    """Make the requested groupings of checked predictions, and give the reason for every column left out; DataError,
    with the known columns, where a requested one does not exist."""
    known = group_columns(predictions, labels)
    _require(breakdown, known)
    by_column = {name: _column(predictions, name) for name in known}
    why = {name: reason for name, grouping in by_column.items() if (reason := _unfit(grouping))}
    chosen = list(dict.fromkeys(breakdown.columns)) or known
    left_out = {name: why.get(name, NOT_ASKED) for name in known if name in why or name not in chosen}
    groupings = [by_column[name] for name in chosen if name not in why]
    for first, second in (pair.split(":") for pair in dict.fromkeys(breakdown.pairs)):
        unfit = [f"{name}: {why[name]}" for name in (first, second) if name in why]
        if unfit:
            left_out[pair_name(first, second)] = "; ".join(unfit)
        else:
            groupings.append(_crossed(by_column[first], by_column[second]))
    return groupings, left_out


def pair_name(first: str, second: str) -> str:
    """Return the name of a pair, or of its group, in ``metrics.json``: ``severity x gender``, ``mild x female``."""
    return f"{first} x {second}"


def _require(breakdown: Breakdown, known: Sequence[str]) -> None:
    problems = Problems("groups of the predictions")
    for pair in breakdown.pairs:
        names = pair.split(":")
        if len(names) != 2 or names[0] == names[1]:
            problems.add(f"pairs={pair}: expected two different columns as first:second")
    wanted = dict.fromkeys([*breakdown.columns, *(name for pair in breakdown.pairs for name in pair.split(":"))])
    for name in wanted:
        if name not in known:
            problems.add(f"no group column {name!r}")
    problems.raise_if_any(DataError, f"Known columns: {', '.join(known) or 'none; this data has no groups'}")


def _column(predictions: pd.DataFrame, name: str) -> Grouping:
    everywhere, judged = texts(predictions[name]), texts(judged_rows(predictions)[name])
    values = sorted(everywhere.dropna().unique())
    codes = np.asarray(pd.Categorical(judged, categories=values).codes, dtype=np.int64)
    return Grouping(name, (name,), tuple(values), codes)


def texts(column: pd.Series) -> pd.Series:
    """Convert a column to text; missing and blank cells become None."""
    text = column.astype(str)
    return text.where(column.notna() & (text.str.strip() != ""), None)


def _unfit(grouping: Grouping) -> str | None:
    """Return why a column makes no groups of the judged clips; None where it does."""
    tested = len(np.unique(grouping.codes[grouping.codes >= 0]))
    if tested < 2:
        return "all test clips are of one group" if tested else "no test clip has a value"
    if len(grouping.values) > MOST_VALUES:
        return f"{len(grouping.values)} values, and no more than {MOST_VALUES} make groups"
    return None


def _crossed(first: Grouping, second: Grouping) -> Grouping:
    """Cross two groupings, every value of the first with every value of the second; some groups may be empty."""
    values = tuple(pair_name(a, b) for a in first.values for b in second.values)
    grouped = (first.codes >= 0) & (second.codes >= 0)
    codes = np.where(grouped, first.codes * len(second.values) + second.codes, -1)
    return Grouping(pair_name(first.name, second.name), (first.name, second.name), values, codes)
