"""Reading ``consent.csv`` and appending withdrawals to it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from data_modules.tables import Table, append_rows
from fer_id.cohort_tables import CONSENT_COLUMNS


@dataclass(frozen=True)
class ConsentTable:
    """The file ``consent.csv`` and the cells of its records, by column."""

    path: Path
    rows: list[dict[str, str]]

    @property
    def names(self) -> set[str]:
        """Names of all subjects with a record."""
        return {_name(row) for row in self.rows}

    def withdraw(self, name: str, today: date) -> None:
        """Append a withdrawal of today, unless the subject has a record of today (the list of withdrawals counts)."""
        day = today.isoformat()
        if not any(_name(row) == name and row["recorded_on"].strip() == day for row in self.rows):
            new = {"subject_id": name, "recorded_on": day, "status": "withdrawn"}
            append_rows(self.path, CONSENT_COLUMNS, [new])


def consent_table(cohort: Path) -> ConsentTable:
    """Read ``consent.csv`` of a cohort folder; DataError where it is missing, no table, or has other columns."""
    path = cohort / "consent.csv"
    return ConsentTable(path, [row for _, row in Table(path, CONSENT_COLUMNS).rows()])


def _name(row: dict[str, str]) -> str:
    return unicodedata.normalize("NFC", row["subject_id"].strip())
