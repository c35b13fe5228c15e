"""Who is in which group: the group columns of ``predictions.parquet``, and pairs of them, as codes of the judged clips.

Whatever column the cohort's tables had beyond the contract is a group column (age group, gender, severity, context,
site ...). All of them are text; a missing cell puts a clip into no group.
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
"""Values of a column beyond which its groups are no groups any more (names, times)."""

NOT_ASKED = "not asked for"

_CONTRACT = ("clip_id", "subject_id", "fold", "split", "label", "predicted", "flagged", "set")


@dataclass(frozen=True)
class Grouping:
    """One column, or a pair as ``a x b``.

    Attributes:
        name: of the column.
        of: the column, or the two of a pair.
        values: its groups, sorted; those that occur among the validation clips alone are here too.
        codes: (N,) index into ``values`` of every judged clip; -1 where it is in no group.
    """

    name: str
    of: tuple[str, ...]
    values: tuple[str, ...]
    codes: Ints


def group_columns(predictions: pd.DataFrame, labels: LabelSpace) -> list[str]:
    """Names of the group columns, in their order: text beyond the columns of the contract."""
    contract = {*_CONTRACT, *(f"{kind}_{name}" for kind in ("logit", "p", "q") for name in labels.names)}
    return [
        str(column)
        for column in predictions
        if column not in contract and not pd.api.types.is_numeric_dtype(predictions[column])
    ]


def make_groupings(
    predictions: pd.DataFrame, labels: LabelSpace, asked: Breakdown
) -> tuple[list[Grouping], dict[str, str]]:
    """The groupings asked for, and why a column is left out.

    Args:
        predictions: the columns of ``predictions.parquet``, checked.
        labels: the classes.
        asked: columns and pairs.

    Raises:
        DataError: a column that is asked for does not exist; the known ones are listed.
    """
    known = group_columns(predictions, labels)
    _require(asked, known)
    found = {name: _column(predictions, name) for name in known}
    why = {name: reason for name, one in found.items() if (reason := _unfit(one))}
    chosen = list(dict.fromkeys(asked.columns)) or known
    left_out = {name: why.get(name, NOT_ASKED) for name in known if name in why or name not in chosen}
    groupings = [found[name] for name in chosen if name not in why]
    for first, second in (pair.split(":") for pair in dict.fromkeys(asked.pairs)):
        unfit = [f"{name}: {why[name]}" for name in (first, second) if name in why]
        if unfit:
            left_out[pair_name(first, second)] = "; ".join(unfit)
        else:
            groupings.append(_crossed(found[first], found[second]))
    return groupings, left_out


def pair_name(first: str, second: str) -> str:
    """How a pair is called in ``metrics.json``, and a group of it: ``severity x gender``, ``mild x female``."""
    return f"{first} x {second}"


def _require(asked: Breakdown, known: Sequence[str]) -> None:
    problems = Problems("groups of the predictions")
    for pair in asked.pairs:
        names = pair.split(":")
        if len(names) != 2 or names[0] == names[1]:
            problems.add(f"pairs={pair}: expected two different columns as first:second")
    wanted = dict.fromkeys([*asked.columns, *(name for pair in asked.pairs for name in pair.split(":"))])
    for name in wanted:
        if name not in known:
            problems.add(f"no group column {name!r}")
    problems.raise_if_any(DataError, f"Known columns: {', '.join(known) or 'none; this data has no groups'}")


def _column(predictions: pd.DataFrame, name: str) -> Grouping:
    everywhere, judged = texts(predictions[name]), texts(judged_rows(predictions)[name])
    values = sorted(everywhere.dropna().unique())
    return Grouping(
        name, (name,), tuple(values), np.asarray(pd.Categorical(judged, categories=values).codes, dtype=np.int64)
    )


def texts(column: pd.Series) -> pd.Series:
    """As text; what is missing or blank is None."""
    text = column.astype(str)
    return text.where(column.notna() & (text.str.strip() != ""), None)


def _unfit(grouping: Grouping) -> str | None:
    """Why a column makes no groups of the judged clips."""
    tested = len(np.unique(grouping.codes[grouping.codes >= 0]))
    if tested < 2:
        return "all test clips are of one group" if tested else "no test clip has a value"
    if len(grouping.values) > MOST_VALUES:
        return f"{len(grouping.values)} values, and no more than {MOST_VALUES} make groups"
    return None


def _crossed(one: Grouping, other: Grouping) -> Grouping:
    """Every value of one with every value of the other; a pair that occurs nowhere is an empty group."""
    values = tuple(pair_name(a, b) for a in one.values for b in other.values)
    both = (one.codes >= 0) & (other.codes >= 0)
    codes = np.where(both, one.codes * len(other.values) + other.codes, -1)
    return Grouping(pair_name(one.name, other.name), (one.name, other.name), values, codes)
