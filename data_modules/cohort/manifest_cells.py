"""Pandera schemas of a cohort's tables."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from datetime import date

import pandera.pandas as pa

from fer_id.consent.records import ASSENT, GUARDIAN, PURPOSES, STATUSES
from fer_id.labels import TARGET

_LONGEST_S = 86_400.0  # a day: nobody cuts a longer clip


def purposes_in(cell: str) -> list[str]:
    """Return the words of a cell, separated by semicolons, commas, bars or spaces."""
    return [word for word in re.split(r"[;,|\s]+", cell) if word]


def name_of(cell: str) -> str:
    """Return a cell as a name, however its characters are composed, without spaces around it."""
    return unicodedata.normalize("NFC", cell.strip())


def is_number(cell: str) -> bool:
    """Return True for a plain finite number of at least 0, by its text, so that no parser guesses."""
    return re.fullmatch(r"[0-9]+([.][0-9]*)?([eE][+-]?[0-9]+)?", cell) is not None and math.isfinite(float(cell))


def _date(cell: str) -> bool:
    try:
        date.fromisoformat(cell)
    except ValueError:
        return False
    return len(cell) == len("2026-01-31")


def _each(test: Callable[[str], bool], expected: str) -> pa.Check:
    return pa.Check(test, element_wise=True, error=expected, ignore_na=True)


def _one_of(names: tuple[str, ...]) -> pa.Check:
    return _each(lambda cell: cell in names, f"one of {', '.join(names)}")


def _number(most: float, expected: str) -> pa.Check:
    return _each(lambda cell: is_number(cell) and float(cell) <= most, expected)


_NAME = _each(lambda cell: len(cell) <= 200 and cell.isprintable(), "printable text of at most 200 characters")
_ID, _UNIQUE_ID = pa.Column(checks=_NAME), pa.Column(checks=_NAME, unique=True)
_LABEL = _one_of(TARGET.names)
_SECONDS = pa.Column(checks=_number(_LONGEST_S, "seconds, a number of at least 0"))
_SHARE = pa.Column(checks=_number(1, "a share of the picture, 0 to 1"))
_CONFIDENCE = _number(1, "a number from 0 to 1, or nothing")

SUBJECTS = pa.DataFrameSchema({"subject_id": _UNIQUE_ID})
CLIPS = pa.DataFrameSchema(
    {
        **{"clip_id": _UNIQUE_ID, "subject_id": _ID, "video": _ID, "start_s": _SECONDS, "end_s": _SECONDS},
        "label": pa.Column(checks=_LABEL, nullable=True),
    }
)
ANNOTATIONS = pa.DataFrameSchema(
    {
        **{"clip_id": _ID, "annotator": _ID, "label": pa.Column(checks=_LABEL)},
        "confidence": pa.Column(checks=_CONFIDENCE, nullable=True),
    }
)
FACES = pa.DataFrameSchema({"video": _ID, "time_s": _SECONDS, "x": _SHARE, "y": _SHARE})
_PURPOSES = _each(
    lambda cell: set(purposes_in(cell)) <= set(PURPOSES), f"some of {', '.join(PURPOSES)}, with ; between"
)
CONSENT = pa.DataFrameSchema(
    {
        "subject_id": _ID,
        "recorded_on": pa.Column(checks=_each(_date, "a date such as 2026-01-31")),
        "status": pa.Column(checks=_one_of(STATUSES)),
        "guardian": pa.Column(checks=_one_of(GUARDIAN), nullable=True),
        "assent": pa.Column(checks=_one_of(ASSENT), nullable=True),
        "purposes": pa.Column(checks=_PURPOSES, nullable=True),
        "expires_on": pa.Column(checks=_each(_date, "a date such as 2026-01-31, or nothing"), nullable=True),
    }
)
