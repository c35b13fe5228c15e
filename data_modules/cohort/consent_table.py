"""``consent.csv`` as something that can be added to: a withdrawal becomes its latest record."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from data_modules.tables import Table, append_rows
from fer_id.cohort_tables import CONSENT_COLUMNS


@dataclass(frozen=True)
class ConsentTable:
    """The table as it stands.

    Attributes:
        path: the file.
        rows: its cells by column.
    """

    path: Path
    rows: list[dict[str, str]]

    @property
    def names(self) -> set[str]:
        """Everyone who has a record."""
        return {_name(row["subject_id"]) for row in self.rows}

    def withdraw(self, name: str, today: date) -> None:
        """Adds a record of today, unless one of today stands there: that stays, and the list of withdrawals counts."""
        of_today = [row for row in self.rows if row["recorded_on"].strip() == today.isoformat()]
        if any(_name(row["subject_id"]) == name for row in of_today):
            return
        new = {"subject_id": name, "recorded_on": today.isoformat(), "status": "withdrawn"}
        append_rows(self.path, CONSENT_COLUMNS, [new])


def consent_table(cohort: Path) -> ConsentTable:
    """Reads ``consent.csv`` of a cohort folder.

    Raises:
        DataError: missing, not a table, or with other columns.
    """
    path = cohort / "consent.csv"
    return ConsentTable(path, [row for _, row in Table(path, CONSENT_COLUMNS).rows()])


def _name(cell: str) -> str:
    return unicodedata.normalize("NFC", cell.strip())
